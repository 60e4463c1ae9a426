"""Render a corpus of mazes: any number of them from one seed, several walks in each, resumable, then one table."""

from collections.abc import Mapping
from pathlib import Path

from datamodules.mazes.plans import CUT, plan_of
from datamodules.mazes.walk_files import render_walk
from datamodules.mazes.walks import KINDS
from datamodules.rendering import check_counts, check_settings, check_shares, render_missing, write_table

COLUMNS = (
    *("path", "text", "short_text", "maze", "split", "fps", "num_frames", "height", "width"),
    *("view", "colour", "kind", "turn_frame", "home", "poses", "layout", "seed"),
)
"""Of the table. turn_frame: from which the way back begins, where there is one; home: the region that a loop or a cut
is about, or in which the walk begins."""
_SINGLE_KINDS = tuple(kind for kind in KINDS if kind not in ("leave", "rejoin"))


def render_corpus(
    *,
    root: str | Path,
    size: int,
    mazes: int,
    walks_per_maze: int,
    frames_per_walk: int,
    kinds: Mapping[str, float],
    seed: int,
    num_workers: int,
    most_cells: int = 3,
    patterned: bool = False,
    third_person_share: float = 0.5,
    silent_share: float = 0.0,
) -> Path:
    """Render what is missing of a corpus of walks through mazes and return the path of its table.

    A killed render continues where it was; more mazes or walks may be added to a root later, other settings not.
    Under the root lie `videos/<maze>/<walk>.mp4`, `poses/<maze>/<walk>.csv.gz` (for every frame the pose, the region,
    what is in view), `layouts/<maze>.json`, `rows/` (one file for each walk, behind the table) and `table.csv`.
    Every tenth maze is a test maze and every tenth a validation maze, by its number, whatever the seed.

    Args:
        root: folder of the corpus, made if absent.
        size: height and width of the video in pixels, even.
        mazes: how many mazes.
        walks_per_maze: walks in each; a cut needs two.
        frames_per_walk: frames of each walk, at least 2.
        kinds: share of walks of each kind, explore, backtrack, return, loop and cut; together 1.
        seed: with the numbers of maze and walk it determines every frame.
        num_workers: processes to render in.
        most_cells: rooms or junctions along a side of a maze, at most; at least 2.
        patterned: whether walls, floors and ceilings have fine patterns. Without, surfaces are plain or of two halves,
            which 64 pixels show and a small codec keeps.
        third_person_share: share of walks that show a marine, green, grey, red or blue, from behind.
        silent_share: share of walks whose captions, the short one too, are empty.

    Raises:
        ValueError: a number or share out of range, an unknown kind, or a root rendered with other settings.
        RuntimeError: not one walk could be rendered.
    """
    check_counts(size=size, mazes=mazes, walks_per_maze=walks_per_maze, num_workers=num_workers)
    for name, value in (("frames_per_walk", frames_per_walk), ("most_cells", most_cells)):
        if value < 2:
            msg = f"{name} is {value}; it must be at least 2."
            raise ValueError(msg)
    shares = {str(kind): float(share) for kind, share in kinds.items()}
    _check_kinds(shares)
    check_shares(third_person_share=third_person_share, silent_share=silent_share)
    folder = Path(root).resolve()
    common = {"seed": seed, "most_cells": most_cells, "patterned": patterned, "size": size}
    shown = {"third_person_share": third_person_share, "silent_share": silent_share}
    settings: dict[str, object] = {**common, **shown, "frames_per_walk": frames_per_walk, "kinds": shares}
    check_settings(root=folder, settings=settings, may_grow="mazes or walks")
    plans = [
        plan_of(
            root=str(folder),
            maze=maze,
            number=number,
            seed=seed,
            most_cells=most_cells,
            patterned=patterned,
            kinds=shares,
            size=size,
            frames=frames_per_walk,
            third_person_share=third_person_share,
            silent_share=silent_share,
        )
        for maze in range(mazes)
        for number in range(walks_per_maze)
    ]
    missing = [plan for plan in plans if not plan.is_done()]
    render_missing(world="mazes", plans=missing, render_walk=render_walk, num_workers=num_workers)
    return write_table(root=folder, columns=COLUMNS)


def _check_kinds(kinds: Mapping[str, float]) -> None:
    known = (*_SINGLE_KINDS, CUT)
    for kind in kinds:
        if kind not in known:
            msg = f"kinds names {kind!r}; the kinds of walks are {', '.join(known)}."
            raise ValueError(msg)
    check_shares(**{f"kinds.{kind}": share for kind, share in kinds.items()})
    total = sum(kinds.values())
    if abs(total - 1.0) > 1e-6:
        msg = f"the shares of kinds are {total:g} together; give every kind its share of 1."
        raise ValueError(msg)
