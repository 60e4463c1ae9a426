"""A test set of mazes in which memory is necessary: makes it, answers it, and scores anybody's predictions.

`longtake testbed make output=FOLDER`, `longtake testbed answer weights=WEIGHTS testbed=FOLDER output=FOLDER`,
`longtake testbed score testbed=FOLDER predictions=FOLDER output=FOLDER`
"""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from longtake.cli.user_errors import start

if TYPE_CHECKING:
    from longtake.testbed.questions import Question
    from longtake.testbed.scoring import Scores

RENDERED = ".rendered"
"""Folder inside a test set in the making, removed when it is whole."""


def check_lengths(*, frames: int, lengths: Sequence[int]) -> None:
    """Refuse lengths that a walk does not hold.

    Args:
        frames: frames of a walk.
        lengths: numbers of frames that retrieval and reasoning ask for.

    Raises:
        ValueError: frames is not 8 k + 1, or a length is no multiple of 4 or more than half of the frames.
    """
    if frames < 17 or frames % 8 != 1:
        raise ValueError(f"frames={frames} must be 8 k + 1, at least 17, such as {max(frames // 8, 2) * 8 + 1}")
    for length in lengths:
        if length % 4 or length > frames // 2:
            raise ValueError(
                f"lengths: {length} must be a multiple of 4, at most {frames // 2} (half of frames={frames})"
            )
    if len(set(lengths)) < len(lengths):
        raise ValueError(f"lengths={list(lengths)} has a length twice")


def make(cfg: DictConfig) -> None:
    """Renders what is missing of the walks, then writes the test set.

    Args:
        cfg: composed from conf/testbed_make.yaml.

    Raises:
        ValueError: a setting that cannot be, a folder of another test set, or a walk that could not be rendered.
    """
    from datamodules.mazes.testbed import plan_walks, render_walks
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import MakeTestbedSettings
    from longtake.testbed.folder import open_testbed
    from longtake.testbed.writing import INFO, write_testbed
    from networks.files import claimed

    check_settings(cfg, MakeTestbedSettings)
    check_lengths(frames=cfg.frames, lengths=cfg.lengths)
    drawn = {name: cfg[name] for name in ("mazes", "size", "frames", "seed", "most_cells", "patterned")}
    settings = {**drawn, "lengths": list(cfg.lengths)}
    output = Path(cfg.output)
    if (output / INFO).is_file():
        found = open_testbed(output).info
        if found["settings"] != settings:
            raise ValueError(
                f"{output} is a test set of other settings, {_typed(found['settings'])}; take another folder"
            )
        _show_made(found, output)
        return
    rendered = output / RENDERED
    with claimed(rendered, advice="wait for it, or give output=… another folder"):
        plans = plan_walks(root=rendered, **drawn)
        failed = [plan.walk_id for plan in render_walks(plans=plans, num_workers=cfg.num_workers)]
        if failed:
            raise ValueError(
                f"walk {failed[0]} and {len(failed) - 1} more could not be rendered (the warnings above say why): take "
                "another seed, or start again if a process was ended from outside; what was rendered is kept"
            )
        rows = [json.loads((rendered / plan.row).read_text()) for plan in plans]
        info = write_testbed(rendered, output, rows=rows, lengths=settings["lengths"], settings=settings)
        shutil.rmtree(rendered)
    _show_made(info, output)


