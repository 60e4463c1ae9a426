"""What the page shows, as HTML: made here of plain values, so that it can be looked at without a browser."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from longtake.studio.attention import over_frames
from longtake.studio.cards import Board
from longtake.studio.job import Progress
from longtake.studio.session import Problem, Score
from longtake.studio.weights import Attention, PlannedTake

STYLE = """
.gradio-container { max-width: 1500px !important; }
.strip { display: flex; gap: .35rem; overflow-x: auto; padding: .2rem 0 .5rem; align-items: flex-start; }
.strip figure { margin: 0; flex: 0 0 9.5rem; width: 9.5rem; }
.strip .picture { height: 9.5rem; border-radius: .4rem; overflow: hidden; display: grid; place-items: center;
  background: var(--background-fill-secondary); border: 2px dashed var(--border-color-primary); font-size: .85rem;
  text-align: center; color: var(--body-text-color-subdued); }
.strip .there .picture { border: 2px solid var(--color-accent); }
.strip .now .picture { border-color: var(--color-accent); }
.strip video { width: 100%; height: 100%; object-fit: cover; image-rendering: pixelated; }
.strip figcaption, .told { font-size: .85rem; color: var(--body-text-color); }
.strip figcaption b { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.strip .cut { flex: 0 0 auto; align-self: stretch; width: 2px; background: var(--body-text-color-subdued); }
.quiet { color: var(--body-text-color); opacity: .75; font-size: .85rem; }
.card { gap: .5rem !important; } .card .row { gap: .5rem; } .card textarea, .card input { font-size: .9rem; }
.card input { padding-left: .5rem !important; padding-right: .5rem !important; }
.card input::placeholder { font-size: .8rem; }
#lit img { image-rendering: pixelated; width: 100%; } input[role=listbox] { text-overflow: ellipsis; }
.wrong { color: var(--error-text-color, #b91c1c); background: var(--error-background-fill, #fef2f2);
  border: 1px solid var(--error-border-color, #b91c1c); border-radius: .4rem; padding: .4rem .6rem; font-size: .9rem; }
.bar { height: .6rem; border-radius: .3rem; background: var(--border-color-primary); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--color-accent); transition: width .4s; }
.alert:not(:has(.wrong)) { display: none; } #note:not(:has(p)):not(:has(.wrong)) { display: none; }
#progress:not(:has(.bar)):not(:has(.wrong)) { display: none; }
table.plan.plan, table.scores.scores, table.plan.plan tr, table.scores.scores tr { border: 0 !important; }
table.plan.plan, table.scores.scores { border-collapse: collapse; font-size: .85rem; width: 100%; }
table.plan.plan :is(td, th), table.scores.scores :is(td, th) { padding: .3rem .8rem .3rem 0 !important;
  text-align: left; vertical-align: top; border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important; }
table.plan.plan th, table.scores.scores th { font-weight: 600; opacity: .75; }
table :is(td, th).n.n { text-align: right !important; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scores .best { font-weight: 700; }
.wide { overflow-x: auto; }
.take video { width: 100%; max-height: 16rem; object-fit: contain; image-rendering: pixelated; background: #000;
  border-radius: .4rem; }
code.command { display: block; white-space: pre-wrap; word-break: break-all; font-size: .8rem; padding: .4rem .6rem;
  background: var(--background-fill-secondary); border-radius: .4rem; }
.map svg { width: 100%; max-width: 760px; height: auto; } .map text { font-size: 11px; fill: currentColor; }
"""


def source(path: Path) -> str:
    """Where the page finds a file of the folder; another content under the same name is another address."""
    return f"gradio_api/file={html.escape(path.as_posix())}?{path.stat().st_mtime_ns}"


def wrong(problem: str) -> str:
    """A sentence about a mistake; nothing for none."""
    return f'<div class="wrong" role="alert">{html.escape(problem)}</div>' if problem else ""


def told(sentence: str) -> str:
    """A sentence; nothing for none."""
    return f'<p class="told">{html.escape(sentence)}</p>' if sentence else ""


def quiet(sentence: str) -> str:
    """A sentence in small grey print."""
    return f'<p class="quiet">{html.escape(sentence)}</p>'


def link(file: Path, text: str) -> str:
    """A file of the folder, which opens in a tab of its own."""
    return f'<a href="{source(file)}" target="_blank" class="told">{html.escape(text)}</a> &nbsp; '


def alerts(board: Board, found: PlannedTake | Problem) -> list[str]:
    """A sentence for each card, videos first; "" where nothing is wrong."""
    kinds = [("video", place) for place in range(len(board.videos))]
    kinds += [("segments", place) for place in range(len(board.cards))]
    at = (found.kind, found.place) if isinstance(found, Problem) else ("", 0)
    return [wrong(found.sentence) if isinstance(found, Problem) and at == kind else "" for kind in kinds]


def located(problem: Problem) -> str:
    """The sentence with the card that it is about."""
    where = {"segments": f"Card {problem.place + 1}: ", "video": "Your video: "}.get(problem.kind, "")
    return where + problem.sentence


def strip(take: PlannedTake | Problem, previews: Mapping[str, Path], progress: Progress) -> str:
    """The segments side by side as they are seen, those that are there as moving pictures."""
    if isinstance(take, Problem):
        return '<p class="quiet">The segments appear here when the cards fit together.</p>'
    by_name = {segment.name: segment for segment in take.segments}
    now = next((segment.name for segment in take.to_make), None) if progress.state == "running" else None
    cells, shot = [], None
    for name in take.timeline:
        segment = by_name[name]
        if shot is not None and segment.shot != shot:
            cells.append('<div class="cut" title="a cut"></div>')
        shot = segment.shot
        if name in previews:
            kind = "there"
            inside = f'<video src="{source(previews[name])}" autoplay loop muted playsinline></video>'
        else:
            kind, inside = ("now", "being made …") if name == now else ("missing", "not made yet")
        said = f"<b>{html.escape(name)}</b>{task(segment.task)}, {segment.num_frames} frames"
        figure = f'<figure class="{kind}" data-segment="{html.escape(name)}">'
        cells.append(f'{figure}<div class="picture">{inside}</div><figcaption>{said}</figcaption></figure>')
    return f'<div class="strip">{"".join(cells)}</div>'


def cost(take: PlannedTake | Problem, seconds: float | None, fps: float) -> str:
    """What is to be made and what that costs, in a line."""
    if isinstance(take, Problem):
        return wrong(located(take))
    length = f"{take.num_frames} frames, {take.num_frames / fps:.1f} s at {fps:g} a second"
    todo = len(take.to_make)
    if not todo:
        return f'<p class="told"><b>Everything is made</b>: {length}.</p>'
    time = "" if seconds is None else f", about <b>{duration(seconds)}</b> here"
    which = f"{todo} of {len(take.segments)} segments" if len(take.segments) > 1 else "the video"
    return f'<p class="told">To make: <b>{which}</b>, {flops(take.tflops)}{time}. The whole take: {length}.</p>'


def flops(tera: float) -> str:
    """10¹² operations, in the unit that suits."""
    for size, unit in ((1e3, "PFLOP"), (1, "TFLOP"), (1e-3, "GFLOP")):
        if tera >= size:
            return f"{tera / size:.3g} {unit}"
    return f"{tera * 1e6:.3g} MFLOP"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def task(name: str) -> str:
    """A segment's task in words."""
    return name.replace("_", " ")


def plan_table(take: PlannedTake | Problem) -> str:
    """The segments in the order in which they are made, with what they remember and whom they touch."""
    if isinstance(take, Problem):
        return ""
    heads = ("segment", "task", "remembers (ratio)", "cost", "", "a change also makes again")
    rows = []
    for segment in take.segments:
        memory = ", ".join(f"{name} ({ratio:g})" for name, ratio in segment.remembers) or "–"
        state = "there" if segment.is_there else "to read" if segment.task == "given" else "to make"
        work = "–" if segment.task == "given" else flops(segment.tflops)
        cells = (segment.name, task(segment.task), memory, work, state, ", ".join(segment.touches) or "nothing else")
        rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    head = "".join(f"<th>{name}</th>" for name in heads)
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f'<div class="wide"><table class="plan"><tr>{head}</tr>{lines}</table></div>'
    return (
        f"{table}<p class='quiet'>In the order in which they are made. Without this page:</p>"
        f'<code class="command">{html.escape(take.command)}</code>'
    )


def bar(progress: Progress) -> str:
    """How far the work is, as a bar with a sentence."""
    if progress.state == "idle":
        return ""
    said = html.escape(progress.message)
    if progress.state == "running":
        left = progress.seconds_left
        rest = "" if left is None or progress.steps >= progress.total else f", about {duration(left)} left"
        at = f"step {progress.steps} of {progress.total}" if progress.steps < progress.total else "decoding"
        said = f"{at}, {duration(progress.seconds)} so far{rest}"
    if progress.state == "failed":
        return wrong(progress.message)
    return (
        f'<div class="bar" role="progressbar" aria-valuenow="{progress.share:.2f}"><i style="width:'
        f'{100 * progress.share:.1f}%"></i></div><p class="told" data-state="{progress.state}">{said}</p>'
    )


def player(video: Path | None, empty: str = "The take plays here when it is made.") -> str:
    """A video that plays."""
    if video is None or not video.is_file():
        return f'<p class="quiet">{html.escape(empty)}</p>'
    return f'<div class="take"><video src="{source(video)}" controls autoplay loop muted playsinline></video></div>'


def scores(first: Sequence[Score], second: Sequence[Score], names: tuple[str, str]) -> str:
    """Two report cards beside each other; the better figure of a metric that has a better end is bold.

    Args:
        first: scores of one take.
        second: scores of the other take.
        names: names of the two takes.

    Returns:
        A table.
    """
    left, right = ({score.metric: score.value for score in each} for each in (first, second))
    lines = []
    for metric, higher in {score.metric: score.higher_is_better for score in (*first, *second)}.items():
        a, b, arrow = left.get(metric), right.get(metric), {True: "↑", False: "↓"}.get(higher, "")  # type: ignore[arg-type]
        best = ""
        if a is not None and b is not None and a != b and higher is not None:
            best = "left" if (a > b) == higher else "right"
        cells = "".join(
            f'<td class="n{" best" if best == side else ""}">{"–" if value is None else f"{value:.4g}"}</td>'
            for side, value in (("left", a), ("right", b))
        )
        lines.append(f"<tr><td>{html.escape(metric)} {arrow}</td>{cells}</tr>")
    head = (
        f'<tr><th>metric</th><th class="n">{html.escape(names[0])}</th><th class="n">{html.escape(names[1])}</th></tr>'
    )
    note = "↑: higher is better, ↓: lower. One video of each is no evidence: the same prompt with several seeds is."
    return f'<table class="scores">{head}{"".join(lines)}</table><p class="quiet">{note}</p>'


def attention_map(attention: Attention, fps: float) -> str:
    """Which keyframes each global token reads, with axes."""
    import cv2

    picture = over_frames(attention, most_tokens=len(attention.weights), cell=1)
    _, data = cv2.imencode(".png", picture[..., ::-1])
    tokens, frames = picture.shape[:2]
    width, height, left, bottom = 640, max(180, 8 * tokens), 34, 34
    code = base64.b64encode(io.BytesIO(data.tobytes()).getvalue()).decode()
    step = width / frames
    every = max(1, -(-frames // 12))
    labels = "".join(
        f'<text x="{left + (place + 0.5) * step:.1f}" y="{height + 14}" text-anchor="middle">{frame / fps:.1f}</text>'
        for place, frame in enumerate(attention.frames)
        if place % every == 0
    )
    return (
        f'<div class="map"><svg viewBox="0 0 {width + left} {height + bottom}" role="img">'
        f'<image href="data:image/png;base64,{code}" x="{left}" y="0" width="{width}" height="{height}" '
        'preserveAspectRatio="none" style="image-rendering:pixelated"/>'
        f'{labels}<text x="{left + width / 2}" y="{height + 29}" text-anchor="middle">seconds of the take</text>'
        f'<text x="12" y="{height / 2}" text-anchor="middle" transform="rotate(-90 12 {height / 2})">'
        f"{tokens} global tokens</text></svg></div>"
    )
