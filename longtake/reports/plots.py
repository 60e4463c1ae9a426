"""Curves along videos as SVG, drawn here so that a report needs neither a plotting library nor a network."""

import html
import math
from collections.abc import Mapping, Sequence

from longtake.metrics.per_video import Curve

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 26
MOST_CURVES = 60
COLOURS = ("#0b6e99", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#e67700", "#495057", "#5c940d", "#1864ab", "#087f5b")
"""Of lines that have a name; readable on light and on dark pages."""


def plot(curves: Mapping[str, Curve]) -> str:
    """One thin line a video, whose name shows under the pointer, and a thick one for the mean at each frame.

    Args:
        curves: per video one with a value or more. Of more than `MOST_CURVES` some are drawn; the mean is of all.
    """
    average = mean_curve(curves)
    values = [value for curve in curves.values() for value in curve.values if math.isfinite(value)] or [0.0]
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))
    last = max(max(curve.frames) for curve in curves.values())
    across = nice_ticks(0, max(last, 1))
    scale = _Scale(max(across[-1], last), low, high)
    step = -(-len(curves) // MOST_CURVES)
    shown = list(curves.items())[::step]
    parts = [_axes(scale, across, ticks)]
    parts += [f'<g class="one"><title>{html.escape(name)}</title>{scale.line(curve)}</g>' for name, curve in shown]
    parts += [f'<g class="mean"><title>mean</title>{scale.line(average)}</g>'] if len(curves) > 1 else []
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def colour_of(place: int) -> str:
    """The colour of a named line, by its place among all."""
    return COLOURS[place % len(COLOURS)]


def plot_named(
    curves: Mapping[str, Curve], names: Sequence[str], *, across: str = "frame", with_key: bool = False
) -> str:
    """One line a name, whose colour follows its place among `names`; the name shows under the pointer.

    Args:
        curves: curves by name, each with a value or more.
        names: names of all lines, those included that have no curve here.
        across: what the lower axis counts.
        with_key: whether names stand in the picture too, each in its colour.

    Returns:
        SVG.
    """
    values = [value for curve in curves.values() for value in curve.values if math.isfinite(value)] or [0.0]
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))
    last = max(max(curve.frames) for curve in curves.values())
    places = nice_ticks(0, max(last, 1))
    scale = _Scale(max(places[-1], last), low, high)
    parts = [_axes(scale, places, ticks, across)]
    for number, (name, curve) in enumerate(curves.items()):
        colour = colour_of(names.index(name))
        if with_key:
            words = f'x="{_WIDTH - _RIGHT - 4}" y="{_TOP + 12 + 15 * number}" text-anchor="end" style="fill:{colour}"'
            parts.append(f"<text {words}>{html.escape(name)}</text>")
        style = f'style="stroke:{colour};fill:{colour}" class="named"'
        parts.append(f"<g {style}><title>{html.escape(name)}</title>{scale.line(curve)}</g>")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def mean_curve(curves: Mapping[str, Curve]) -> Curve:
    """The mean, at each frame, of the curves that have a value there."""
    at: dict[int, list[float]] = {}
    for curve in curves.values():
        for frame, value in zip(*curve, strict=True):
            at.setdefault(frame, []).append(value)
    frames = sorted(at)
    return Curve(frames, [sum(at[frame]) / len(at[frame]) for frame in frames])


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from low or below to high or above."""
    span = (high - low) or abs(high) or 1.0
    raw = span / 5
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


class _Scale:
    """From frames and values to places in the picture."""

    def __init__(self, last: float, low: float, high: float) -> None:
        self.last, self.low, self.high = last, low, high

    def x(self, frame: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * frame / self.last

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - self.low) / (self.high - self.low)

    def line(self, curve: Curve) -> str:
        points = [f"{self.x(frame):.1f},{self.y(value):.1f}" for frame, value in zip(*curve, strict=True)]
        dots = [f'<circle cx="{x}" cy="{y}" r="2.5"/>' for x, y in (point.split(",") for point in points)]
        few = "".join(dots) if len(points) <= 30 else ""
        return f'<polyline points="{" ".join(points)}"/>{few}'


def _axes(scale: _Scale, across: list[float], up: list[float], counted: str = "frame") -> str:
    parts = []
    for value in up:
        y = f"{scale.y(value):.1f}"
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{value:.6g}</text>')
    for frame in across[:-1]:
        parts.append(f'<text x="{scale.x(frame):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{frame:.6g}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{counted}</text>')
    return f'<g class="axes">{"".join(parts)}</g>'