def _typed(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _show_made(info: dict[str, Any] | Any, output: Path) -> None:
    counts = ", ".join(f"{count} {task}" for task, count in info["questions"].items())
    print(f"testbed {info['version']} ({info['fingerprint']}) in {output}: {info['mazes']} mazes; questions: {counts}")
    print(f"next: predict, then longtake testbed score testbed={output} predictions=FOLDER output=FOLDER")


def answer(cfg: DictConfig) -> None:
    """Writes the answers of weights with a memory or global tokens, one folder a method; what is there already stays.

    Args:
        cfg: composed from conf/testbed_answer.yaml.

    Raises:
        ValueError: the weights cannot answer, the folder holds answers of others, or there is no such kind.
    """
    import numpy as np
    from rich.progress import track

    from longtake.cli.composed import check_settings
    from longtake.cli.processes import alone_in
    from longtake.cli.schemas import AnswerTestbedSettings
    from longtake.parallel import Mesh
    from longtake.pipeline import Pipeline
    from longtake.releases.disclosure import public_name
    from longtake.releases.reading import weights_hash
    from longtake.samplers.guidance import NestedGuidance
    from longtake.testbed.answering import among, weighed
    from longtake.testbed.folder import open_testbed
    from longtake.testbed.from_canvas import FromCanvas
    from longtake.testbed.from_memory import FromMemory
    from longtake.testbed.questions import chosen
    from networks.files import whole, write_text

    check_settings(cfg, AnswerTestbedSettings)
    testbed = open_testbed(cfg.testbed)
    asked = chosen(testbed.questions, None if cfg.kinds is None else list(cfg.kinds))
    pipeline = Pipeline.from_pretrained(cfg.weights, device=cfg.device, num_inference_steps=cfg.num_inference_steps)
    if cfg.guidance_scales is not None:
        pipeline = weighed(pipeline, dict(cfg.guidance_scales))
    answerer = (FromCanvas if pipeline.rollout.memory is None else FromMemory)(pipeline, testbed)
    ways = answerer.ways(list(cfg.ratios), list(cfg.ladders), list(cfg.pyramids))
    makers = among({**ways, "codec": answerer.reconstruct}, None if cfg.methods is None else list(cfg.methods))
    output = Path(cfg.output)
    steps = pipeline.module.sampler.num_inference_steps
    source = {"testbed": testbed.name, "weights_hash": weights_hash(pipeline.module), "num_inference_steps": steps}
    if isinstance(pipeline.guidance, NestedGuidance):
        source["guidance_scales"] = pipeline.guidance.scales
    with alone_in(output, Mesh()):
        note = output / "answers.json"
        if note.exists() and {**_said(note), "weights": None} != {**source, "weights": None}:
            raise ValueError(
                f"{output} holds answers of other weights, steps, guidance or test set: take another folder"
            )
        write_text(note, json.dumps({**source, "weights": public_name(cfg.weights)}) + "\n")
        for name in makers:
            (output / name).mkdir(exist_ok=True)
        for question in track(asked, description="questions", disable=not sys.stderr.isatty()):
            for name, make_answer in makers.items():
                target = output / name / f"{question.id}.npz"
                if not target.is_file():
                    frames = make_answer(question)
                    with whole(target) as part, part.open("wb") as file:
                        np.savez_compressed(file, frames)
    print(f"{len(makers)} methods, {len(asked)} answers each, in {output}")
    print(f"next: longtake testbed score testbed={cfg.testbed} predictions={output} output=FOLDER")


def _said(note: Path) -> dict[str, Any]:
    """What answers.json says of the answers beside it."""
    try:
        return {**json.loads(note.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{note} is broken, so nobody knows whose answers lie there: take another folder") from error


def score(cfg: DictConfig) -> "Scores":
    """Checks the test set, scores every prediction, writes and shows the table."""
    from rich.progress import track

    from longtake.cli.composed import check_settings
    from longtake.cli.processes import alone_in
    from longtake.cli.schemas import ScoreTestbedSettings
    from longtake.parallel import Mesh
    from longtake.testbed.folder import open_testbed
    from longtake.testbed.results import write_scores
    from longtake.testbed.scoring import score_predictions

    check_settings(cfg, ScoreTestbedSettings)
    testbed = open_testbed(cfg.testbed)

    def progress(questions: Sequence["Question"]) -> Iterator["Question"]:
        yield from track(questions, description="questions", disable=not sys.stderr.isatty())

    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    output = Path(cfg.output)
    if Path(cfg.predictions).resolve() in output.resolve().parents:
        raise ValueError(
            f"output={output} lies in predictions={cfg.predictions}, whose folders are methods: take another folder"
        )
    with alone_in(output, Mesh()):
        scores = score_predictions(
            testbed,
            Path(cfg.predictions),
            floor=cfg.floor,
            ceiling=cfg.ceiling,
            controls=list(cfg.controls),
            kinds=None if cfg.kinds is None else list(cfg.kinds),
            seed=cfg.seed,
            progress=progress,
        )
        write_scores(scores, output, name=testbed.name, tolerance=cfg.tolerance, settings=settings)
    show(scores, tolerance=cfg.tolerance, output=output)
    return scores


def show(scores: "Scores", *, tolerance: float, output: Path) -> None:
    """Print the table and what it says."""
    from rich.console import Console
    from rich.table import Table

    from longtake.testbed.page import findings, told
    from longtake.testbed.results import PAGE

    table = Table("task", "method", "PSNR, dB", "SSIM", "share of the span, %")
    for row in scores.rows:
        table.add_row(row.task, row.method, told(row.psnr, 2), told(row.ssim, 3), told(row.share, 0, 100))
    console = Console()
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(width=max(width, console.width)).print(table)  # numbers are never cut
    for said in findings(scores, tolerance=tolerance):
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    console.print(f"see {output / PAGE}", markup=False, highlight=False, soft_wrap=True)


PROGRAMS = {"make": make, "answer": answer, "score": score}


def main() -> None:
    """The program: the first word says what it does."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PROGRAMS:
        told = f"error: testbed {name!r} is none of make, answer, score. " if name not in ("", "-h", "--help") else ""
        sys.stderr.write(
            f"{told}usage: longtake testbed {{make|answer|score}} [key=value …]; --help after one lists its settings\n"
        )
        sys.exit(2 if told or not name else 0)
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    start(PROGRAMS[name], f"testbed_{name}")
