"""Ways through a maze, and how long they take: what planned walks are made of.

A track is places, f 3: x, y in map units and an angle in degrees that is never wrapped. A way between cells is straight
lines and quarter circles; every track begins and ends at rest, so that it can be walked backward.
"""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.mazes.layout import Cell, Maze, centre_of

# Source: our choice: a codec that folds four frames sees a turn of 16 degrees in them, and 44 map units of way.
MOST_TURN = 4.0  # degrees a frame
MOST_WAY = 11.0  # map units a frame
_BEND = 64.0  # radius of a bend, in map units
_STEP = 2.0  # map units between the points from which a way is timed
_SMOOTHING = 5  # frames of each of two running means that round off changes of speed
_GLANCE_SHARE = 0.3  # of rooms seen for the first time, where the marine turns about once

Track = NDArray[np.float64]


def shortest_way(*, maze: Maze, first: Cell, last: Cell, shut: tuple[Cell, Cell] | None = None) -> list[Cell]:
    """Cells from one to another, both named, by the fewest ways; empty where there is none.

    shut: a link that may not be used.
    """
    before: dict[Cell, Cell | None] = {first: None}
    todo = deque([first])
    while todo:
        cell = todo.popleft()
        for other in maze.neighbours(cell):
            if other not in before and {cell, other} != set(shut or ()):
                before[other] = cell
                todo.append(other)
    if last not in before:
        return []
    way: list[Cell] = []
    step: Cell | None = last
    while step is not None:
        way.append(step)
        step = before[step]
    return way[::-1]


def find_loop(*, maze: Maze, home: Cell) -> list[Cell]:
    """The cells of the shortest loop from a cell on, ending in it; empty where none leads through it."""
    loops = [shortest_way(maze=maze, first=other, last=home, shut=(home, other)) for other in maze.neighbours(home)]
    return min((loop for loop in loops if loop), key=len, default=[])


class Route:
    """A way through a maze that grows piece by piece: bends, straight lines and turns on the spot."""

    def __init__(self, *, maze: Maze, cell: Cell, rng: np.random.Generator) -> None:
        self.maze, self.cell, self.rng = maze, cell, rng
        self.seen = {cell}
        self.visits = {cell: 1}
        self.pieces: list[Track] = []
        self.legs: list[str] = []
        self.place = (*centre_of(cell), 0.0)
        ahead = maze.neighbours(cell)
        self.place = (*centre_of(cell), _bearing(cell, ahead[int(rng.integers(len(ahead)))]))

    def turn(self, *, degrees: float, leg: str) -> None:
        """Turns on the spot; positive to the left."""
        self._add(turned(place=self.place, degrees=degrees), leg=leg)

    def go(self, *, cell: Cell, leg: str) -> None:
        """Goes to the middle of a neighbouring cell; where it must turn sharply, on the spot first."""
        off = (_bearing(self.cell, cell) - self.place[2] + 180.0) % 360.0 - 180.0
        start = centre_of(self.cell)
        if abs(off) > 91.0:
            self.turn(degrees=off if abs(off) < 179.0 else float(self.rng.choice((-180.0, 180.0))), leg=leg)
        elif abs(off) > 1.0 and self.pieces and math.dist(self.place[:2], start) > 0.5 * _BEND:
            self._add(_bent(place=self.place, degrees=off), leg=leg)
        elif abs(off) > 1.0:
            self.turn(degrees=off, leg=leg)
        end, angle = centre_of(cell), math.radians(self.place[2])
        # Short of the middle by the radius of a bend, which the next piece may be.
        end = (end[0] - _BEND * round(math.cos(angle)), end[1] - _BEND * round(math.sin(angle)))
        self._add(_straight(place=self.place, end=end), leg=leg)
        self.cell = cell
        self.visits[cell] = self.visits.get(cell, 0) + 1

    def centre(self, *, leg: str) -> None:
        """Goes the rest of the way to the middle of the cell."""
        self._add(_straight(place=self.place, end=centre_of(self.cell)), leg=leg)

    def explore(self, *, frames: int, leg: str = "go") -> None:
        """Goes on, toward what was not seen or was seen least, until it is long enough for so many frames."""
        while len(self.pieces) < 2 or self._frames() < frames + 4 * _SMOOTHING:
            around = self.maze.neighbours(self.cell)
            least = min(self.visits.get(cell, 0) for cell in around)
            fresh = [cell for cell in around if self.visits.get(cell, 0) == least]
            ahead = [cell for cell in fresh if abs(self._off(cell)) < 91.0] or fresh
            cell = ahead[int(self.rng.integers(len(ahead)))]
            if abs(self._off(cell)) > 91.0:
                self.centre(leg=leg)
            self.go(cell=cell, leg=leg)
            if cell in self.maze.rooms and cell not in self.seen and self.rng.random() < _GLANCE_SHARE:
                self.centre(leg=leg)
                self.turn(degrees=float(self.rng.choice((-360.0, 360.0))), leg="look")
            self.seen.add(cell)

    def _off(self, cell: Cell) -> float:
        return (_bearing(self.cell, cell) - self.place[2] + 180.0) % 360.0 - 180.0

    def _add(self, piece: Track, *, leg: str) -> None:
        self.pieces.append(piece)
        self.legs.append(leg)
        self.place = (float(piece[-1, 0]), float(piece[-1, 1]), float(piece[-1, 2]))

    def _frames(self) -> float:
        return sum(float(_costs(piece)[-1]) for piece in self.pieces)

    def timed(self, *, frames: int) -> tuple[Track, list[str]]:
        """The camera's track of exactly so many frames, at rest at both ends, and the name of each frame's leg."""
        track = at_frames(self.pieces)[: max(frames - 2 * (_SMOOTHING - 1), 1)]
        ends = np.cumsum([float(_costs(piece)[-1]) for piece in self.pieces])
        numbers = np.searchsorted(ends, np.arange(len(track)), side="right").clip(max=len(ends) - 1)
        legs = [self.legs[int(number)] for number in numbers]
        before = _SMOOTHING - 1  # the running means reach so far
        whole = smoothed(track)
        whole = np.concatenate([whole, np.repeat(whole[-1:], max(frames - len(whole), 0), axis=0)])[:frames]
        legs = [*legs[:1] * before, *legs, *legs[-1:] * frames][:frames]
        return whole, legs


