"""The scores of a test set as one page that stands alone: no links to anything outside it."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from longtake.testbed.curves import EDGES, Curve, class_name, draw, from_seen, since_context, style_of
from longtake.testbed.questions import KINDS, Question
from longtake.testbed.scoring import BASELINES, Scores
from longtake.testbed.spans import Estimate, Row, verdict
from longtake.testbed.strips import NUM_FRAMES, Strip

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.8rem; } p, li { max-width: 52rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
small, .quiet { opacity: .65; } .bad { color: #d9480f; } .key { display: inline-block; width: .8em; height: .8em;
margin-right: .5em; border-radius: 2px; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; opacity: .75; stroke: none; }
svg line { stroke: var(--line); } polyline { fill: none; stroke-width: 1.8; } g:hover polyline { stroke-width: 3.5; }
figure { margin: 1rem 0; } .strip { display: grid; grid-template-columns: 11rem 1fr; align-items: center; }
.strip img { width: 100%; max-width: 60rem; image-rendering: pixelated; display: block; }
.strip div { border-bottom: 1px solid transparent; overflow-wrap: anywhere; padding-right: .6rem; font-size: .9em; }
pre { overflow-x: auto; font-size: .85em; }
"""


def curves_of(scores: Scores) -> dict[str, dict[str, dict[str, Curve]]]:
    """By task, then `since_context` or `from_seen`, then method."""
    found: dict[str, dict[str, dict[str, Curve]]] = {}
    for task in tasks_of(scores):
        own = [question for question in scores.questions if question.task == task]
        found[task] = {
            curve.__name__: {method: curve(own, each) for method, each in scores.measures.items()}
            for curve in (since_context, from_seen)
        }
    return found


def tasks_of(scores: Scores) -> list[str]:
    """In the order of the questions."""
    return list(dict.fromkeys(question.task for question in scores.questions))


