"""Walks with poses, for the measurements of trained weights."""

import csv
import gzip

import pytest
import torch
from untrained import CAPTIONS

from longtake.video import write_video


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Four walks of 25 frames, there and back again, with poses."""
    root = tmp_path_factory.mktemp("corpus")
    for number, caption in enumerate(CAPTIONS):
        path = root / "videos" / "E1M1" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        places = [min(f, 24 - f) for f in range(25)]
        frames = torch.full((3, 25, 32, 32), 0.1 * number - 1)  # no two films are the same
        for f, x in enumerate(places):
            frames[number % 3, f, 8:20, x : x + 8] = 1
        write_video(path, [frames], fps=8.75)
        path.with_suffix(".txt").write_text(caption)
        poses = root / "poses" / "E1M1" / f"{number}.csv.gz"
        poses.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(poses, "wt", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("frame", "x", "y", "z", "angle", "pitch", "leg", "objects"))
            writer.writerows((f, 10.0 * x, 0, 0, 90, 0, "wander", "") for f, x in enumerate(places))
    return root
