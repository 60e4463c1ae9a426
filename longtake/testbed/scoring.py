"""Score predictions of a test set: every method and two baselines, frame by frame, then as a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.measures import Measured, Truth
from longtake.testbed.predictions import check_methods, find_predictions, read_prediction
from longtake.testbed.questions import Question, chosen
from longtake.testbed.spans import Row, control_of, make_rows
from longtake.testbed.strips import Strip, draw_strip

NEAREST, REPEATED = "nearest_pose", "last_frame"
BASELINES: dict[str, Callable[[Testbed, Question], Pictures]] = {
    NEAREST: Testbed.nearest,
    REPEATED: Testbed.repeated,
}
"""Nobody's memory: what was seen from the nearest pose of the context; the context's last frame throughout."""
FLOOR, CEILING, CODEC = "window", "full_context", "codec"
"""Names that carry meaning; the last is the true frames through a codec, beyond which no model of that codec gets."""
_STRIPS = 2  # of each task


class Scores(NamedTuple):
    """Everything that a page shows.

    measures: by method and question; strips: by task; floor and ceiling: methods, None where there is none; controls:
    what is wrong with the memory of each method that is one.
    """

    questions: list[Question]
    measures: dict[str, dict[str, Measured]]
    rows: list[Row]
    strips: dict[str, list[Strip]]
    floor: str | None
    ceiling: str | None
    controls: dict[str, str]


def score_predictions(
    testbed: Testbed,
    predictions: Path,
    *,
    floor: str | None,
    ceiling: str | None,
    controls: Sequence[str],
    kinds: Sequence[str] | None,
    seed: int,
    progress: Callable[[Sequence[Question]], Iterator[Question]],
) -> Scores:
    """Score a folder of predictions.

    Args:
        testbed: the test set.
        predictions: METHOD/QUESTION.mp4 and the like; see `read_prediction`.
        floor: the method without memory; None: "window", where there is one.
        ceiling: the method that sees everything; None: "full_context", where there is one.
        controls: methods that must not rise above the floor, beside those whose names say so.
        kinds: kinds or tasks that are scored; None: all.
        seed: seed of the bootstrap that the intervals come from.
        progress: goes through the questions, and shows how far.

    Raises:
        ValueError: a prediction is missing or not as it is asked for; with the file.
    """
    asked = chosen(testbed.questions, kinds)
    found = find_predictions(predictions, questions=testbed.questions, asked=asked)
    if taken := [name for name in BASELINES if name in found]:
        raise ValueError(f"{predictions / taken[0]}: a baseline has this name; give the method another")
    check_methods([floor, ceiling, *controls], methods=list(found))
    floor = floor or (FLOOR if FLOOR in found else None)
    ceiling = ceiling or (CEILING if CEILING in found else None)
    if floor is not None and floor == ceiling:
        raise ValueError(f"floor and ceiling are both {floor}: name two methods, or there is no span between them")
    wrong = {method: why for method in found if (why := control_of(method, controls))}
    others = [method for method in found if method not in (floor, ceiling, *wrong)]
    shown_first = [method for method in (ceiling, *others, floor, *wrong) if method is not None]
    measures: dict[str, dict[str, Measured]] = {name: {} for name in (*shown_first, *BASELINES)}
    strips: dict[str, list[Strip]] = {}
    # By video, so that each is decoded once.
    for question in progress(sorted(asked, key=lambda each: (each.target.video, each.context.video, each.id))):
        frames = testbed.frames(question.target)
        truth, shown = Truth(frames), {"real": frames}
        for method in measures:
            predicted = (
                BASELINES[method](testbed, question)
                if method in BASELINES
                else read_prediction(found[method][question.id], shape=frames.shape[:3])
            )
            measures[method][question.id] = truth.measure(predicted)
            shown[method] = predicted
        those = strips.setdefault(question.task, [])
        if len(those) < _STRIPS:
            those.append(Strip(question.id, {name: draw_strip(each) for name, each in shown.items()}))
    rows = [row for task in _tasks(asked) for row in _rows_of(task, asked, measures, floor, ceiling, seed)]
    return Scores(asked, measures, rows, strips, floor, ceiling, wrong)


def _tasks(questions: Sequence[Question]) -> list[str]:
    return list(dict.fromkeys(question.task for question in questions))


def _rows_of(
    task: str,
    questions: Sequence[Question],
    measures: Mapping[str, Mapping[str, Measured]],
    floor: str | None,
    ceiling: str | None,
    seed: int,
) -> list[Row]:
    own = [question for question in questions if question.task == task]
    means: dict[str, dict[str, list[float]]] = {}
    for method, found in measures.items():
        values = [found[question.id] for question in own]
        means[method] = {"psnr": [each.psnr.mean() for each in values], "ssim": [each.ssim.mean() for each in values]}
        distances = [float(np.mean(each.lpips)) for each in values if each.lpips is not None]
        if len(distances) == len(values):
            means[method]["lpips"] = distances
    mazes = [question.maze for question in own]
    return make_rows(task, means, mazes=mazes, floor=floor, ceiling=ceiling, seed=seed)
