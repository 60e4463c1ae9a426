"""The report card as one page that stands alone: no links to anything outside it."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtake.reports.players import Players, remark
from longtake.reports.plots import MOST_CURVES, plot
from longtake.reports.report_card import ReportCard, group_faults

MOST_STRIPS = 100

STYLE = """
:root { color-scheme: light dark; --line: #8884; --one: #3b82c455; --mean: #d9480f; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p, li { max-width: 48rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.name { white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; opacity: .7; }
.axes line { stroke: var(--line); } polyline { fill: none; }
.one polyline { stroke: var(--one); stroke-width: 1.2; } .one circle { fill: var(--one); }
.one:hover polyline { stroke: currentColor; stroke-width: 2; }
.mean polyline { stroke: var(--mean); stroke-width: 2; } .mean circle { fill: var(--mean); }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; display: block; } figcaption { font-size: .9em; }
figure.video { display: grid; grid-template-columns: minmax(9rem, 14rem) 1fr; gap: .3rem .8rem; align-items: center; }
figure.video figcaption { grid-column: 1 / -1; }
video { width: 100%; image-rendering: pixelated; border-radius: .3rem; }
.map svg { max-width: 18rem; } .walk .room { fill: #8886; } .walk .way { fill: #8883; }
.walk polyline { fill: none; stroke-width: 3; stroke-linecap: round; } figure.video .map { grid-column: 1 / -1; }
.named polyline { fill: none; stroke-width: 2; } .key { display: inline-block; width: .8em; height: .8em;
  border-radius: .2em; margin: 0 .35em 0 0; } p > span { margin-right: 1rem; } 
small { opacity: .75; } td .better { color: #2b8a3e; } td .worse { color: #c2255c; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
.beside figure { margin: .5rem 0; } button { font: inherit; }
pre { overflow-x: auto; font-size: .85em; } .quiet { opacity: .7; }
"""


def report_page(
    card: ReportCard, *, abouts: Mapping[str, Any], settings: Mapping[str, Any], videos: Path | None = None
) -> str:
    """The whole page.

    Args:
        card: what was scored.
        abouts: per metric an object with `about`, `curve_about` and `higher_is_better`: the metric itself.
        settings: whatever made the figures.
        videos: folder of the videos, which then play in the page; None shows frames of them alone.

    Returns:
        HTML that needs no other file.
    """
    folder = html.escape(str(settings.get("videos", "")))
    parts = [
        f"<h1>Report card: {folder or 'videos'}</h1>",
        f"<p>{len(card.rows)} videos scored. ↑: higher is better, ↓: lower; a row without an arrow describes. "
        "The spread is the standard deviation over videos.</p>",
        remark_list(remarks_of(card)),
        "<h2>Scores</h2>",
        _summary(card, abouts),
        _distances(card, abouts),
        "<h2>Along the videos</h2><p>A thin line is one video (point at it for its name), the thick one the mean.</p>",
        *_curves(card, abouts),
        "<h2>Videos</h2><p>Frames are evenly spread, the first and the last among them.</p>",
        *_videos(card, videos),
        "<h2>Every score</h2><p class=quiet>report.csv has the same table.</p>",
        _rows(card),
        settings_list(settings),
    ]
    return whole_page(f"Report: {folder}", parts)


def whole_page(title: str, parts: Sequence[str]) -> str:
    """A page of these parts, of which empty ones are left out.

    Args:
        title: title of the page, as HTML.
        parts: parts of the page's body, as HTML.

    Returns:
        HTML that needs no other file.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(filter(None, parts))
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n'


def remarks_of(card: ReportCard) -> list[str]:
    """What a reader should know before comparing figures, and what was not scored."""
    faults = [f"not scored: {what} ({metric}): {reason}" for what, metric, reason in group_faults(card.skipped)]
    return [*card.notes, *faults]


def remark_list(remarks: Sequence[str]) -> str:
    """Remarks as a chapter of a page; nothing for none."""
    items = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
    return f"<h2>Before you compare</h2><ul>{items}</ul>" if items else ""


def settings_list(settings: Mapping[str, Any]) -> str:
    """Whatever made the figures, folded away."""
    words = html.escape(json.dumps(dict(settings), indent=1, ensure_ascii=False))
    return (
        f"<h2>Settings</h2><details><summary>All settings that made these figures</summary><pre>{words}</pre></details>"
    )


def arrow(metric: Any) -> str:
    """Which way is better."""
    return {True: "↑", False: "↓"}.get(metric.higher_is_better, "")


def _summary(card: ReportCard, abouts: Mapping[str, Any]) -> str:
    lines, empty = [], []
    for name, figures in card.summary.items():
        if not figures["videos"]:
            needs = ", ".join(abouts[name].needs) or "nothing"
            empty.append(f"{name} (needs {needs})")
            continue
        model = getattr(getattr(abouts[name], "features", None) or getattr(abouts[name], "flow", None), "name", "")
        by = f" <span class=quiet>By {html.escape(model)}.</span>" if model else ""
        what = f"{html.escape(abouts[name].about)}.{by}"
        numbers = "".join(f"<td class=n>{number(figures[key])}</td>" for key in ("mean", "std", "videos"))
        lines.append(f"<tr><td class=name>{html.escape(name)} {arrow(abouts[name])}</td>{numbers}<td>{what}</td></tr>")
    head = "<tr><th>metric</th><th class=n>mean</th><th class=n>spread</th><th class=n>videos</th><th></th></tr>"
    without = f"<p class=quiet>Without any score here: {html.escape('; '.join(empty))}.</p>" if empty else ""
    return f"<div class=wide><table>{head}{''.join(lines)}</table></div>{without}"


def _distances(card: ReportCard, abouts: Mapping[str, Any]) -> str:
    lines = []
    for name, figures in card.distances.items():
        what = html.escape(f"{abouts[name].about}. {figures['protocol']}.")
        value = number(figures["distance"])
        lines.append(f"<tr><td>{html.escape(name)} ↓</td><td class=n>{value}</td><td>{what}</td></tr>")
    head = "<tr><th>distance to the references</th><th class=n>value</th><th></th></tr>"
    return f"<h2>Distances</h2><table>{head}{''.join(lines)}</table>" if lines else ""


def _curves(card: ReportCard, abouts: Mapping[str, Any]) -> list[str]:
    parts = []
    for name in card.summary:
        curves = {file: found[name] for file, found in card.curves.items() if name in found}
        if not curves:
            continue
        some = f" {MOST_CURVES} videos at most are drawn." if len(curves) > MOST_CURVES else ""
        words = html.escape(f"{name}: {abouts[name].curve_about}.{some}")
        parts.append(f"<figure><figcaption>{words}</figcaption>{plot(curves)}</figure>")
    return parts


def _videos(card: ReportCard, folder: Path | None) -> list[str]:
    parts, players = [], Players()
    for row in card.rows[:MOST_STRIPS]:
        file = str(row["file"])
        size = f"{row['frames']} frames of {row['height']} × {row['width']} at {number(row['fps'])} a second"
        image = f'<img alt="" src="data:image/jpeg;base64,{card.strips[file]}">' if card.strips.get(file) else ""
        caption = f"<figcaption>{html.escape(file)}: {size}{_prompt(card, file)}</figcaption>"
        player = "" if folder is None else players.player(folder / file, file)
        kind = " class=video" if player else ""
        walk = f"<div class=map>{card.maps[file]}</div>" if file in card.maps else ""
        parts.append(f"<figure{kind}>{player}{image}{walk}{caption}</figure>")
    parts.append(remark(players))
    rest = len(card.rows) - MOST_STRIPS
    return [*parts, f"<p>{rest} more videos are not shown.</p>"] if rest > 0 else parts


def _prompt(card: ReportCard, file: str) -> str:
    return f"<br>“{html.escape(card.prompts[file])}”" if file in card.prompts else ""


def _rows(card: ReportCard) -> str:
    columns = [name for name in card.rows[0] if any(row[name] is not None for row in card.rows)]
    head = "".join(f"<th class=n>{html.escape(name)}</th>" for name in columns)
    lines = ("".join(_cell(row[name]) for name in columns) for row in card.rows)
    return f"<div class=wide><table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def _cell(value: Any) -> str:
    return f"<td>{html.escape(value)}</td>" if isinstance(value, str) else f"<td class=n>{number(value)}</td>"


def number(value: Any) -> str:
    """Four significant digits; a dash for nothing."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def as_table(card: ReportCard, abouts: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows of the scores for a terminal: those that some video has."""
    rows: list[Sequence[str]] = [
        (f"{name} {arrow(abouts[name])}", *(number(figures[key]) for key in ("mean", "std", "videos")))
        for name, figures in card.summary.items()
        if figures["videos"]
    ]
    return ("metric", "mean", "std", "videos"), rows


def distance_table(card: ReportCard) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows of the distances to the references for a terminal, each with its protocol."""
    rows: list[Sequence[str]] = [
        (f"{name} ↓", number(figures["distance"]), str(figures["protocol"])) for name, figures in card.distances.items()
    ]
    return ("distance", "value", "protocol"), rows
