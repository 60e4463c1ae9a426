"""A test set on disk: checked when it is opened, its frames decoded when they are asked for."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtake.testbed.poses import NotAsSaid, read_poses
from longtake.testbed.questions import Question, Span, read_questions
from longtake.testbed.writing import INFO, VERSION, sha256
from longtake.video import probe, read_frames

Pictures = NDArray[np.uint8]
"""Frames f h w c, red green blue in [0, 255]."""


class Testbed:
    """A test set.

    root: its folder; info: what testbed.json says; questions: all of them.
    """

    def __init__(self, *, root: Path, info: Mapping[str, Any], questions: list[Question]) -> None:
        self.root, self.info, self.questions = root, info, questions
        self._video = lru_cache(maxsize=4)(self._read)

    @property
    def name(self) -> str:
        """The test set's version and fingerprint: two pages with the same name scored the same questions."""
        return f"{self.info['version']} ({self.info['fingerprint']})"

    def frames(self, span: Span) -> Pictures:
        """Decode the frames of a span."""
        return self._video(span.video)[span.start : span.end]

    def nearest(self, question: Question) -> Pictures:
        """For every frame of the target, what was seen from the nearest pose of the context."""
        return self._video(question.context.video)[list(question.nearest_frame)]

    def repeated(self, question: Question) -> Pictures:
        """The last frame of the context, as often as the target has frames."""
        return np.repeat(self.frames(question.context)[-1:], len(question.target), axis=0)

    def _read(self, video: str) -> Pictures:
        path = self.root / "videos" / f"{video}.mp4"
        shape = probe(path)
        return read_frames(path, height=shape.height, width=shape.width, fps=0, crop_place=0.5)


def open_testbed(root: str | Path) -> Testbed:
    """Open a test set that `longtake testbed make` wrote.

    Poses and questions are read first, so that a broken line is named; then every file is checked against its hash.

    Args:
        root: folder of the test set.

    Returns:
        The test set.

    Raises:
        ValueError: it is not whole, of another version, or a file was changed.
    """
    root = Path(root)
    if not (root / INFO).is_file():
        raise ValueError(f"{root} holds no whole test set ({INFO} is missing): longtake testbed make output={root}")
    info = _read_info(root / INFO)
    files: Mapping[str, str] = info["files"]
    if missing := [name for name in files if not (root / name).is_file()]:
        raise NotAsSaid(f"{root / missing[0]} is missing; make the test set again")
    num_frames: dict[str, int] = {}
    for name in files:
        if name.startswith("poses/"):
            found = len(read_poses(root / name).track)
            if found != info["settings"]["frames"]:
                raise NotAsSaid(
                    f"{root / name} has poses of {found} frames, its video has {info['settings']['frames']}; "
                    "make the test set again"
                )
            num_frames[Path(name).stem] = found
    questions = read_questions(root / "questions.jsonl", num_frames=num_frames)
    for name, digest in files.items():
        if sha256(root / name) != digest:
            raise NotAsSaid(
                f"{root / name} was changed since the test set was made (its SHA-256 is not that of {INFO}); "
                "make the test set again, in an empty folder"
            )
    return Testbed(root=root, info=info, questions=questions)


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        names, frames = info["files"], info["settings"]["frames"]
        known = isinstance(names, dict) and isinstance(frames, int) and isinstance(info["fingerprint"], str)
        inside = all(_is_inside(name) and isinstance(digest, str) for name, digest in names.items())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        known = inside = False
    if not (known and inside and "questions.jsonl" in names):
        raise NotAsSaid(f"{path} does not describe a test set; make the test set again")
    if info.get("version") != VERSION:
        raise NotAsSaid(
            f"{path} is of version {info.get('version')}, this program scores version {VERSION}: make the test set "
            "again, or take the program that made it"
        )
    return dict(info)


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