def _bearing(first: Cell, last: Cell) -> float:
    return math.degrees(math.atan2(last[0] - first[0], last[1] - first[1]))


def _straight(*, place: Sequence[float], end: Sequence[float]) -> Track:
    count = max(math.ceil(math.dist(place[:2], end[:2]) / _STEP), 1) + 1
    return np.linspace((place[0], place[1], place[2]), (end[0], end[1], place[2]), count)


def _bent(*, place: Sequence[float], degrees: float) -> Track:
    """A quarter circle from a place into a direction to the left (positive) or right."""
    count = math.ceil(abs(math.radians(degrees)) * _BEND / _STEP) + 1
    turned = np.linspace(0.0, degrees, count)
    start = math.radians(place[2])
    side = math.copysign(_BEND, degrees)
    centre = place[0] - side * math.sin(start), place[1] + side * math.cos(start)
    angles = start + np.radians(turned)
    return np.stack([centre[0] + side * np.sin(angles), centre[1] - side * np.cos(angles), place[2] + turned], axis=1)


def turned(*, place: Sequence[float], degrees: float) -> Track:
    """A turn on the spot from a place, x, y and angle; positive to the left."""
    count = math.ceil(abs(degrees) / (0.25 * MOST_TURN)) + 1
    return np.linspace((place[0], place[1], place[2]), (place[0], place[1], place[2] + degrees), count)


def _costs(piece: Track) -> NDArray[np.float64]:
    """Frames from the start of a piece to each of its points, at the most way and turn a frame."""
    steps = np.diff(piece, axis=0)
    each = np.maximum(np.hypot(steps[:, 0], steps[:, 1]) / MOST_WAY, np.abs(steps[:, 2]) / MOST_TURN)
    return np.concatenate([[0.0], np.cumsum(each)])


def at_frames(pieces: Sequence[Track]) -> Track:
    """Pieces one after another, read off at whole frames, and their very end."""
    times, points, at = [np.zeros(0)], [np.zeros((0, 3))], 0.0
    for piece in pieces:
        costs = _costs(piece) + at
        times.append(costs)
        points.append(piece)
        at = float(costs[-1])
    time, point = np.concatenate(times), np.concatenate(points)
    frames = np.append(np.arange(math.floor(at) + 1), at)
    return np.stack([np.interp(frames, time, point[:, axis]) for axis in range(3)], axis=1)


def smoothed(track: Track) -> Track:
    """A track without jerks, at rest at both ends: two running means over it, with its end poses repeated.

    It is longer than the track by twice (`_SMOOTHING` - 1) frames.
    """
    held = np.pad(track, ((2 * (_SMOOTHING - 1),) * 2, (0, 0)), mode="edge")
    box = np.ones(_SMOOTHING) / _SMOOTHING
    for _ in range(2):
        held = np.stack([np.convolve(held[:, axis], box, mode="valid") for axis in range(3)], axis=1)
    return held
