"""Is the first room still known after two thousand frames? A long walk out and back, of which the beginning is given.

    python benchmarks/first_room.py --weights weights/lovic_mazes_64 --work outputs/first_room

A walk through a test maze goes out for half of its frames and comes back by the same poses in reverse. Its first 161
frames are given. All others are made from their poses, segment by segment, each from the memory of the given frames and
of those that were made before. The last 160 frames show once more what was given, so that the truth is known.

- window: the two latent frames before each segment alone;
- memory: the given beginning and everything made since, at one compression ratio;
- another maze's beginning: the same memory, but the given frames in it are those of another maze;
- codec: the real frames, encoded and decoded;
- last given frame, repeated.

Axes: f frames, h height, w width. Intervals are over mazes. Writes benchmarks/results/NAME.json, .md and .webp.
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.report import Sheet, save, show
from benchmarks.trained import cell, interval
from datamodules.mazes.plans import WalkPlan
from datamodules.mazes.testbed import plan_walks
from datamodules.mazes.walk_files import render_walk
from datamodules.rendering import render_missing
from longtake import Pipeline
from longtake.cli.user_errors import explain
from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.from_memory import FromMemory, Method
from longtake.testbed.measures import Truth
from longtake.testbed.questions import Question, Span

GIVEN = 161
"""Frames that are given; the last but one of these are asked about again at the walk's end."""
PARTS = 8
"""Equal parts of what is made, each with a figure of its own."""
SHOWN = 10
"""Frames of a row of the picture, over the return to what was given."""
Record = dict[str, Any]


def long_walks(work: Path, mazes: int, frames: int) -> list[WalkPlan]:
    """Out and back through each of the first test mazes, rendered where it is missing."""
    settings = {"mazes": mazes, "seed": 1000, "size": 64, "frames": frames, "most_cells": 3, "patterned": False}
    walks = [plan for plan in plan_walks(root=work / "walks", **settings) if plan.kind == "backtrack"]  # type: ignore[arg-type]
    missing = [plan for plan in walks if not plan.is_done()]
    render_missing(world="long walks", plans=missing, render_walk=render_walk, num_workers=2)
    return walks


