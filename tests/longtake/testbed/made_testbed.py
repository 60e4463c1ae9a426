"""A test set without a game: walks to and fro along a line, whose pictures follow from maze and place."""

import csv
import gzip
import io
import json

import numpy as np
import torch

from longtake.testbed.writing import write_testbed
from longtake.video import write_video

MAZES, FRAMES, SIZE = ("00009", "00019", "00029"), 33, 32
LENGTHS = (8, 16)
SETTINGS = {"mazes": 3, "size": SIZE, "frames": FRAMES, "seed": 1, "lengths": list(LENGTHS)}


def picture(maze, place):
    """h w 3 in [0, 255]; smooth, so that the encoder keeps it."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    shift = int(maze) * 0.7 + place / 90
    waves = [np.sin(3 * x + shift), np.cos(4 * y - 1.3 * shift), np.sin(2 * x + 3 * y + 0.6 * shift)]
    return np.stack([127 + 100 * wave for wave in waves], axis=-1)


def write_walk(root, maze, number, kind, track, *, turn=""):
    name = f"{maze}-{number:02d}"
    frames = torch.from_numpy(np.stack([picture(maze, place) for place in track])).float() / 127.5 - 1
    write_video(root / f"videos/{maze}/{name}.mp4", [frames.permute(3, 0, 1, 2)], fps=8.75)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "x", "y", "z", "angle", "region", "regions"))
    for frame, place in enumerate(track):
        region = int(place // 88)
        writer.writerow((frame, f"{place:.3f}", "0.000", "0.000", "90.000", region, f"{region};{region + 1}"))
    for folder, suffix, data in (
        (f"poses/{maze}", f"{name}.csv.gz", gzip.compress(text.getvalue().encode(), mtime=0)),
        ("layouts", f"{maze}.json", json.dumps({"number": int(maze)}).encode()),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / suffix).write_bytes(data)
    return {
        "path": f"videos/{maze}/{name}.mp4", "poses": f"poses/{maze}/{name}.csv.gz", "layout": f"layouts/{maze}.json",
        "maze": maze, "kind": kind, "turn_frame": turn, "home": 0, "short_text": "Somebody walks.", "split": "test",
        "fps": 8.75, "num_frames": len(track), "height": SIZE, "width": SIZE,
    }  # fmt: skip


def write_source(root):
    """Write walks as if they had been rendered; returns their rows."""
    out = 11.0 * np.arange(FRAMES // 2 + 1)
    rows = []
    for maze in MAZES:
        rows.append(write_walk(root, maze, 0, "explore", 11.0 * np.arange(FRAMES)))
        rows.append(write_walk(root, maze, 1, "backtrack", np.concatenate([out, out[-2::-1]]), turn=FRAMES // 2))
    return rows


def make_testbed(source, folder):
    """A test set of the walks in a folder."""
    root, rows = source
    write_testbed(root, folder, rows=rows, lengths=LENGTHS, settings=SETTINGS)
    return folder
