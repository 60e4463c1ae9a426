"""A comparison of folders as files: report.html, which stands alone, report.json, report.csv, differences.csv."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtake.reports.comparison import Comparison, Estimate
from longtake.reports.players import PLAY_ALL, Players, remark
from longtake.reports.plots import colour_of, mean_curve, plot_named
from longtake.reports.report_files import as_csv, write_whole
from longtake.reports.report_page import arrow, number, remark_list, settings_list, whole_page

MOST_SHOWN = 24
"""Pairs of videos that the page shows."""
MOST_ROWS = 400
"""Rows of scores that the page shows; report.csv has all."""
HOW = """A difference is that folder's score minus the first folder's, over videos of the same name. In brackets are
95 % intervals, by bootstrap over prompts. Where the interval leaves 0 out, the folder is called better or worse. A
metric without an arrow only describes. Of twenty comparisons one seems clear by chance."""


def write_comparison(
    found: Comparison,
    output: Path,
    *,
    folders: Mapping[str, Path],
    metrics: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Writes the files; each appears complete or not at all.

    Args:
        found: the comparison.
        output: folder; made if need be.
        folders: folders of videos, by name.
        metrics: metrics by name, for what they say about themselves.
        settings: whatever made the figures, kept beside them.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "report.json", json.dumps(_content(found, settings), indent=1, ensure_ascii=False) + "\n")
    rows = [{"folder": name, **row} for name, card in found.cards.items() for row in card.rows]
    write_whole(output / "report.csv", as_csv(rows))
    lines = [
        {"metric": metric, "folder": name, "minus": found.first, **each._asdict(), "clear": each.is_clear}
        for metric, by_name in found.differences.items()
        for name, each in by_name.items()
    ]
    if lines:
        write_whole(output / "differences.csv", as_csv(lines))
    page = comparison_page(found, folders=folders, abouts=metrics, settings=settings)
    write_whole(output / "report.html", page)


def _content(found: Comparison, settings: Mapping[str, Any]) -> dict[str, Any]:
    def plain(table: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
        return {metric: {name: each._asdict() for name, each in row.items()} for metric, row in table.items()}

    return {
        "first": found.first,
        "folders": {
            name: {"videos": len(card.rows), "distances": card.distances} for name, card in found.cards.items()
        },
        "means": plain(found.means),
        "differences": plain(found.differences),
        "notes": list(found.notes),
        "settings": dict(settings),
    }


def comparison_page(
    found: Comparison, *, folders: Mapping[str, Path], abouts: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """The whole page.

    Args:
        found: the comparison.
        folders: folders of videos, by name.
        abouts: per metric an object with `about`, `curve_about` and `higher_is_better`: the metric itself.
        settings: whatever made the figures.

    Returns:
        HTML that needs no other file.
    """
    names = list(found.cards)
    title = html.escape(", ".join(names))
    keys = " ".join(f"<span>{_key(names, name)} ({len(card.rows)} videos)</span>" for name, card in found.cards.items())
    parts = [
        f"<h1>Comparison: {title}</h1>",
        f"<p>{keys}</p>",
        remark_list(found.notes),
        f"<h2>Scores</h2><p>{' '.join(HOW.split())}</p>",
        _scores(found, abouts),
        _distances(found, abouts),
        "<h2>Along the videos</h2><p>The mean over the videos of each folder.</p>",
        *_curves(found, abouts),
        "<h2>Videos side by side</h2>",
        *_videos(found, folders),
        PLAY_ALL,
        "<h2>Every score</h2>",
        _rows(found),
        settings_list(settings),
    ]
    return whole_page(f"Comparison: {title}", parts)


def _key(names: Sequence[str], name: str) -> str:
    colour = colour_of(names.index(name))
    return f'<span class=key style="background:{colour}"></span>{html.escape(name)}'


def told(found: Estimate | None, *, signed: bool = False) -> str:
    """A mean with its interval, such as "0.739 (0.712 to 0.770)"; a dash for nothing."""
    if found is None:
        return "–"

    def said(value: float) -> str:
        return f"{value:{'+' if signed and value else ''}.3g}"

    if found.low is None or found.high is None:
        return said(found.mean)
    return f"{said(found.mean)} ({said(found.low)} to {said(found.high)})"


def _scores(found: Comparison, abouts: Mapping[str, Any]) -> str:
    names = list(found.cards)
    head = "".join(f"<th class=n>{_key(names, name)}</th>" for name in names)
    head += "".join(f"<th class=n>{html.escape(name)} − {html.escape(found.first)}</th>" for name in names[1:])
    lines = []
    for metric, means in found.means.items():
        cells = [f"<td class=n>{_small(told(means.get(name)))}</td>" for name in names]
        cells += [_difference(found.differences[metric].get(name), abouts[metric]) for name in names[1:]]
        name = f"{html.escape(metric)} {arrow(abouts[metric])}<br><small>{html.escape(abouts[metric].about)}</small>"
        lines.append(f"<tr><td>{name}</td>{''.join(cells)}</tr>")
    return f"<div class=wide><table><tr><th>metric</th>{head}</tr>{''.join(lines)}</table></div>"


def _difference(found: Estimate | None, metric: Any) -> str:
    text = _small(told(found, signed=True))
    if found is not None and found.is_clear and metric.higher_is_better is not None:
        word = "better" if (found.mean > 0) == metric.higher_is_better else "worse"
        text = f"<b class={word}>{text}<br>{word}</b>"
    return f"<td class=n>{text}</td>"


def _small(text: str) -> str:
    mean, _, rest = text.partition(" ")
    return html.escape(mean) + (f" <small>{html.escape(rest)}</small>" if rest else "")


def _distances(found: Comparison, abouts: Mapping[str, Any]) -> str:
    names = list(found.cards)
    kinds = [kind for kind in abouts if any(kind in card.distances for card in found.cards.values())]
    if not kinds:
        return ""
    lines = []
    for kind in kinds:
        values = [found.cards[name].distances.get(kind, {}) for name in names]
        cells = "".join(f"<td class=n>{number(each.get('distance'))}</td>" for each in values)
        protocols = sorted({str(each["protocol"]) for each in values if each})
        lines.append(f"<tr><td>{html.escape(kind)} ↓</td>{cells}<td>{html.escape('; '.join(protocols))}</td></tr>")
    head = "".join(f"<th class=n>{_key(names, name)}</th>" for name in names)
    head = f"<tr><th>distance to the references</th>{head}<th></th></tr>"
    return f"<h2>Distances</h2><div class=wide><table>{head}{''.join(lines)}</table></div>"


def _curves(found: Comparison, abouts: Mapping[str, Any]) -> list[str]:
    parts = []
    for metric in found.means:
        curves = {}
        for name, card in found.cards.items():
            own = {file: curves[metric] for file, curves in card.curves.items() if metric in curves}
            if own:
                curves[name] = mean_curve(own)
        if curves:
            words = html.escape(f"{metric}: {abouts[metric].curve_about}.")
            parts.append(f"<figure><figcaption>{words}</figcaption>{plot_named(curves, list(found.cards))}</figure>")
    return parts


def _videos(found: Comparison, folders: Mapping[str, Path]) -> list[str]:
    """A section for each file name: that video of every folder that has it."""
    names, players = list(found.cards), Players()
    scored = {name: {str(row["file"]) for row in card.rows} for name, card in found.cards.items()}
    files = list(dict.fromkeys(str(row["file"]) for card in found.cards.values() for row in card.rows))
    parts = []
    for file in files[:MOST_SHOWN]:
        figures = []
        for name in names:
            if file not in scored[name]:
                continue
            player = players.player(folders[name] / file, f"{name}/{file}")
            strip = found.cards[name].strips.get(file, "")
            shown = player or f'<img alt="" src="data:image/jpeg;base64,{strip}">'
            figures.append(f"<figure>{shown}<figcaption>{_key(names, name)}</figcaption></figure>")
        button = "<button onclick='playTogether(this)'>Play together, or pause</button>"
        beside = f"{button}<div class=beside>{''.join(figures)}</div>"
        parts.append(f"<section><h3>{html.escape(file)}</h3>{_prompt(found, file)}{beside}</section>")
    rest = len(files) - MOST_SHOWN
    return [*parts, f"<p>{rest} more are not shown.</p>" if rest > 0 else "", remark(players)]


def _prompt(found: Comparison, file: str) -> str:
    """What the videos of a name were asked for: once, or by folder where folders differ."""
    asked = {name: card.prompts[file] for name, card in found.cards.items() if file in card.prompts}
    if len(set(asked.values())) > 1:
        return "".join(f"<p>{html.escape(name)}: “{html.escape(text)}”</p>" for name, text in asked.items())
    return f"<p>“{html.escape(next(iter(asked.values())))}”</p>" if asked else ""


def _rows(found: Comparison) -> str:
    rows = [(name, row) for name, card in found.cards.items() for row in card.rows]
    columns = [key for key in rows[0][1] if any(row.get(key) is not None for _, row in rows)]
    head = "".join(f"<th class=n>{html.escape(key)}</th>" for key in ("folder", *columns))
    lines = [
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td class=n>{html.escape(number(row.get(key)))}</td>" for key in columns)
        + "</tr>"
        for name, row in rows[:MOST_ROWS]
    ]
    rest = f"<p>report.csv has {len(rows) - MOST_ROWS} more.</p>" if len(rows) > MOST_ROWS else ""
    return f"<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>{rest}"


def as_table(found: Comparison, abouts: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows for a terminal: means of each folder, and differences to the first with their intervals."""
    names = list(found.cards)
    rows: list[Sequence[str]] = []
    for metric, means in found.means.items():
        own = [number(means[name].mean) if name in means else "–" for name in names]
        apart = [told(found.differences[metric].get(name), signed=True) for name in names[1:]]
        rows.append((f"{metric} {arrow(abouts[metric])}", *own, *apart))
    return ("metric", *names, *(f"{name} − {found.first}" for name in names[1:])), rows
