"""Writes a report card: report.json, report.csv, distances.csv where there are any, and report.html."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtake.reports.report_card import ReportCard
from longtake.reports.report_page import report_page
from networks.files import whole


def write_report(
    card: ReportCard,
    output: Path,
    *,
    metrics: Mapping[str, Any],
    settings: Mapping[str, Any],
    videos: Path | None = None,
) -> None:
    """Write the files; each appears complete or not at all.

    Args:
        card: what was scored.
        output: folder; made if need be.
        metrics: metrics by name, for what they say about themselves.
        settings: whatever made the figures, kept beside them.
        videos: folder of the videos, which then play in the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "report.json", _as_json(card, settings))
    write_whole(output / "report.csv", as_csv(card.rows))
    if card.distances:
        lines = [{"name": name, **figures} for name, figures in card.distances.items()]
        write_whole(output / "distances.csv", as_csv(lines))
    write_whole(output / "report.html", report_page(card, abouts=metrics, settings=settings, videos=videos))


def _as_json(card: ReportCard, settings: Mapping[str, Any]) -> str:
    curves = {
        file: {name: curve._asdict() for name, curve in found.items()} for file, found in card.curves.items() if found
    }
    content = {
        "videos": len(card.rows),
        "summary": card.summary,
        "distances": card.distances,
        "notes": card.notes,
        "skipped": [fault._asdict() for fault in card.skipped],
        "settings": dict(settings),
        "rows": card.rows,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    # curves are long: one line each
    return text[: text.rindex("}")].rstrip() + ',\n  "curves": ' + json.dumps(curves, ensure_ascii=False) + "\n}\n"


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys, with a head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_whole(path: Path, text: str) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
