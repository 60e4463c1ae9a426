"""Render one walk through a maze: the video, the poses, the layout of the maze, and a row of the table."""

import json
import math
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.mazes.captions import write_caption, write_short_caption
from datamodules.mazes.game import Game
from datamodules.mazes.layout import BLOCK, Maze, centre_of, split_of
from datamodules.mazes.plans import WalkPlan
from datamodules.mazes.walks import Walk
from datamodules.recording import Pose, Sight, open_video, write_rows, write_whole

FPS = Fraction(35, 4)
"""Frames a second at which walks are shown: that of Freedoom's."""
_CRF = 12  # sharp edges show what a higher one takes away
_MOST_OFF = 2.0  # map units from the plan; a walk that is led is within 0.1
_HALF_VIEW = 0.75  # tangent of half the angle of view: the square cut out of a picture of 4 to 3 that shows 90 degrees
_CAMERA_BEHIND = 90.0  # map units, in third person, as far as a wall allows
_RAYS, _RAY_STEP = 41, 16.0
COLUMNS = ("x", "y", "z", "angle", "pitch", "leg", "region", "room", "objects", "regions")
"""Of the side file, after `frame`: the pose; what is done; the region that the marine is in, and its number again where
that is a room; the things and the regions that are in view."""


def render_walk(plan: WalkPlan) -> None:
    """Render a walk; its files appear only when complete, the row last.

    Args:
        plan: all that determines the walk.

    Raises:
        RuntimeError: the game does not take the maze, or the marine did not get where the plan led him.
    """
    root = Path(plan.root)
    for path in (plan.video, plan.poses, plan.row, plan.layout):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    maze = plan.draw_maze()
    walk = plan.plan(maze=maze)
    unfinished = (root / plan.video).with_suffix(".part.mp4")
    try:
        with tempfile.TemporaryDirectory() as folder:  # the game's own files; each process needs its own
            sights = _play(plan=plan, maze=maze, walk=walk, folder=Path(folder), path=unfinished)
        unfinished.replace(root / plan.video)
    finally:
        unfinished.unlink(missing_ok=True)  # where an error or a signal ended it
    write_whole(path=root / plan.layout, data=json.dumps(maze.describe()).encode())
    rows = [_row_of(maze=maze, leg=leg, sight=sight, plan=plan) for leg, sight in zip(walk.legs, sights, strict=True)]
    write_rows(path=root / plan.poses, names=COLUMNS, rows=rows)
    _write_row(plan=plan, maze=maze, walk=walk, sights=sights)


def _play(*, plan: WalkPlan, maze: Maze, walk: Walk, folder: Path, path: Path) -> list[Sight]:
    """Leads the marine and films what he sees; the pictures are not kept."""
    x, y, angle = (float(value) for value in walk.track[0])
    game = Game(
        maze=maze,
        start=(x, y, angle),
        size=plan.size,
        colour=plan.colour,
        third_person=plan.third_person,
        folder=folder,
    )
    sights: list[Sight] = []
    with game, open_video(path=path, size=plan.size, rate=FPS, crf=_CRF) as video:
        for frame, (x, y, angle) in enumerate(walk.track.tolist()):
            pose = game.lead(x=x, y=y, angle=angle) if frame else None
            if pose is not None and math.dist((pose.x, pose.y), (x, y)) > _MOST_OFF:
                msg = f"{plan.walk_id}: something stands in the way at x {pose.x:.0f}, y {pose.y:.0f}."
                raise RuntimeError(msg)
            sight = game.look()
            video.add(sight.picture)
            sights.append(sight._replace(picture=np.zeros((0, 0, 3), np.uint8)))
    return sights


def _row_of(*, maze: Maze, leg: str, sight: Sight, plan: WalkPlan) -> tuple[object, ...]:
    region = maze.region_at(x=sight.pose.x, y=sight.pose.y)
    room = region if region in maze.rooms.values() else ""
    seen = regions_in_view(maze=maze, pose=sight.pose, third_person=plan.third_person)
    return (*sight.pose, leg, region, room, sight.objects, tuple(str(number) for number in seen))


def regions_in_view(*, maze: Maze, pose: Pose, third_person: bool) -> list[int]:
    """The regions that are seen from a pose, by rays in the plane; in third person from behind the marine."""
    x, y, angle = pose.x, pose.y, math.radians(pose.angle)
    if third_person:
        steps = np.arange(0.0, _CAMERA_BEHIND + 1.0, 6.0)
        free = [maze.region_at(x=x - s * math.cos(angle), y=y - s * math.sin(angle)) >= 0 for s in steps.tolist()]
        back = float(steps[max(free.index(False) - 1 if False in free else len(steps) - 1, 0)])
        x, y = x - back * math.cos(angle), y - back * math.sin(angle)
    # Evenly over the picture, not over the angle.
    spread = np.arctan(np.linspace(-_HALF_VIEW, _HALF_VIEW, _RAYS))
    reach = np.arange(0.0, BLOCK * max(maze.region.shape), _RAY_STEP)
    directions = angle + spread[:, None]
    columns = ((x + reach * np.cos(directions)) // BLOCK).astype(int).clip(0, maze.region.shape[1] - 1)
    rows = ((y + reach * np.sin(directions)) // BLOCK).astype(int).clip(0, maze.region.shape[0] - 1)
    met = maze.region[rows, columns]
    open_so_far = np.logical_and.accumulate(met >= 0, axis=1)
    return [int(number) for number in np.unique(met[open_so_far])]


def _write_row(*, plan: WalkPlan, maze: Maze, walk: Walk, sights: list[Sight]) -> None:
    texts = ("", "") if plan.silent else _captions(plan=plan, maze=maze, sights=sights)
    home = centre_of(walk.home)
    row: dict[str, Any] = {
        "path": plan.video.as_posix(),
        "text": texts[0],
        "short_text": texts[1],
        "maze": plan.maze_name,
        "split": split_of(number=plan.maze),
        "fps": float(FPS),
        "num_frames": len(sights),
        "height": plan.size,
        "width": plan.size,
        "view": "third_person" if plan.third_person else "first_person",
        "colour": plan.colour if plan.third_person else "",
        "kind": plan.kind,
        "turn_frame": walk.turn_frame if walk.turn_frame >= 0 else "",
        "home": maze.region_at(x=home[0], y=home[1]),
        "poses": plan.poses.as_posix(),
        "layout": plan.layout.as_posix(),
        "seed": plan.seed,
    }
    write_whole(path=Path(plan.root) / plan.row, data=json.dumps(row).encode())


def _captions(*, plan: WalkPlan, maze: Maze, sights: list[Sight]) -> tuple[str, str]:
    """The full and the short caption of a walk."""
    rng = plan.wording()
    regions = Counter(maze.region_at(x=sight.pose.x, y=sight.pose.y) for sight in sights)
    things = Counter(name for sight in sights for name in sight.objects)
    full = write_caption(
        rng=rng,
        maze=maze,
        kind=plan.kind,
        colour=plan.colour,
        third_person=plan.third_person,
        regions=[number for number, _ in regions.most_common()],
        things=[name for name, _ in things.most_common()],
    )
    return full, write_short_caption(rng=rng, kind=plan.kind, third_person=plan.third_person)
