"""Does memory keep a fact? One walk through worlds that differ in nothing else, and which of them a prediction shows.

    python benchmarks/maze_facts.py --weights weights/lovic_mazes_64 --work outputs/maze_facts

The same walk through a test maze is rendered in four worlds: with the marine in each of his four colours, or with the
hue of every thing in the maze changed in four ways. Weights see the first half in one of them, and make frames of the
second half from its poses, with memory and without. Each frame is then compared with the same frame of all four worlds,
on those pixels in which they differ: it is right where the nearest is the world that was seen. Chance is one in four.

- colour: 161 frames behind the marine are seen, a segment of 40 frames is not, and the next 40 are made after a cut.
- things: 161 frames are seen, then the walk goes back the same way. What counts are frames in which every thing in view
  was seen before, and was out of view for at least a segment.

Axes: f frames, h height, w width. Intervals are over mazes. Writes benchmarks/results/maze_facts.json and .md.
"""

import argparse
import gzip
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import csv

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.report import Sheet, save, show
from benchmarks.trained import cell, interval
from datamodules.mazes.layout import Maze
from datamodules.mazes.looks import HUES
from datamodules.mazes.plans import WalkPlan
from datamodules.mazes.testbed import plan_walks
from datamodules.mazes.walk_files import render_walk
from datamodules.recording import COLOURS
from datamodules.rendering import render_missing
from longtake import Pipeline
from longtake.cli.user_errors import explain
from longtake.testbed.folder import Testbed
from longtake.testbed.from_memory import FromMemory
from longtake.testbed.questions import Question, Span

Frames = NDArray[np.uint8]
SEEN, SEGMENT = 161, 40
"""Frames that are given, and of a segment."""
LENGTHS = {"colour": SEEN + 2 * SEGMENT, "things": 2 * SEEN - 1}
WORLDS = tuple(COLOURS)
INFO = {"settings": {"size": 64}}
"""What a testbed says of its pictures."""
LEAST_APART, LEAST_PIXELS = 24.0, 8
"""Grey levels by which two worlds differ in a pixel that counts, and pixels that a frame must have of these."""
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recoloured(WalkPlan):
    """A walk through a maze whose things have other hues: each is `shift` places further in the list of hues."""

    shift: int

    def draw_maze(self) -> Maze:
        """The maze that is walked in."""
        maze = super().draw_maze()
        turned = [HUES[(HUES.index(thing.hue) + self.shift) % len(HUES)] for thing in maze.things]
        return replace(maze, things=tuple(replace(t, hue=hue) for t, hue in zip(maze.things, turned, strict=True)))


def worlds_of(case: str, work: Path, mazes: int) -> list[list[WalkPlan]]:
    """Of each maze the same walk in four worlds, each under a root of its own."""
    settings = {"mazes": mazes, "seed": 1000, "size": 64, "frames": LENGTHS[case], "most_cells": 3, "patterned": False}
    kind = "explore" if case == "colour" else "backtrack"
    found = []
    for plan in plan_walks(root=work, **settings):  # type: ignore[arg-type]
        if plan.kind != kind:
            continue
        roots = [str((work / case / name).resolve()) for name in WORLDS]
        if case == "colour":
            behind = replace(plan, third_person=True)
            found.append([replace(behind, root=r, colour=name) for r, name in zip(roots, WORLDS, strict=True)])
        else:
            told = vars(plan)
            step = len(HUES) // len(WORLDS)
            found.append([Recoloured(**{**told, "root": r, "shift": k * step}) for k, r in enumerate(roots)])
    return found


def asked(case: str, number: int, plans: Sequence[WalkPlan], work: Path) -> tuple[Question, int]:
    """A question about a walk, and which of its worlds is seen.

    Its video and poses are laid where a testbed has them.
    """
    true = number % len(plans)
    plan = plans[true]
    name = f"{case}-{plan.walk_id}"
    for folder in ("videos", "poses"):
        (work / folder).mkdir(exist_ok=True)
    seen, other = work / "videos" / f"{name}.mp4", work / "videos" / f"{name}-after.mp4"
    for path in (seen, other):
        path.write_bytes((Path(plan.root) / plan.video).read_bytes())
        poses = gzip.decompress((Path(plan.root) / plan.poses).read_bytes())
        (work / "poses" / f"{path.stem}.csv").write_bytes(poses)
    start = SEEN + SEGMENT if case == "colour" else SEEN
    target = other.stem if case == "colour" else name  # another video is a cut
    empty = {"since_context": (), "nearest_frame": (), "nearest_distance": (), "nearest_degrees": ()}
    return Question(
        id=name,
        kind="cut" if case == "colour" else "retrieval",
        task="cut" if case == "colour" else "retrieval-160",
        maze=plan.maze_name,
        context=Span(video=name, start=0, end=SEEN),
        target=Span(video=target, start=start, end=LENGTHS[case]),
        seed=number,
        other=None,
        unvisited=None,
        **empty,
    ), true


