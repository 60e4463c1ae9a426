"""The report card of a folder of videos: one row per video, means and spreads, as JSON and as CSV. Axes: c f h w."""

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import track
from torch import Tensor

from lightning_modules.metrics.per_video import PerVideoMean

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif")

Cell = str | int | float | None


class Clip(NamedTuple):
    """A video as it was read: c f h w in [-1, 1], and its frames a second."""

    video: Tensor
    fps: float


class Skipped(NamedTuple):
    """A video, or one metric of it, that could not be scored."""

    file: str
    metric: str
    reason: str


class ReportCard(NamedTuple):
    """What a folder scored.

    rows: per video its file, frames, height, width, fps, then each metric's score, None where it has none.
    summary: per metric mean, std (over videos, None for fewer than two) and videos (how many it scored).
    skipped: what could not be scored; `metric` is "all" where the whole video could not.
    """

    rows: list[dict[str, Cell]]
    summary: dict[str, dict[str, Cell]]
    skipped: list[Skipped]


def score_folder(
    *,
    videos: Path,
    output: Path,
    metrics: Mapping[str, PerVideoMean],
    read_video: Callable[[Path], Clip],
    boundaries: Mapping[str, Sequence[int]],
    references: Mapping[str, Path],
    settings: Mapping[str, Any],
) -> ReportCard:
    """Score every video of a folder and write report.json and report.csv.

    Args:
        videos: folder that is searched, with its subfolders, for files ending as SUFFIXES say.
        output: folder for the two files; made if need be. Files appear complete or not at all.
        metrics: by the name of their column, on the device that they shall work on.
        read_video: reads one file, raising ValueError for one that cannot be read.
        boundaries: per file, relative to `videos`, the frames that open a new piece. Metrics that need boundaries leave
            the cell of a file that is not named here empty.
        references: per file its true video; metrics that need one leave other files' cells empty.
        settings: whatever made the figures, to be kept beside them in report.json; the names of the metrics' features
            are added.

    Returns:
        The report card as written.

    Raises:
        ValueError: the folder does not exist, holds no video, or none of its videos can be scored.
    """
    files = find_videos(videos)
    rows: list[dict[str, Cell]] = []
    skipped: list[Skipped] = []
    for file in track(files, description=f"scoring {len(files)} videos"):
        name = file.relative_to(videos).as_posix()
        try:
            clip = read_video(file)
            if clip.video.shape[1] < 2:
                raise ValueError("it has a single frame")
            given = _given(clip, boundaries.get(name), references.get(name), read_video)
        except ValueError as error:
            skipped.append(Skipped(name, "all", str(error)))
            continue
        row, faults = _score(name, clip, metrics, given)
        rows.append(row)
        skipped += faults
    if not rows:
        raise ValueError(f"none of the {len(files)} videos in '{videos}' can be scored; the first: {skipped[0].reason}")
    card = ReportCard(rows, {name: _summary(rows, name) for name in metrics}, skipped)
    features = {
        name: features.name
        for name, metric in metrics.items()
        if (features := getattr(metric, "features", None)) is not None
    }
    _write(output / "report.json", _as_json(card, {**settings, "features": features}))
    _write(output / "report.csv", _as_csv(card))
    return card


def find_videos(folder: Path) -> list[Path]:
    """Video files in a folder and its subfolders, sorted by path.

    Raises:
        ValueError: the folder does not exist, or holds none.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}'")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"there is no video in '{folder}' (looked for {', '.join(SUFFIXES)})")
    return files


def _given(
    clip: Clip, boundaries: Sequence[int] | None, reference: Path | None, read_video: Callable[[Path], Clip]
) -> dict[str, Any]:
    """What is known of a video beside its frames, by the words of `PerVideoMean.needs`."""
    given: dict[str, Any] = {"fps": clip.fps}
    if boundaries:
        given["boundaries"] = boundaries
    if reference is not None:
        given["reference"] = read_video(reference).video.unsqueeze(0)
    return given


def _score(
    name: str, clip: Clip, metrics: Mapping[str, PerVideoMean], given: Mapping[str, Any]
) -> tuple[dict[str, Cell], list[Skipped]]:
    _, num_frames, height, width = clip.video.shape
    row: dict[str, Cell] = {"file": name, "frames": num_frames, "height": height, "width": width, "fps": clip.fps}
    faults = []
    for column, metric in metrics.items():
        row[column] = None
        if any(need not in given for need in metric.needs):
            continue
        needed = {need: given[need] for need in metric.needs}
        metric.reset()
        try:
            metric.update(
                clip.video.unsqueeze(0).to(metric.device),
                **{
                    need: value.to(metric.device) if isinstance(value, Tensor) else value
                    for need, value in needed.items()
                },
            )
        except ValueError as error:
            faults.append(Skipped(name, column, str(error)))
            continue
        score = float(metric.compute())
        row[column] = score if math.isfinite(score) else None
    return row, faults


def _summary(rows: Sequence[Mapping[str, Cell]], column: str) -> dict[str, Cell]:
    scores = [score for row in rows if isinstance(score := row[column], float)]
    return {
        "mean": statistics.fmean(scores) if scores else None,
        "std": statistics.stdev(scores) if len(scores) > 1 else None,
        "videos": len(scores),
    }


def _as_json(card: ReportCard, settings: Mapping[str, Any]) -> str:
    content = {
        "videos": len(card.rows),
        "summary": card.summary,
        "skipped": [fault._asdict() for fault in card.skipped],
        "settings": dict(settings),
        "rows": card.rows,
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _as_csv(card: ReportCard) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(card.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(card.rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Write beside, then rename: a reader never sees half a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
