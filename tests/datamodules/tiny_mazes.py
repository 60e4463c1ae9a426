"""Small mazes, and what a rendered corpus of them holds."""

import csv
import gzip
from pathlib import Path

import av
import numpy as np

from datamodules.mazes.layout import draw_maze

ROOT = Path(__file__).parents[2]
ALL_KINDS = {"explore": 0.4, "backtrack": 0.2, "return": 0.1, "loop": 0.2, "cut": 0.1}
SETTINGS = {
    "size": 64,
    "mazes": 2,
    "walks_per_maze": 2,
    "frames_per_walk": 33,
    "kinds": ALL_KINDS,
    "seed": 3,
    "num_workers": 1,
}
PLAN = {
    "seed": 3,
    "most_cells": 3,
    "patterned": True,
    "size": 64,
    "frames": 33,
    "third_person_share": 0.0,
    "silent_share": 0.0,
}


def read_table(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def read_frames(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.int64)


def read_poses(path):
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def mazes(count=40, most_cells=3, patterned=True):
    return [draw_maze(seed=0, number=number, most_cells=most_cells, patterned=patterned) for number in range(count)]
