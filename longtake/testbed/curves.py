"""Curves of all methods as SVG: nearness against frames since the context's end, and against the nearest seen pose."""

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from longtake.reports.plots import COLOURS, nice_ticks
from longtake.testbed.measures import Measured
from longtake.testbed.poses import steps
from longtake.testbed.questions import Question

EDGES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, math.inf)
"""Of classes of distance to the nearest seen pose, in steps."""
_LEAST_FRAMES = 20  # of a class that is drawn
_MOST_POINTS = 40
_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 24, 24, 40
DASHES = ("", "6 3", "2 3")


class Curve(NamedTuple):
    """Mean PSNR in dB at places along an axis."""

    at: list[float]
    psnr: list[float]


def since_context(questions: Sequence[Question], measures: Mapping[str, Measured]) -> Curve:
    """PSNR of one method at one task against frames since the context's end; neighbouring frames share a point."""
    far = np.concatenate([np.asarray(question.since_context) for question in questions])
    psnr = np.concatenate([measures[question.id].psnr for question in questions])
    width = max(1, math.ceil((far.max() - far.min() + 1) / _MOST_POINTS))
    group = (far - far.min()) // width
    counts = np.bincount(group)
    kept = counts > 0
    at = np.bincount(group, weights=far)[kept] / counts[kept]
    return Curve(at.round(3).tolist(), (np.bincount(group, weights=psnr)[kept] / counts[kept]).round(4).tolist())


def from_seen(questions: Sequence[Question], measures: Mapping[str, Measured]) -> Curve:
    """PSNR of one method at one task against the steps to the nearest pose that was seen.

    `at` of the curve is the number of a class of distances in `EDGES`.
    """
    pairs = [(question.nearest_distance, question.nearest_degrees) for question in questions]
    far = np.concatenate([steps(*pair) for pair in pairs])
    psnr = np.concatenate([measures[question.id].psnr for question in questions])
    group = np.searchsorted(EDGES, far, side="right") - 1
    counts = np.bincount(group, minlength=len(EDGES))
    kept = np.flatnonzero(counts >= min(_LEAST_FRAMES, len(far)))
    means = np.bincount(group, weights=psnr, minlength=len(EDGES))[kept] / counts[kept]
    return Curve([float(place) for place in kept], means.round(4).tolist())


def class_name(place: float) -> str:
    """What a class of distances is called, such as "4–8"; place: its number in `EDGES`."""
    low, high = EDGES[int(place)], EDGES[int(place) + 1]
    return f"{low:g}–{high:g}" if math.isfinite(high) else f"{low:g}+"


def style_of(place: int) -> tuple[str, str]:
    """Colour and dashes of a method by its place among all."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def draw(
    curves: Mapping[str, Curve],
    *,
    across: str,
    names: Mapping[float, str] | None = None,
    beyond: Collection[str] = (),
) -> str:
    """One line a method, in the order of the mapping, which gives its colour; its name shows under the pointer.

    Args:
        curves: curves by method.
        across: what the lower axis shows.
        names: names of the axis's places; None: round numbers.
        beyond: methods whose lines may leave the picture, so that the others are not pressed together.
    """
    framed = [curve for method, curve in curves.items() if method not in beyond] or list(curves.values())
    values = [value for curve in framed for value in curve.psnr]
    places = [place for curve in curves.values() for place in curve.at]
    up = nice_ticks(min(values), max(values))
    low, high = up[0], up[-1]
    first, last = min(places), max(places)
    ticks = dict(names) if names is not None else {tick: f"{tick:g}" for tick in nice_ticks(first, last)}
    ticks = {place: text for place, text in ticks.items() if first <= place <= last}

    def x(place: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place - first) / ((last - first) or 1.0)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    parts = [f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>' for v in up]
    parts += [f'<text x="{_LEFT - 6}" y="{y(v):.1f}" dy="4" text-anchor="end">{v:g}</text>' for v in up]
    parts += [f'<text x="{x(p):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{t}</text>' for p, t in ticks.items()]
    parts.append(f'<text x="{_LEFT}" y="12" text-anchor="middle">PSNR, dB</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{html.escape(across)}</text>')
    inside = f"{_LEFT - 4} {_TOP - 4} {_WIDTH - _LEFT - _RIGHT + 8} {_HEIGHT - _TOP - _BOTTOM + 8}"
    at_x, at_y, wide, high_ = inside.split()
    parts.append(f'<svg x="{at_x}" y="{at_y}" width="{wide}" height="{high_}" viewBox="{inside}">')
    for place, (method, curve) in enumerate(curves.items()):
        colour, dashes = style_of(place)
        points = [(x(at), y(value)) for at, value in zip(curve.at, curve.psnr, strict=True)]
        line = f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" stroke-dasharray="{dashes}"/>'
        few = names is not None or len(points) == 1
        dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points) if few else ""
        parts.append(f'<g stroke="{colour}"><title>{html.escape(method)}</title>{line}{dots}</g>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg></svg>'
