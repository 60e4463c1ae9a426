"""Charts of results as SVG, drawn here so that the same figures give the same file on every machine."""

import html
from collections.abc import Mapping, Sequence

from longtake.reports.plots import COLOURS, nice_ticks

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#555}.grid line{stroke:#8883}polyline{fill:none;stroke-width:2}"
    ".ends line{stroke-width:1.2;opacity:.7}.at{stroke:#888;stroke-dasharray:5 4}"
)


def chart(
    lines: Mapping[str, Sequence[tuple[float, ...]]],
    places: Sequence[str],
    *,
    across: str,
    up: str,
    line: float | None = None,
) -> str:
    """Lines over places that are evenly spaced, with whiskers where a value has an interval.

    Args:
        lines: by name, a value for each place: itself, or itself with the lower and upper end of its interval.
        places: names below the lower axis.
        across: what the lower axis shows.
        up: what the other axis shows.
        line: a value at which a dashed line lies.

    Returns:
        SVG.
    """
    ends = [each for values in lines.values() for value in values for each in value] + ([] if line is None else [line])
    ticks = nice_ticks(min(ends), max(ends))
    low, high = ticks[0], ticks[-1]
    step = (WIDTH - LEFT - RIGHT) / len(places)

    def x(place: int) -> float:
        return LEFT + (place + 0.5) * step

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = ['<g class="grid">']
    parts += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>' for tick in ticks]
    parts += [f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>' for tick in ticks]
    names = [html.escape(name) for name in places]
    below = HEIGHT - BOTTOM + 18
    parts += [f'<text x="{x(n):.1f}" y="{below}" text-anchor="middle">{name}</text>' for n, name in enumerate(names)]
    parts.append("</g>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(across)}</text>')
    turned = f"rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})"
    said = f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="{turned}">'
    parts.append(f"{said}{html.escape(up)}</text>")
    if line is not None:
        parts.append(f'<line class="at" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(line):.1f}" y2="{y(line):.1f}"/>')
    for number, (name, values) in enumerate(lines.items()):
        shift = 5 * (number - (len(lines) - 1) / 2)  # whiskers beside one another
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(n) + shift:.1f},{y(value[0]):.1f}" for n, value in enumerate(values))
        dots = "".join(
            f'<circle cx="{x(n) + shift:.1f}" cy="{y(value[0]):.1f}" r="3.5"/>' for n, value in enumerate(values)
        )
        whiskers = "".join(
            f'<line x1="{x(n) + shift:.1f}" x2="{x(n) + shift:.1f}" y1="{y(value[1]):.1f}" y2="{y(value[2]):.1f}"/>'
            for n, value in enumerate(values)
            if len(value) == 3
        )
        parts.append(
            f'<g style="stroke:{colour};fill:{colour}"><title>{html.escape(name)}</title>'
            f'<polyline points="{points}"/><g class="ends">{whiskers}</g>{dots}</g>'
        )
    return _with_key(parts, list(lines))


def _with_key(parts: list[str], names: list[str]) -> str:
    """The drawing with a line for each name below it."""
    key = []
    for number, name in enumerate(names):
        column, row = number % 2, number // 2
        left, top = LEFT + column * (WIDTH - LEFT) // 2, HEIGHT + 14 + 18 * row
        colour = COLOURS[number % len(COLOURS)]
        key.append(f'<rect x="{left}" y="{top - 9}" width="12" height="10" style="fill:{colour}"/>')
        key.append(f'<text x="{left + 18}" y="{top}">{html.escape(name)}</text>')
    height = HEIGHT + 10 + 18 * -(-len(names) // 2)
    inside = "\n".join([*parts, *key])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"><style>{STYLE}</style>\n'
        f"{inside}\n</svg>\n"
    )