def questions_of(walks: Sequence[WalkPlan], work: Path, frames: int) -> list[Question]:
    """What is asked of each walk; its video and poses are laid where a testbed has them."""
    for folder in ("videos", "poses"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    nearest = {"since_context": (), "nearest_frame": (), "nearest_distance": (), "nearest_degrees": ()}
    found = []
    for number, plan in enumerate(walks):
        (work / "videos" / f"{plan.walk_id}.mp4").write_bytes((Path(plan.root) / plan.video).read_bytes())
        poses = gzip.decompress((Path(plan.root) / plan.poses).read_bytes())
        (work / "poses" / f"{plan.walk_id}.csv").write_bytes(poses)
        question = Question(
            id=plan.walk_id,
            kind="retrieval",
            task="retrieval",
            maze=plan.maze_name,
            context=Span(video=plan.walk_id, start=0, end=GIVEN),
            target=Span(video=plan.walk_id, start=GIVEN, end=frames),
            seed=number,
            other=walks[(number + 1) % len(walks)].walk_id if len(walks) > 1 else None,
            unvisited=None,
            **nearest,  # type: ignore[arg-type]
        )
        found.append(question)
    return found


def makers(answerer: FromMemory, ratio: float) -> dict[str, Callable[[Question], Pictures]]:
    """What makes the target's frames f h w 3, by the name of its row."""
    ways = {
        "window": Method("window", "none", 1.0),
        f"memory, ratio {ratio:g}": Method("memory", "own", ratio),
        "another maze's beginning": Method("other", "other_maze", ratio),
    }
    made = {name: partial(answerer.answer, method=method) for name, method in ways.items()}
    return {"codec": answerer.reconstruct, **made, "last given frame, repeated": answerer.testbed.repeated}


def record_of(question: Question, frames: Mapping[str, Pictures], truth: Pictures) -> Record:
    """PSNR of one walk by method: of each part of what is made, and of what was given, when it comes again."""
    measured = {name: Truth(truth).measure(made).psnr for name, made in frames.items()}
    return {
        "maze": question.maze,
        "again": {name: float(psnr[1 - GIVEN :].mean()) for name, psnr in measured.items()},
        "parts": {name: [float(p.mean()) for p in np.array_split(psnr, PARTS)] for name, psnr in measured.items()},
    }


def summary(records: Sequence[Record]) -> Record:
    """Of each method the PSNR of what was given, when it comes again, and by how much it is beyond the window's."""
    mazes = [each["maze"] for each in records]
    found = {name: np.array([each["again"][name] for each in records]) for name in records[0]["again"]}
    return {
        name: {
            "psnr": interval(values.tolist(), mazes),
            "beyond_window": interval((values - found["window"]).tolist(), mazes),
        }
        for name, values in found.items()
    }


def sheets_of(records: Sequence[Record], frames: int) -> list[Sheet]:
    """The first room again, and how pictures fare on the way."""
    again = [[name, *(cell(found, 2) for found in row.values())] for name, row in summary(records).items()]
    parts = [
        [name, *(f"{np.mean([each['parts'][name][k] for each in records]):.2f}" for k in range(PARTS))]
        for name in records[0]["parts"]
    ]
    note = f"{len(records)} walks of {frames:,} frames, of which the first {GIVEN} are given; intervals over mazes."
    ends = [GIVEN + round((frames - GIVEN) / PARTS * (k + 1)) for k in range(PARTS)]
    title = f"The last {GIVEN - 1} frames, which were given"
    return [
        Sheet(title, [note], ["", "PSNR, dB", "beyond the window, dB"], again),
        Sheet(
            "On the way",
            [f"PSNR in dB of each of {PARTS} parts of what is made."],
            ["", *(f"to frame {end:,}" for end in ends)],
            parts,
        ),
    ]


def picture(frames: Mapping[str, Pictures], truth: Pictures) -> Image.Image:
    """The return to what was given: a row for the truth and for each method."""
    places = np.linspace(len(truth) - GIVEN + 1, len(truth) - 1, SHOWN).round().astype(int)
    rows = [np.concatenate([each[place] for place in places], axis=1) for each in (truth, *frames.values())]
    return Image.fromarray(np.concatenate(rows, axis=0))


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/lovic_mazes_64", help="weights with a memory that take poses")
    parser.add_argument("--work", type=Path, default=Path("outputs/first_room"), help="folder for rendered walks")
    parser.add_argument("--mazes", type=int, default=6)
    parser.add_argument("--frames", type=int, default=2001, help="of a walk: 8 k + 1")
    parser.add_argument("--ratio", type=float, default=8.0, help="video tokens a memory token")
    parser.add_argument("--steps", type=int, default=10, help="of the sampler")
    parser.add_argument("--name", default="first_room", help="of the files of results")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    options = parser.parse_args()
    if options.frames % 8 != 1 or options.frames < 2 * GIVEN + 7:
        parser.error(f"--frames {options.frames}: take a multiple of 8 and one more, from {2 * GIVEN + 7} on")
    pipeline = Pipeline.from_pretrained(options.weights, num_inference_steps=options.steps)
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    testbed = Testbed(root=work, info={"settings": {"size": 64}}, questions=[])
    FromMemory(pipeline, testbed)  # refuses weights before anything is rendered
    testbed.questions += questions_of(long_walks(work, options.mazes, options.frames), work, options.frames)
    answerer = FromMemory(pipeline, testbed)
    records: list[Record] = []
    for question in track(testbed.questions, "walks"):
        frames = {name: make(question) for name, make in makers(answerer, options.ratio).items()}
        truth = testbed.frames(question.target)
        records.append(record_of(question, frames, truth))
        if len(records) == 1:
            options.output.mkdir(parents=True, exist_ok=True)
            picture(frames, truth).save(options.output / f"{options.name}.webp", quality=80)
        sheets = sheets_of(records, options.frames)
        command = f"python benchmarks/first_room.py {' '.join(sys.argv[1:])}".strip()
        told = {"command": command, "frames": options.frames, "again": summary(records), "records": records}
        save(options.output, options.name, told, sheets)  # each walk at once
    for sheet in sheets:
        show(sheet, Console())


if __name__ == "__main__":
    with explain():
        main()