def counted(case: str, plan: WalkPlan, target: Span) -> NDArray[np.bool_]:
    """Which frames of the target count: f."""
    if case == "colour":
        return np.ones(len(target), bool)
    with gzip.open(Path(plan.root) / plan.poses, "rt", encoding="utf-8") as file:
        views = [set(filter(None, row["objects"].split(";"))) for row in csv.DictReader(file)]
    last: dict[str, int] = {}  # frame in which each was in view
    fresh: set[str] = set()  # came back after at least a segment, and stays in view
    found = np.zeros(len(target), bool)
    for frame, view in enumerate(views[: target.end]):
        fresh = {each for each in fresh if each in view and last[each] == frame - 1}
        fresh |= {each for each in view if each in last and last[each] < frame - SEGMENT and frame >= target.start}
        if frame >= target.start:
            found[frame - target.start] = bool(view) and view == fresh
        last.update(dict.fromkeys(view, frame))
    return found


def judged(made: Frames, worlds: Sequence[Frames], true: int, counts: NDArray[np.bool_]) -> list[bool]:
    """Of every frame that counts whether the nearest world is the true one.

    Args:
        made: prediction, f h w 3.
        worlds: the same frames in each world.
        true: which of them was seen.
        counts: f, frames that are asked about.
    """
    stacked = np.stack([world.astype(np.float32) for world in worlds])  # k f h w 3
    differs = (stacked.max(axis=0) - stacked.min(axis=0)).max(axis=-1) > LEAST_APART  # f h w
    errors = ((stacked - made.astype(np.float32)) ** 2).sum(axis=-1)  # k f h w
    found = []
    for frame in np.flatnonzero(counts & (differs.sum(axis=(1, 2)) >= LEAST_PIXELS)):
        of_world = errors[:, frame][:, differs[frame]].mean(axis=1)
        found.append(int(of_world.argmin()) == true)
    return found


def sheet_of(records: Sequence[Record], mazes: Mapping[str, int]) -> Sheet:
    """One table."""
    rows = [[r["case"], r["method"], cell(r["right"], 2), str(r["mazes"]), str(r["frames"])] for r in records]
    notes = [
        "Share of frames whose nearest world, of four, is the one that was seen; 0.25 is chance. Intervals over mazes.",
        f"Mazes asked about: {', '.join(f'{case} {count}' for case, count in mazes.items())}.",
    ]
    return Sheet("Facts that are remembered", notes, ["fact", "method", "right", "mazes", "frames"], rows)


def measure(case: str, options: argparse.Namespace, pipeline: Pipeline) -> list[Record]:
    """A record of each method."""
    work = options.work
    FromMemory(pipeline, Testbed(root=work, info=INFO, questions=[]))  # refuses weights before anything is rendered
    walks = worlds_of(case, work, options.mazes)
    for world in zip(*walks, strict=True):
        missing = [plan for plan in world if not plan.is_done()]
        render_missing(world=f"{case}, a world", plans=missing, render_walk=render_walk, num_workers=options.workers)
    questions = [asked(case, number, plans, work) for number, plans in enumerate(walks)]
    testbed = Testbed(root=work, info=INFO, questions=[question for question, _ in questions])
    answerer = FromMemory(pipeline, testbed)
    ways = answerer.ways(options.ratios, ())
    methods = {name: ways[name] for name in ("window", *(f"memory_{r:g}" for r in options.ratios), "full_context")}
    methods["codec"] = answerer.reconstruct
    right: dict[str, dict[str, list[bool]]] = {name: {} for name in methods}
    for (question, true), plans in zip(track(questions, case), walks, strict=True):
        target, counts = question.target, counted(case, plans[true], question.target)
        if not counts.any():
            continue
        worlds = [seen(Path(plan.root) / plan.video, target) for plan in plans]
        for name, make in methods.items():
            found = judged(make(question), worlds, true, counts)
            if found:
                right[name][question.maze] = found
    return [
        {
            "case": case,
            "method": name,
            "right": interval([float(np.mean(each)) for each in of_maze.values()], list(of_maze)),
            "mazes": len(of_maze),
            "frames": sum(map(len, of_maze.values())),
            "of_maze": {maze: float(np.mean(each)) for maze, each in of_maze.items()},
        }
        for name, of_maze in right.items()
    ]


def seen(path: Path, span: Span) -> Frames:
    """Frames of a video file, f h w 3."""
    from longtake.video import read_frames

    frames: Frames = read_frames(path, height=64, width=64, fps=0, crop_place=0.5)[span.start : span.end]
    return frames


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/lovic_mazes_64", help="weights with a memory that take poses")
    parser.add_argument("--work", type=Path, default=Path("outputs/maze_facts"), help="folder for rendered walks")
    parser.add_argument("--mazes", type=int, default=20)
    parser.add_argument("--ratios", type=float, nargs="+", default=[4.0, 8.0, 16.0])
    parser.add_argument(
        "--steps", type=int, default=None, help="of the sampler; as the weights say where it is left out"
    )
    parser.add_argument("--cases", nargs="+", choices=LENGTHS, default=list(LENGTHS), help="facts to ask for")
    parser.add_argument("--workers", type=int, default=2, help="rendering processes")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline.from_pretrained(options.weights, num_inference_steps=options.steps)
    records: list[Record] = []
    for case in options.cases:
        records += measure(case, options, pipeline)
        mazes = {each["case"]: each["mazes"] for each in records}
        sheet = sheet_of(records, mazes)
        told = {"command": f"python benchmarks/maze_facts.py {' '.join(sys.argv[1:])}".strip(), "records": records}
        save(options.output, "maze_facts", told, [sheet])  # each case at once
    show(sheet, Console())


if __name__ == "__main__":
    with explain():
        main()
