"""The scores of a test set as one page that stands alone: no links to anything outside it."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from longtake.testbed.curves import EDGES, Curve, class_name, draw, from_seen, since_context, style_of
from longtake.testbed.questions import KINDS, Question
from longtake.testbed.scoring import BASELINES, CODEC, Scores
from longtake.testbed.spans import RISES, Estimate, Row, verdict
from longtake.testbed.strips import NUM_FRAMES, Strip

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.8rem; } p, li { max-width: 52rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
td:first-child, td.figure { white-space: nowrap; }
th, td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
small, .quiet { opacity: .65; } .bad { color: #d9480f; } .key { display: inline-block; width: .8em; height: .8em;
margin-right: .5em; border-radius: 2px; }
.beside { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem; }
figure > svg { width: 100%; height: auto; }
svg text { font-size: 11px; fill: currentColor; opacity: .75; stroke: none; }
svg line { stroke: var(--line); } polyline { fill: none; stroke-width: 1.8; } g:hover polyline { stroke-width: 3.5; }
figure { margin: 1rem 0; } .strip { display: grid; grid-template-columns: 11rem 1fr; align-items: center; }
.strip img { width: 100%; max-width: 60rem; image-rendering: pixelated; display: block; }
.strip div { border-bottom: 1px solid transparent; overflow-wrap: anywhere; padding-right: .6rem; font-size: .9em; }
pre { overflow-x: auto; font-size: .85em; }
"""

