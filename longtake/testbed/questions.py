"""Questions of a testbed: which frames are given, which are to be predicted, and how far those are from what was seen.

A line of questions.jsonl is one question; frames count from 0 and `end` is the first that no longer belongs.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from longtake.testbed.poses import NotAsSaid

Name = Annotated[str, StringConstraints(pattern=r"^[\w-]+$")]
Frame = Annotated[int, Ge(0)]
Distances = tuple[Annotated[float, Ge(0)], ...]

KINDS = {
    "retrieval": "See n frames of a walk; then the same poses in reverse, walking backward.",
    "return": "See the way out; then turn round and walk the same way back, facing it.",
    "reasoning": "See n frames of a walk; then go on: some places were seen before, others never.",
    "loop": "See the way round a loop; then come home by another way.",
    "cut": "See one walk that leaves a room; then, in a second walk after a cut, come to that room from elsewhere.",
}
"""By kind, what is asked, in a sentence."""


class Span(BaseModel):
    """Frames start to end - 1 of videos/VIDEO.mp4, whose poses are the same rows of poses/VIDEO.csv."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    video: Name
    start: Frame
    end: Frame

    def __len__(self) -> int:
        return self.end - self.start


class Question(BaseModel):
    """One question.

    id: also the name of the prediction's file; kind: one of `KINDS`; task: the kind, and n where it comes in several
    lengths: what is averaged; context: what is given; target: what is to be predicted, whose poses may be read; other:
    the question of another maze whose context is given instead in the control `other_maze`; unvisited: a stretch of
    this maze in which no region of the target is in view, for the control `unvisited`, null where there is none; seed:
    for whatever is drawn, such as a model's noise or the order of frames in the control `shuffled`.
    For every frame of the target: since_context, frames walked since the context's end; nearest_frame, the frame of the
    context's video whose pose is nearest; nearest_distance and nearest_degrees, how far that pose is off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    id: Name
    kind: str
    task: Name
    maze: Name
    context: Span
    target: Span
    seed: Frame
    other: Name | None
    unvisited: Span | None
    since_context: tuple[Frame, ...]
    nearest_frame: tuple[Frame, ...]
    nearest_distance: Distances
    nearest_degrees: Distances

    def line(self) -> str:
        """The question as a line of questions.jsonl."""
        return json.dumps(self.model_dump()) + "\n"


def order(task: str) -> tuple[int, int]:
    """Where a task stands among others: by its kind, then by its length."""
    kind, _, length = task.partition("-")
    return list(KINDS).index(kind), int(length or 0)


def read_questions(path: Path, *, num_frames: dict[str, int]) -> list[Question]:
    """Read questions.jsonl.

    Args:
        path: path of questions.jsonl.
        num_frames: frames of every video of the test set, by its name.

    Returns:
        The questions.

    Raises:
        NotAsSaid: with the line, for the first question that is broken or asks for frames that are not there.
    """
    found: dict[str, Question] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        place = f"{path}, line {number}"
        try:
            question = Question.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the line"
            raise NotAsSaid(f"{place}: {key} is wrong ({first['msg']}); make the test set again") from error
        if wrong := _fault(question, num_frames):
            raise NotAsSaid(f"{place}: {wrong}; make the test set again")
        if question.id in found:
            raise NotAsSaid(f"{place}: a second question {question.id}; make the test set again")
        found[question.id] = question
    for number, question in enumerate(found.values(), start=1):
        if question.other is not None and question.other not in found:
            raise NotAsSaid(f"{path}, line {number}: other={question.other} is no question; make the test set again")
    if not found:
        raise NotAsSaid(f"{path} holds no question; make the test set again")
    return list(found.values())


def _fault(question: Question, num_frames: dict[str, int]) -> str:
    """What does not hold together in a question, if anything."""
    if question.kind not in KINDS:
        return f"kind {question.kind!r} is none of {', '.join(KINDS)}"
    for name in ("context", "target", "unvisited"):
        span: Span | None = getattr(question, name)
        if span is None:
            continue
        if span.video not in num_frames:
            return f"{name} is of video {span.video}, which is not in the test set"
        if not span.start < span.end <= num_frames[span.video]:
            return f"{name} is of frames {span.start} to {span.end} of {num_frames[span.video]}"
    for name in ("since_context", "nearest_frame", "nearest_distance", "nearest_degrees"):
        if len(getattr(question, name)) != len(question.target):
            return f"{name} has {len(getattr(question, name))} values for {len(question.target)} frames"
    given = question.context
    if not all(given.start <= frame < given.end for frame in question.nearest_frame):
        return "nearest_frame names a frame that is not in the context"
    return ""


def chosen(questions: Sequence[Question], kinds: Iterable[str] | None) -> list[Question]:
    """The questions of some kinds or tasks; kinds: their names, None for all questions.

    Args:
        questions: all questions.
        kinds: names of kinds or tasks; None for all questions.

    Returns:
        The questions of these kinds and tasks.

    Raises:
        ValueError: there is no such kind or task.
    """
    if kinds is None:
        return list(questions)
    wanted = list(kinds)
    known = {question.kind for question in questions} | {question.task for question in questions}
    if unknown := [kind for kind in wanted if kind not in known]:
        raise ValueError(f"kinds names {unknown[0]!r}; this test set has {', '.join(sorted(known))}")
    return [question for question in questions if question.kind in wanted or question.task in wanted]
