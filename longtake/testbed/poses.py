"""Poses of every frame of a walk, from a plain table, and which of them come nearest to others."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_DISTANCE, STEP_DEGREES = 11.0, 4.0
"""Map units and degrees that a walk through the mazes goes or turns in a frame at most: together, one step."""

Floats = NDArray[np.float64]


class NotAsSaid(ValueError):
    """A file of a test set is not as the test set says."""


class Poses(NamedTuple):
    """Where the camera is at every frame.

    track: f 3, x and y in map units and the angle in degrees; region: of each frame, the number of the part of the maze
    that it is in; in_view: of each frame, the numbers of those that are in view.
    """

    track: Floats
    region: list[int]
    in_view: list[frozenset[int]]


class Nearest(NamedTuple):
    """For every frame that was asked for, the given frame with the nearest pose, and how far apart the two poses are.

    frame: places in what was given; distance: map units; degrees: between the two directions.
    """

    frame: NDArray[np.int64]
    distance: Floats
    degrees: Floats


def read_poses(path: Path) -> Poses:
    """Read the poses of one video: columns frame, x, y, angle, region and regions, and any others.

    Args:
        path: path of a .csv file.

    Returns:
        The poses of all frames.

    Raises:
        NotAsSaid: a column is missing, a value is no finite number, or frames are not numbered 0, 1, 2, …; with the
            line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise NotAsSaid(f"{path} is no table in UTF-8; make the test set again") from error
    table = csv.DictReader(lines)
    needed = ("frame", "x", "y", "angle", "region", "regions")
    if missing := [name for name in needed if name not in (table.fieldnames or ())]:
        raise NotAsSaid(f"{path}, line 1: column {missing[0]} is missing; the table needs {', '.join(needed)}")
    track: list[list[float]] = []
    region: list[int] = []
    in_view: list[frozenset[int]] = []
    for frame, row in enumerate(table):
        place = f"{path}, line {frame + 2}"
        try:
            if int(row["frame"]) != frame:
                raise NotAsSaid(f"{place}: frame {row['frame']} where {frame} comes next; frames count 0, 1, 2, …")
            values = [float(row[name]) for name in ("x", "y", "angle")]
            region.append(int(row["region"]))
            in_view.append(frozenset(int(number) for number in row["regions"].split(";") if number))
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, NotAsSaid):
                raise
            raise NotAsSaid(
                f"{place}: a value is missing or is no number; every frame needs {', '.join(needed)}"
            ) from error
        if not all(map(math.isfinite, values)):
            raise NotAsSaid(f"{place}: x, y or angle is NaN or infinite; every frame needs a place and an angle")
        track.append(values)
    return Poses(np.asarray(track, dtype=np.float64).reshape(-1, 3), region, in_view)


def nearest_poses(wanted: Floats, given: Floats) -> Nearest:
    """The given pose nearest to each that is wanted, both f 3; of equally near ones the last.

    Way and turn count alike where they take the same frames: see `steps`.
    """
    distance = np.hypot(wanted[:, None, 0] - given[None, :, 0], wanted[:, None, 1] - given[None, :, 1])
    degrees = np.abs((wanted[:, None, 2] - given[None, :, 2] + 180.0) % 360.0 - 180.0)
    far = steps(distance, degrees).round(6)
    frame = given.shape[0] - 1 - far[:, ::-1].argmin(axis=1)
    rows = np.arange(len(wanted))
    return Nearest(frame, distance[rows, frame], degrees[rows, frame])


def steps(distance: Floats | Sequence[float], degrees: Floats | Sequence[float]) -> Floats:
    """How far a pose is from another, in frames of walking or turning at full speed.

    distance: map units; degrees: between the directions. Source: our choice, so that one number orders both.
    """
    return np.hypot(np.asarray(distance) / STEP_DISTANCE, np.asarray(degrees) / STEP_DEGREES)