def score_page(scores: Scores, *, name: str, tolerance: float, settings: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        scores: what was scored.
        name: of the test set, with its fingerprint.
        tolerance: dB by which a control may lie above the floor.
        settings: whatever made the figures.
    """
    mazes = len({question.maze for question in scores.questions})
    curves = curves_of(scores)
    parts = [
        f"<h1>Memory testbed {html.escape(name)}</h1>",
        f"<p>{len(scores.measures) - len(BASELINES)} methods and {len(BASELINES)} baselines at "
        f"{len(scores.questions)} questions in {mazes} unseen mazes. Nearness to the true frames: mean over frames, "
        "then over mazes, with 95 % intervals over mazes. PSNR in dB and SSIM: higher is nearer.</p>",
        "<h2>What the figures say</h2>",
        _findings(scores, tolerance),
        "<h2>All tasks: PSNR</h2>",
        _summary(scores),
        *(_task(scores, task, curves[task], tolerance) for task in tasks_of(scores)),
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(dict(settings), indent=1, ensure_ascii=False))}</pre>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>Memory testbed</title><style>{_STYLE}</style></head>'
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def findings(scores: Scores, *, tolerance: float) -> list[str]:
    """Sentences: whether history is necessary, who uses it, whether controls hold. Those that warn begin with "!"."""
    found = []
    if scores.floor is None or scores.ceiling is None:
        found.append(
            "! There is no span: give the method without memory as floor=METHOD and the one that sees everything as "
            "ceiling=METHOD, on the same weights. Absolute decibels say little about memory."
        )
    for task in tasks_of(scores):
        rows = {row.method: row for row in scores.rows if row.task == task}
        if scores.floor is not None and scores.ceiling is not None:
            found.append(_span_finding(task, rows, scores.floor, scores.ceiling))
        for method, why in scores.controls.items():
            said = verdict(rows[method], tolerance=tolerance)
            found.append(f"{'! ' if 'not the' in said else ''}{task}: {method}, which {why}: {said}.")
    if scores.floor is not None and not scores.controls:
        found.append(
            "! No control was given: add METHOD.other_maze, METHOD.shuffled or METHOD.unvisited, so that it shows "
            "whether it is memory that helps."
        )
    return found


def _span_finding(task: str, rows: Mapping[str, Row], floor: str, ceiling: str) -> str:
    span = rows[ceiling].above_floor
    assert span is not None
    if rows[ceiling].share is None:
        return f"! {task}: from {floor} to {ceiling} is {told(span, 2)} dB, not surely above 0: no share is given."
    others = [row for row in rows.values() if row.method not in (floor, ceiling, *BASELINES) and row.share is not None]
    best = max(others, key=lambda row: row.share.mean if row.share else 0.0, default=None)
    said = f"{task}: history is worth {told(span, 2)} dB, from {floor} to {ceiling}"
    if best is not None and best.share is not None:
        said += f"; {best.method} closes {told(best.share, 0, 100)} % of it"
    return said + "."


def _findings(scores: Scores, tolerance: float) -> str:
    items = [
        f"<li class=bad>{html.escape(said[2:])}</li>" if said.startswith("! ") else f"<li>{html.escape(said)}</li>"
        for said in findings(scores, tolerance=tolerance)
    ]
    return f"<ul>{''.join(items)}</ul>"


def told(value: Estimate | None, digits: int, scale: float = 1.0) -> str:
    """A mean and its interval, such as "26.4 [25.1, 27.7]"; a dash for nothing."""
    if value is None:
        return "–"
    mean = f"{value.mean * scale:.{digits}f}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} [{value.low * scale:.{digits}f}, {value.high * scale:.{digits}f}]"


def _label(scores: Scores, method: str) -> str:
    """A method's name with its colour and its part."""
    colour, _ = style_of(list(scores.measures).index(method))
    parts = {scores.floor: "floor", scores.ceiling: "ceiling", **dict.fromkeys(BASELINES, "baseline")}
    part = "control" if method in scores.controls else parts.get(method, "")
    return f'<span class=key style="background:{colour}"></span>{html.escape(method)} <small>{part}</small>'


def _cells(values: Sequence[str]) -> str:
    """Means, with their intervals in small print."""
    split = (value.partition(" ") for value in values)
    return "".join(
        f"<td class=n>{html.escape(mean)} <small>{html.escape(rest)}</small></td>" for mean, _, rest in split
    )


def _summary(scores: Scores) -> str:
    tasks = tasks_of(scores)
    rows = {(row.method, row.task): row for row in scores.rows}
    lines = [
        f"<tr><td>{_label(scores, method)}</td>{_cells([told(rows[method, task].psnr, 1) for task in tasks])}</tr>"
        for method in scores.measures
    ]
    head = "".join(f"<th class=n>{html.escape(task)}</th>" for task in tasks)
    return f"<div class=wide><table><tr><th>method</th>{head}</tr>{''.join(lines)}</table></div>"


def _task(scores: Scores, task: str, curves: Mapping[str, Mapping[str, Curve]], tolerance: float) -> str:
    own = [question for question in scores.questions if question.task == task]
    far = {place for curve in curves["from_seen"].values() for place in curve.at}
    plots = [draw(curves["since_context"], across="frames since the context's end; PSNR in dB")]
    if len(far) > 1:
        names = {float(place): class_name(place) for place in range(len(EDGES) - 1)}
        across = "steps to the nearest pose that was seen (one: 11 map units or 4 degrees)"
        plots.append(draw(curves["from_seen"], across=across, names=names))
    return "\n".join(
        [
            f"<h2>{html.escape(task)}</h2><p>{html.escape(KINDS[own[0].kind])} {_lengths(own)}</p>",
            _table(scores, [row for row in scores.rows if row.task == task], tolerance),
            f"<div class=beside>{''.join(f'<figure>{plot}</figure>' for plot in plots)}</div>",
            *(_strip(strip) for strip in scores.strips[task]),
        ]
    )


def _lengths(questions: Sequence[Question]) -> str:
    words = []
    for what, spans in (
        ("given", [each.context for each in questions]),
        ("asked", [each.target for each in questions]),
    ):
        least, most = min(map(len, spans)), max(map(len, spans))
        words.append(f"{least}{f' to {most}' if most > least else ''} frames {what}")
    return f"{', '.join(words)}; {len(questions)} questions."


def _table(scores: Scores, rows: Sequence[Row], tolerance: float) -> str:
    has_lpips = all(row.lpips is not None for row in rows)
    heads = ["PSNR", "SSIM", *(["LPIPS ↓"] if has_lpips else []), "share of the span, %", "above floor, dB"]
    lines = []
    for row in rows:
        values = [told(row.psnr, 2), told(row.ssim, 3), *([told(row.lpips, 3)] if has_lpips else [])]
        values += [told(row.share, 0, 100), told(row.above_floor, 2)]
        said = verdict(row, tolerance=tolerance) if row.method in scores.controls else ""
        kind = " class=bad" if "not the explanation" in said else ""
        short = html.escape(said.partition(":")[2].strip() if kind else said.partition(":")[0])
        lines.append(f"<tr><td>{_label(scores, row.method)}</td>{_cells(values)}<td{kind}>{short}</td></tr>")
    head = "".join(f"<th class=n>{each}</th>" for each in heads)
    return f"<div class=wide><table><tr><th>method</th>{head}<th></th></tr>{''.join(lines)}</table></div>"


def _strip(strip: Strip) -> str:
    rows = "".join(
        f'<div>{html.escape(method)}</div><img alt="" src="{picture}">' for method, picture in strip.pictures.items()
    )
    words = f"{html.escape(strip.question)}: up to {NUM_FRAMES} frames of the target, evenly spread."
    return f"<figure><figcaption class=quiet>{words}</figcaption><div class=strip>{rows}</div></figure>"
