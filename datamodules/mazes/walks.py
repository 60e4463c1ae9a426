"""Planned walks: where the marine is and looks at every frame, known before anything is rendered."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from datamodules.mazes.layout import BLOCK, PITCH, Cell, Maze
from datamodules.mazes.ways import MOST_WAY, Route, Track, at_frames, find_loop, shortest_way, smoothed, turned

KINDS = ("explore", "backtrack", "return", "loop", "leave", "rejoin")
"""explore: toward what was not seen. backtrack: half of the frames explore, the others are the same poses in reverse,
walked backward. return: explore, turn round, the same way back. loop: round a loop and in by another way. leave and
rejoin: two walks of one maze, with a cut between them: look about a room and go; begin elsewhere and come to it.
"""


class Walk(NamedTuple):
    """A planned walk.

    track: f 3; legs: what is done at each frame; home: the cell that a loop, leave or rejoin is about, or the first;
    turn_frame: the frame from which the way is walked back (backtrack, return), -1 where it is not.
    """

    track: Track
    legs: list[str]
    home: Cell
    turn_frame: int


def plan_walk(*, maze: Maze, kind: str, frames: int, rng: np.random.Generator, home: Cell | None = None) -> Walk:
    """Plan a walk of so many frames.

    Args:
        maze: the maze that is walked through.
        kind: one of `KINDS`.
        frames: length.
        rng: chooses among ways.
        home: the cell that a loop, leave or rejoin is about; None: drawn. Give both walks of a cut the same.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in KINDS:
        msg = f"the kind of walk is {kind!r}; use one of {', '.join(KINDS)}."
        raise ValueError(msg)
    home = _draw_home(maze=maze, kind=kind, rng=rng) if home is None else home
    planners: dict[str, Callable[[Maze, Cell, int, np.random.Generator], Walk]] = {
        "explore": _explore,
        "backtrack": _backtrack,
        "return": _return,
        "loop": _loop,
        "leave": _leave,
        "rejoin": _rejoin,
    }
    return planners[kind](maze, home, frames, rng)


def _draw_home(*, maze: Maze, kind: str, rng: np.random.Generator) -> Cell:
    cells = sorted(maze.rooms)
    if kind == "loop":
        cells = [cell for cell in cells if find_loop(maze=maze, home=cell)] or [
            cell for cell in np.ndindex(*maze.cells) if find_loop(maze=maze, home=cell)
        ]
    row, column = cells[int(rng.integers(len(cells)))]
    return row, column


def _explore(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    route = Route(maze=maze, cell=home, rng=rng)
    route.explore(frames=frames)
    return Walk(*route.timed(frames=frames), home=home, turn_frame=-1)


def _backtrack(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    out = frames // 2 + 1
    track, legs = _explore(maze, home, out, rng)[:2]
    # The same poses: frame out - 1 + k looks from where frame out - 1 - k looked.
    whole = np.concatenate([track, track[-2::-1]])[:frames]
    return Walk(whole, [*legs, *["back"] * (frames - out)], home=home, turn_frame=out - 1)


def _return(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    about = turned(place=(0.0, 0.0, 0.0), degrees=180.0)
    turning = len(smoothed(at_frames([about]))) - 2
    out = max((frames - turning) // 2, 1)
    track, legs = _explore(maze, home, out, rng)[:2]
    end = track[-1]
    turn = smoothed(at_frames([about])) * np.asarray((1.0, 1.0, rng.choice((-1.0, 1.0)))) + end
    back = track[-2::-1] + np.asarray((0.0, 0.0, turn[-1, 2] - end[2]))
    whole = np.concatenate([track, turn[1:], back])[:frames]
    whole = np.concatenate([whole, np.repeat(whole[-1:], frames - len(whole), axis=0)])
    legs = [*legs, *["turn"] * (len(turn) - 1), *["back"] * len(whole)][:frames]
    return Walk(whole, legs, home=home, turn_frame=min(out - 1, frames - 1))


def _loop(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    found = find_loop(maze=maze, home=home)
    route = Route(maze=maze, cell=home, rng=rng)
    for cell in found if rng.random() < 0.5 else [*found[-2::-1], home]:
        route.go(cell=cell, leg="round")
    route.explore(frames=frames, leg="again")
    return Walk(*route.timed(frames=frames), home=home, turn_frame=-1)


def _leave(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    route = Route(maze=maze, cell=home, rng=rng)
    route.turn(degrees=360.0, leg="look")
    route.explore(frames=frames)
    return Walk(*route.timed(frames=frames), home=home, turn_frame=-1)


def _rejoin(maze: Maze, home: Cell, frames: int, rng: np.random.Generator) -> Walk:
    """Begins as far from home as half of the frames walk, and looks about there for the rest."""
    ways = {cell: shortest_way(maze=maze, first=cell, last=home) for cell in np.ndindex(*maze.cells) if cell != home}
    longest = max(1, int(0.6 * frames * MOST_WAY / (PITCH * BLOCK)))
    fitting = [way for way in ways.values() if len(way) - 1 <= longest]
    most = max(len(way) for way in fitting)
    far = [way for way in fitting if len(way) == most]
    way = far[int(rng.integers(len(far)))]
    route = Route(maze=maze, cell=way[0], rng=rng)
    for cell in way[1:]:
        route.go(cell=cell, leg="go")
    route.centre(leg="go")
    route.turn(degrees=360.0, leg="look")
    route.explore(frames=frames)
    return Walk(*route.timed(frames=frames), home=home, turn_frame=-1)
