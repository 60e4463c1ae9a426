"""The report card of a folder of videos: a row per video, means and spreads, curves, distances. Axes: c f h w."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from longtake.metrics.per_video import Curve
from longtake.reports.beside import Beside, read_poses
from longtake.reports.score_files import Cell, Scored
from longtake.reports.scorer import Scorer
from longtake.reports.walk_map import layout_of, walk_map

ALL = "all videos"
MOST_REASONS = 10  # named in an error


class Skipped(NamedTuple):
    """A video, or one metric of it, that could not be scored."""

    file: str
    metric: str
    reason: str


class ReportCard(NamedTuple):
    """What a folder scored.

    rows: per video its file, frames, height, width, fps, then each metric's score, None where it has none.
    summary: per metric mean, std (over videos, None for fewer than two), videos (how many it scored) and
        higher_is_better (None where a metric only describes).
    distances: per distance between sets its value and its protocol, word by word and as one line.
    curves: per file and metric, values along the video.
    strips: per file some frames side by side, a JPEG in base64.
    skipped: what could not be scored; `metric` is "all" where the whole video could not, `file` is "all videos" where
        no video could.
    notes: what a reader should know before comparing figures.
    maps: per file with poses beside it, the walk as SVG.
    prompts: per file with a prompt beside it, that text.
    """

    rows: list[dict[str, Cell]]
    summary: dict[str, dict[str, Cell]]
    distances: dict[str, dict[str, Cell]]
    curves: dict[str, dict[str, Curve]]
    strips: dict[str, str]
    skipped: list[Skipped]
    notes: list[str]
    maps: Mapping[str, str] = {}
    prompts: Mapping[str, str] = {}


def score_folder(scorer: Scorer, videos: Path, files: Mapping[str, Beside], references: Sequence[Path]) -> ReportCard:
    """Score the videos of a folder.

    Args:
        scorer: keeps what is finished.
        videos: the folder.
        files: its videos, relative to it, and what lies beside each.
        references: videos to measure distances between sets against; none: no distances.

    Raises:
        ValueError: none of the videos can be scored.
    """
    found: dict[str, Scored] = {}
    skipped: list[Skipped] = []
    for name, beside in track(files.items(), description=f"scoring {len(files)} videos"):
        try:
            found[name] = scorer.score(name, videos / name, beside, samples=bool(references))
        except ValueError as error:
            skipped.append(Skipped(name, "all", str(error).removeprefix(f"{videos / name}: ")))
            continue
        skipped += [Skipped(name, metric, reason) for metric, reason in found[name].faults.items()]
    if not found:
        raise ValueError(f"none of the {len(files)} videos in '{videos}' can be scored: {_reasons(skipped)}")
    for column, reason in scorer.unavailable.items():
        if any(_has(beside, scorer.metrics[column].needs) for beside in files.values()):
            skipped.append(Skipped(ALL, column, reason))
    distances = _distances(scorer, list(found.values()), references, skipped)
    rows = [scored.row for scored in found.values()]
    return ReportCard(
        rows=rows,
        summary={
            name: {**_summary(rows, name), "higher_is_better": metric.higher_is_better}
            for name, metric in scorer.metrics.items()
        },
        distances=distances,
        curves={name: scored.curves for name, scored in found.items()},
        strips={name: scored.strip for name, scored in found.items()},
        skipped=skipped,
        notes=_notes(rows, files, distances, bool(references)),
        maps={name: drawn for name in found if (drawn := _map(files[name]))},
        prompts={name: prompt for name in found if (prompt := files[name].prompt)},
    )


def _map(beside: Beside) -> str:
    if beside.poses is None:
        return ""
    try:
        return walk_map(read_poses(beside.poses), layout_of(beside.poses))
    except ValueError:  # it is among what was skipped
        return ""


def _reasons(skipped: Sequence[Skipped]) -> str:
    """Each file with its reason; a reason that several share once."""
    groups = group_faults(skipped)
    listed = "; ".join(f"{what}: {reason}" for what, _, reason in groups[:MOST_REASONS])
    return listed + (f"; and {len(groups) - MOST_REASONS} reasons more" if len(groups) > MOST_REASONS else "")


def _has(beside: Beside, needs: Sequence[str]) -> bool:
    return all(need == "fps" or getattr(beside, need) for need in needs)


def _distances(
    scorer: Scorer, found: Sequence[Scored], references: Sequence[Path], skipped: list[Skipped]
) -> dict[str, dict[str, Cell]]:
    if not references or not scorer.distances:
        return {}
    true = []
    for file in track(references, description=f"reading {len(references)} references"):
        try:
            true.append(scorer.samples(file))
        except ValueError as error:
            skipped.append(Skipped(str(file), "reference", str(error)))
    distances: dict[str, dict[str, Cell]] = {}
    for name, distance in scorer.distances.items():
        distance.reset()
        sizes: dict[str, Cell] = {}
        for side, word in ((found, "video"), (true, "reference")):
            counted = [scored for scored in side if name in scored.samples]
            for scored in counted:
                distance.add(scored.samples[name], is_reference=word == "reference")
            rows = [scored.row for scored in counted]
            sizes |= {f"{word}_size": _listed(_sizes(rows)), f"{word}_fps": _listed(_rates(rows))}
        value = float(distance.distance())
        figures = {"distance": value if math.isfinite(value) else None, **distance.describe(), **sizes}
        distances[name] = {**figures, "protocol": protocol_line(figures)}
    return distances


def protocol_line(figures: Mapping[str, Cell]) -> str:
    """What must be the same for two distances to compare, in one line."""
    kinds = [
        f"{figures[f'{side}_size']} at {figures[f'{side}_fps']} frames a second" for side in ("video", "reference")
    ]
    seen = f"videos and references of {kinds[0]}" if kinds[0] == kinds[1] else "videos of {}, references of {}"
    return (
        f"{figures['video_samples']} samples against {figures['reference_samples']}, {figures['dimensions']} features "
        f"({figures['features']}; they see {figures['sees']}), {figures['sampling']}, {seen.format(*kinds)}"
    )


def _sizes(rows: Sequence[Mapping[str, Cell]]) -> Counter[str]:
    return Counter(f"{row['height']} × {row['width']}" for row in rows)


def _rates(rows: Sequence[Mapping[str, Cell]]) -> Counter[str]:
    return Counter(f"{row['fps']:.4g}" for row in rows)


def _listed(values: Counter[str]) -> str:
    """The five most frequent, with how often where there are several."""
    if len(values) <= 1:
        return next(iter(values), "–")
    listed = ", ".join(f"{value} ({count})" for value, count in values.most_common(5))
    return listed + ("" if len(values) <= 5 else f" and {len(values) - 5} more")


def _summary(rows: Sequence[Mapping[str, Cell]], column: str) -> dict[str, Cell]:
    scores = [score for row in rows if isinstance(score := row[column], float)]
    return {
        "mean": statistics.fmean(scores) if scores else None,
        "std": statistics.stdev(scores) if len(scores) > 1 else None,
        "videos": len(scores),
    }


def _notes(
    rows: Sequence[Mapping[str, Cell]],
    files: Mapping[str, Beside],
    distances: Mapping[str, Mapping[str, Cell]],
    has_references: bool,
) -> list[str]:
    """What makes figures hard to compare."""
    notes = []
    for what, values in (
        ("size", _sizes(rows)),
        ("frames a second", _rates(rows)),
        ("number of frames", Counter(str(row["frames"]) for row in rows)),
    ):
        if len(values) > 1:
            notes.append(f"videos differ in {what}, on which scores depend: {_listed(values)}")
    alone = [name for name, beside in files.items() if beside.reference is None]
    if has_references and alone:
        notes.append(f"{len(alone)} of {len(files)} videos have no reference of their own name: {', '.join(alone[:5])}")
    for name, figures in distances.items():
        least = min(int(figures["video_samples"] or 0), int(figures["reference_samples"] or 0))
        if least <= int(figures["dimensions"] or 0):
            notes.append(
                f"{name}: {least} samples for {figures['dimensions']} features make it too large; "
                "compare it only with figures of the same counts"
            )
    return notes


def group_faults(skipped: Sequence[Skipped]) -> list[tuple[str, str, str]]:
    """Which videos, metric and reason; a reason that several videos share is named once."""
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in skipped:
        groups.setdefault((fault.metric, fault.reason), []).append(fault.file)
    return [
        (files[0] if len(files) == 1 else f"{len(files)} videos, such as {files[0]}", metric, reason)
        for (metric, reason), files in groups.items()
    ]
