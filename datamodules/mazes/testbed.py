"""The walks of a test set: one of every kind in each of the first test mazes, in first person and without captions."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from datamodules.mazes.layout import Maze, centre_of, split_of
from datamodules.mazes.plans import WalkPlan
from datamodules.mazes.walk_files import render_walk
from datamodules.recording import COLOURS
from datamodules.rendering import check_counts, check_settings, render_missing

_LOOPS, _CUTS = (
    range(10, 50),
    range(50, 98, 2),
)  # numbers of walks that are tried, in turn, until one comes home in time
_LEAST_AWAY = 32  # frames out of the room before coming home counts


def plan_walks(
    *, root: str | Path, mazes: int, seed: int, size: int, frames: int, most_cells: int, patterned: bool
) -> list[WalkPlan]:
    """Plan explore, backtrack, return, loop and cut in test mazes; loop and cut only where one comes home in time.

    A walk comes home in time if a quarter of the frames are left when it enters the room that it is about. The plans
    follow from the arguments alone, whatever lies in the folder.

    Args:
        root: folder to render into.
        mazes: how many test mazes.
        seed: seed of the mazes; their numbers alone say which of them are for test.
        size: height and width in pixels.
        frames: frames of every walk.
        most_cells: rooms or junctions along a side of a maze, at most.
        patterned: whether surfaces have fine patterns.
    """
    numbers = (number for number in itertools.count() if split_of(number=number) == "test")
    found: list[WalkPlan] = []
    for maze in itertools.islice(numbers, mazes):

        def plan(number: int, kind: str, maze: int = maze) -> WalkPlan:
            return WalkPlan(
                root=str(Path(root).resolve()),
                maze=maze,
                number=number,
                seed=seed,
                most_cells=most_cells,
                patterned=patterned,
                kind=kind,
                size=size,
                frames=frames,
                third_person=False,
                colour=next(iter(COLOURS)),
                silent=False,
            )

        drawn = plan(0, "explore").draw_maze()
        found += [plan(number, kind) for number, kind in enumerate(("explore", "backtrack", "return"))]
        loops = (plan(number, "loop") for number in _LOOPS)
        found += next(([loop] for loop in loops if _comes_home(plan=loop, maze=drawn)), [])
        cuts = ((plan(number, "leave"), plan(number + 1, "rejoin")) for number in _CUTS)
        found += next((list(cut) for cut in cuts if _comes_home(plan=cut[1], maze=drawn)), [])
    return found


def render_walks(*, plans: list[WalkPlan], num_workers: int) -> Iterator[WalkPlan]:
    """Render what is missing of planned walks, which share a root; resumable. Gives those that could not be rendered.

    Args:
        plans: the walks, all of one root.
        num_workers: processes to render in.

    Returns:
        Plans of the walks that could not be rendered.

    Raises:
        ValueError: a size that no video file takes, or a root that was rendered with other settings.
        RuntimeError: not one walk could be rendered.
    """
    first = plans[0]
    check_counts(size=first.size, num_workers=num_workers)
    names = ("seed", "most_cells", "patterned", "size", "frames")
    check_settings(root=Path(first.root), settings={name: getattr(first, name) for name in names}, may_grow="mazes")
    missing = [plan for plan in plans if not plan.is_done()]
    render_missing(world="test mazes", plans=missing, render_walk=render_walk, num_workers=num_workers)
    return (plan for plan in plans if not plan.is_done())


def _comes_home(*, plan: WalkPlan, maze: Maze) -> bool:
    walk = plan.plan(maze=maze)
    x, y = centre_of(walk.home)
    home = maze.region_at(x=x, y=y)
    is_home = [maze.region_at(x=x, y=y) == home for x, y, _ in walk.track.tolist()]
    if False not in is_home:
        return False
    left = is_home.index(False)  # at once, where the walk begins elsewhere
    back = next((frame for frame in range(left, len(is_home)) if is_home[frame]), len(is_home))
    return back - left >= _LEAST_AWAY and back <= len(is_home) - len(is_home) // 4