_READING = """<p>PSNR (dB) and SSIM say how near predictions come to the true frames, LPIPS how far off they are: means
over frames, then over mazes, with 95 % intervals over mazes. The share is how much of the way a method goes from the
floor, a model that sees no history, to the ceiling, the same model with all of it in view.</p>
<p>The baselines remember nothing: nearest_pose copies what was seen from the nearest pose, last_frame repeats the end
of the context. Where nearest_pose is far ahead, a task is recall; where it falls behind, copying is no answer. A
codec's reconstruction of the true frames is a limit. Lines of these may leave the plots, which show what lies between
floor and ceiling.</p>
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
    """The tasks that were scored, in the order of the questions."""
    return list(dict.fromkeys(question.task for question in scores.questions))


def score_page(scores: Scores, *, name: str, tolerance: float, settings: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        scores: what was scored.
        name: name of the test set, with its fingerprint.
        tolerance: dB by which a control may lie above the floor.
        settings: whatever made the figures.
    """
    mazes = len({question.maze for question in scores.questions})
    curves = curves_of(scores)
    parts = [
        f"<h1>Memory testbed {html.escape(name)}</h1>",
        f"<p>{len(scores.measures) - len(BASELINES)} methods and {len(BASELINES)} baselines at "
        f"{len(scores.questions)} questions in {mazes} unseen mazes.</p>",
        _READING,
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


def warnings(scores: Scores) -> list[str]:
    """Sentences about what is missing for a claim about memory."""
    if scores.floor is None or scores.ceiling is None:
        return [
            "There is no span: give the method without memory as floor=METHOD and the one that sees everything as "
            "ceiling=METHOD, on the same weights. Absolute decibels say little about memory."
        ]
    if not scores.controls:
        return [
            "No control was given: add METHOD.other_maze, METHOD.shuffled or METHOD.unvisited, which show whether it "
            "is memory that helps."
        ]
    return []


def findings(scores: Scores, *, tolerance: float) -> list[str]:
    """Sentences: whether history is necessary, how much of it is used, whether controls hold."""
    found = warnings(scores)
    for task in tasks_of(scores):
        rows = rows_of(scores, task)
        if scores.floor is not None and scores.ceiling is not None:
            said = f"{task}: from {scores.floor} to {scores.ceiling}, history is worth {_span(scores, rows)}"
            best = _best(scores, rows)
            found.append(f"{said}; {best}." if best else f"{said}.")
        for method, why in scores.controls.items():
            found.append(f"{task}: {method}, which {why}: {verdict(rows[method], tolerance=tolerance)}.")
    return found


def rows_of(scores: Scores, task: str) -> dict[str, Row]:
    """The rows of one task, by method."""
    return {row.method: row for row in scores.rows if row.task == task}


def _span(scores: Scores, rows: Mapping[str, Row]) -> str:
    assert scores.ceiling is not None
    ceiling = rows[scores.ceiling]
    return f"{told(ceiling.above_floor, 2)} dB{'' if ceiling.share else ', not surely above 0: no share is given'}"


def _best(scores: Scores, rows: Mapping[str, Row]) -> str:
    """Who closes most of the span, of methods that are no limit, control or baseline."""
    apart = {scores.floor, scores.ceiling, CODEC, *scores.controls, *BASELINES}
    shares = [(row.share, row.method) for row in rows.values() if row.method not in apart and row.share is not None]
    if not shares:
        return ""
    share, method = max(shares)
    return f"{method} closes {told(share, 0, 100)} % of it"


def _findings(scores: Scores, tolerance: float) -> str:
    said = "".join(f"<p class=bad>{html.escape(each)}</p>" for each in warnings(scores))
    spanned = scores.floor is not None and scores.ceiling is not None
    if not spanned and not scores.controls:
        return said
    heads = ["task", *(["history is worth", "most of it"] if spanned else []), *scores.controls]
    lines = []
    for task in tasks_of(scores):
        rows = rows_of(scores, task)
        cells = [task, *([_span(scores, rows), _best(scores, rows) or "–"] if spanned else [])]
        line = "".join(f"<td class=figure>{html.escape(cell)}</td>" for cell in cells)
        for method in scores.controls:
            told_ = verdict(rows[method], tolerance=tolerance)
            line += f"<td{' class=bad' if told_.startswith(RISES) else ''}>{html.escape(told_)}</td>"
        lines.append(f"<tr>{line}</tr>")
    whys = "".join(f"<li>{html.escape(method)} {html.escape(why)}.</li>" for method, why in scores.controls.items())
    note = (
        f"<p>A control has the wrong memory, so it must not rise above the floor, which has none (by more than "
        f"{tolerance:g} dB). Where it does, something else than memory makes frames better, and memory does not "
        f"explain a gain of that size.</p><ul>{whys}</ul>"
        if whys
        else ""
    )
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    return f"{said}{note}<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


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
    is_it = {"floor": method == scores.floor, "ceiling": method == scores.ceiling}
    is_it |= {"control": method in scores.controls, "baseline": method in BASELINES}
    is_it |= {"limit": method == CODEC}
    part = next((name for name, holds in is_it.items() if holds), "")
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
    beyond = (CODEC, *BASELINES)
    plots = [draw(curves["since_context"], across="frames since the context's end", beyond=beyond)]
    if len(far) > 1:
        names = {float(place): class_name(place) for place in range(len(EDGES) - 1)}
        across = "steps to the nearest pose that was seen (one: 11 map units or 4 degrees)"
        plots.append(draw(curves["from_seen"], across=across, names=names, beyond=beyond))
    return "\n".join(
        [
            f"<h2>{html.escape(task)}</h2><p>{html.escape(KINDS[own[0].kind])} {_lengths(own)}</p>",
            _table(scores, list(rows_of(scores, task).values()), tolerance),
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
        holds = _holds(row, tolerance) if row.method in scores.controls else ""
        lines.append(f"<tr><td>{_label(scores, row.method)}</td>{_cells(values)}{holds or '<td></td>'}</tr>")
    head = "".join(f"<th class=n>{each}</th>" for each in heads)
    last = "<th>as a control</th>" if scores.controls else "<th></th>"
    return f"<div class=wide><table><tr><th>method</th>{head}{last}</tr>{''.join(lines)}</table></div>"


def _holds(row: Row, tolerance: float) -> str:
    """Whether a control does what it must, in a word, as the last cell of a line."""
    if verdict(row, tolerance=tolerance).startswith(RISES):
        return "<td class=bad>rises above the floor</td>"
    return f"<td>{'cannot be judged' if row.above_floor is None else 'holds'}</td>"


def _strip(strip: Strip) -> str:
    rows = "".join(
        f'<div>{html.escape(method).replace(".", ".<wbr>")}</div><img alt="" src="{picture}">'
        for method, picture in strip.pictures.items()
    )
    words = f"{html.escape(strip.question)}: up to {NUM_FRAMES} frames of the target, evenly spread."
    return f"<figure><figcaption class=quiet>{words}</figcaption><div class=strip>{rows}</div></figure>"
