"""Render one walk to its three files: the video, the poses, and a side file with its row of the table."""

import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.freedoom.captions import describe_look, write_caption, write_short_caption
from datamodules.freedoom.game import Game
from datamodules.freedoom.level_map import LevelMap, load_map
from datamodules.freedoom.levels import split_of
from datamodules.freedoom.plans import WalkPlan
from datamodules.freedoom.walks import Walker
from datamodules.recording import TICS_PER_SECOND, Pose, Sight, open_video, write_rows, write_whole

_ATTEMPTS = 16
_PATIENT_ATTEMPTS = 8  # after so many, a walk in a small place is good enough
_JUMP = 40.0  # map units in one tic: no walk is that fast, so it was a teleport, a cut in the video


def render_walk(plan: WalkPlan) -> None:
    """Render a walk; its files appear only when complete, the row last.

    A walk that runs into an exit, dies or is teleported is begun anew with another sub-seed, for a video has no
    cuts; so is one that is shut in a small place.

    Args:
        plan: all that determines the walk.

    Raises:
        RuntimeError: every attempt ended early.
    """
    root = Path(plan.root)
    for path in (plan.video, plan.poses, plan.row):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        if _try_walk(plan=plan, attempt=attempt):
            return
    msg = f"{plan.walk_id}: each of {_ATTEMPTS} attempts left the level or was teleported before {plan.frames} frames."
    raise RuntimeError(msg)


def _try_walk(*, plan: WalkPlan, attempt: int) -> bool:
    rng = np.random.default_rng([plan.seed, zlib.crc32(plan.level.encode()), plan.number, attempt])
    root = Path(plan.root)
    unfinished = (root / plan.video).with_suffix(".part.mp4")
    tally = None
    try:
        with tempfile.TemporaryDirectory() as folder:  # the game's own settings file; each process needs its own
            game = Game(
                level=plan.level,
                seed=int(rng.integers(1, 2**31 - 1)),
                size=plan.size,
                colour=plan.colour,
                third_person=plan.third_person,
                monsters=plan.monsters,
                tics_per_frame=plan.tics_per_frame,
                config_path=Path(folder) / "game.ini",
            )
            with game:
                tally = _play(plan=plan, rng=rng, game=game, attempt=attempt, path=unfinished)
    finally:
        if tally is None:  # also where an error or a signal ended it
            unfinished.unlink(missing_ok=True)
    if tally is None:
        return False
    unfinished.replace(root / plan.video)
    rows = [(*pose, leg, names) for pose, leg, names in zip(tally.poses, tally.legs, tally.objects, strict=True)]
    write_rows(path=root / plan.poses, names=(*Pose._fields, "leg", "objects"), rows=rows)
    _write_row(plan=plan, tally=tally, rng=rng)
    return True


class _Tally:
    """What is gathered along a walk: poses, legs, objects and the sums behind the caption."""

    def __init__(self) -> None:
        self.poses: list[Pose] = []
        self.legs: list[str] = []
        self.objects: list[tuple[str, ...]] = []
        self.colour_sum = np.zeros(3)
        self.hues = np.zeros(360)

    def add(self, *, sight: Sight, leg: str) -> None:
        import cv2

        self.poses.append(sight.pose)
        self.legs.append(leg)
        self.objects.append(sight.objects)
        self.colour_sum += sight.picture.mean(axis=(0, 1))
        hue, saturation, value = cv2.split(cv2.cvtColor(sight.picture[::4, ::4], cv2.COLOR_RGB2HSV))
        colourful = (saturation > 70) & (value > 40)
        self.hues += np.bincount(2 * hue[colourful].astype(np.int64), minlength=360) / hue.size


def _play(*, plan: WalkPlan, rng: np.random.Generator, game: Game, attempt: int, path: Path) -> _Tally | None:
    level_map = load_map(level=plan.level)
    # The first walk begins at the level's own start, unless that led nowhere.
    if (plan.number > 0 or attempt > 0) and level_map.pickups:
        game.put(place=_start(rng=rng, level_map=level_map), angle=float(rng.uniform(0.0, 360.0)))
    walker = Walker(rng=rng, tics_per_frame=plan.tics_per_frame)
    tally = _Tally()
    rate = Fraction(TICS_PER_SECOND, plan.tics_per_frame)
    with open_video(path=path, size=plan.size, rate=rate, crf=17) as video:
        for index in range(plan.frames):
            sight = game.look()
            if tally.poses and _distance(tally.poses[-1], sight.pose) > _JUMP * plan.tics_per_frame:
                return None
            video.add(sight.picture)
            tally.add(sight=sight, leg=walker.leg)
            around = level_map.around(x=sight.pose.x, y=sight.pose.y, angle=sight.pose.angle, may_drop=walker.may_drop)
            move = walker.step(around=around, pose=sight.pose)
            if walker.is_shut_in and attempt < _PATIENT_ATTEMPTS:
                return None
            if not game.advance(move=move) and index + 1 < plan.frames:
                return None
    return tally


def _start(*, rng: np.random.Generator, level_map: LevelMap) -> tuple[float, float]:
    """Choose where a walk begins: the most open of a few places where things to pick up lie."""
    drawn = [level_map.pickups[int(index)] for index in rng.integers(len(level_map.pickups), size=4)]
    return max(drawn, key=lambda place: level_map.openness(x=place[0], y=place[1]))


def _write_row(*, plan: WalkPlan, tally: _Tally, rng: np.random.Generator) -> None:
    count = len(tally.poses)
    seen = Counter(name for names in tally.objects for name in names)
    caption = write_caption(
        rng=rng,
        level=plan.level,
        look=describe_look(colour_mean=tally.colour_sum / count, saturated=tally.hues / count),
        colour=plan.colour,
        third_person=plan.third_person,
        legs=Counter(tally.legs),
        objects=[name for name, _ in seen.most_common(5)],
    )
    row: dict[str, Any] = {
        "path": plan.video.as_posix(),
        "text": caption,
        "short_text": short_text_of(plan=plan, legs=Counter(tally.legs)),
        "level": plan.level,
        "split": split_of(level=plan.level),
        "fps": TICS_PER_SECOND / plan.tics_per_frame,
        "num_frames": count,
        "height": plan.size,
        "width": plan.size,
        "view": "third_person" if plan.third_person else "first_person",
        "colour": plan.colour if plan.third_person else "",
        "seed": plan.seed,
    }
    write_whole(path=Path(plan.root) / plan.row, data=json.dumps(row).encode())


def short_text_of(*, plan: WalkPlan, legs: Mapping[str, int]) -> str:
    """Return the short caption of a walk; legs: frames spent in each kind of leg."""
    rng = np.random.default_rng([plan.seed, zlib.crc32(plan.level.encode()), plan.number, 1 << 16])
    return write_short_caption(rng=rng, level=plan.level, third_person=plan.third_person, legs=legs)


def _distance(first: Pose, second: Pose) -> float:
    return float(np.hypot(first.x - second.x, first.y - second.y))
