"""Frames of videos as one picture: `python benchmarks/contact_sheet.py OUT.png VIDEO…`, a row for each video."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from longtake.video import read_frames


def main() -> None:
    """Evenly spaced frames, first and last included, from left to right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--columns", type=int, default=14)
    parser.add_argument("--size", type=int, default=64, help="height and width of a frame in the picture")
    options = parser.parse_args()
    rows = []
    for video in options.videos:
        frames = read_frames(video, height=options.size, width=options.size, fps=0, crop_place=0.5)
        chosen = np.linspace(0, len(frames) - 1, options.columns).round().astype(int)
        rows.append(np.concatenate(list(frames[chosen]), axis=1))
    Image.fromarray(np.concatenate(rows, axis=0)).save(options.output)


if __name__ == "__main__":
    main()
