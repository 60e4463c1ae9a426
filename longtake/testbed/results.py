"""Writes the scores of a test set: scores.json, scores.csv and index.html."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longtake.testbed.measures import Measured
from longtake.testbed.page import curves_of, findings, score_page
from longtake.testbed.scoring import Scores
from longtake.testbed.spans import Estimate, Row, verdict
from networks.files import write_text

_ESTIMATES = ("psnr", "ssim", "lpips", "share", "above_floor")
PAGE = "index.html"


def write_scores(scores: Scores, output: Path, *, name: str, tolerance: float, settings: Mapping[str, Any]) -> None:
    """Write the files; each appears complete or not at all.

    Args:
        scores: what was scored.
        output: folder; made if need be.
        name: name of the test set.
        tolerance: dB by which a control may lie above the floor.
        settings: whatever made the figures, kept beside them.
    """
    output.mkdir(parents=True, exist_ok=True)
    lines = [_line(row, scores, tolerance) for row in scores.rows]
    write_text(output / "scores.csv", _as_csv(lines))
    content = {
        "testbed": name,
        "floor": scores.floor,
        "ceiling": scores.ceiling,
        "findings": findings(scores, tolerance=tolerance),
        "rows": lines,
        "questions": {
            method: {question: _means(measured) for question, measured in found.items()}
            for method, found in scores.measures.items()
        },
        "curves": {
            task: {kind: {method: curve._asdict() for method, curve in each.items()} for kind, each in found.items()}
            for task, found in curves_of(scores).items()
        },
        "settings": dict(settings),
    }
    write_text(output / "scores.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(output / PAGE, score_page(scores, name=name, tolerance=tolerance, settings=settings))


def _line(row: Row, scores: Scores, tolerance: float) -> dict[str, Any]:
    """A row as one mapping: each estimate takes three columns."""
    line: dict[str, Any] = {"method": row.method, "task": row.task, "questions": row.questions, "mazes": row.mazes}
    for name in _ESTIMATES:
        value: Estimate | None = getattr(row, name)
        for part in Estimate._fields:
            figure = None if value is None else getattr(value, part)
            key = name if part == "mean" else f"{name}_{part}"
            line[key] = None if figure is None else round(figure, 4)
    line["verdict"] = verdict(row, tolerance=tolerance) if row.method in scores.controls else None
    return line


def _means(measured: Measured) -> dict[str, float]:
    return {key: round(float(each.mean()), 4) for key, each in measured._asdict().items() if each is not None}


def _as_csv(lines: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
