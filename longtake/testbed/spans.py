"""From measures of frames to a table: means with intervals over mazes, the span that memory can close, the controls.

A maze counts once, however many frames its questions have: mazes are what was drawn independently.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
CONTROLS = {
    "other_maze": "is given another maze's frames as memory",
    "shuffled": "is given the frames of its memory in another order",
    "unvisited": "is given a part of the maze that the target does not show",
}
"""By the ending of a method's name, METHOD.other_maze and so on, what is wrong with its memory."""
DRAWS = 4000  # of the bootstrap
RISES = "rises above the floor, though its memory is wrong,"
"""How the verdict of a control begins that a control must not get."""


class Estimate(NamedTuple):
    """A mean over mazes and its 95 % interval; low and high are None where there is only one maze."""

    mean: float
    low: float | None
    high: float | None


class Row(NamedTuple):
    """One method at one task.

    psnr in dB, ssim and lpips: means; share: of the span from floor to ceiling in dB that is closed; above_floor: dB;
    each None where it cannot be had.
    """

    method: str
    task: str
    questions: int
    mazes: int
    psnr: Estimate
    ssim: Estimate
    lpips: Estimate | None
    share: Estimate | None
    above_floor: Estimate | None


class Mazes:
    """Draws of mazes with replacement, the same for everything that is compared.

    Source: the percentile bootstrap over mazes, our choice.
    """

    def __init__(self, *, count: int, seed: int) -> None:
        self.count = count
        self.draws = np.random.default_rng(seed).integers(count, size=(DRAWS, count))

    def estimate(self, values: Values) -> Estimate:
        """The mean of one value a maze."""
        return self._interval(float(values.mean()), values[self.draws].mean(axis=1))

    def share(self, values: Values, *, floor: Values, ceiling: Values) -> Estimate | None:
        """The share of the span between floor and ceiling that a method's values reach.

        Args:
            values: the method's value for each maze.
            floor: for each maze, the value without history.
            ceiling: for each maze, the value with full history.

        Returns:
            The share, 1 for the ceiling, with its interval. None if the interval of the span itself reaches 0: then
            the task does not need memory, or too few mazes show that it does.
        """
        span = self.estimate(ceiling - floor)
        if (span.mean if span.low is None else span.low) <= 0:
            return None
        spans = (ceiling - floor)[self.draws].mean(axis=1)
        shares = (values - floor)[self.draws].mean(axis=1)[spans > 0] / spans[spans > 0]
        return self._interval(float((values - floor).mean() / span.mean), shares)

    def _interval(self, mean: float, drawn: Values) -> Estimate:
        if self.count < 2:
            return Estimate(mean, None, None)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return Estimate(mean, float(low), float(high))


def make_rows(
    task: str,
    measures: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    mazes: Sequence[str],
    floor: str | None,
    ceiling: str | None,
    seed: int,
) -> list[Row]:
    """The rows of one task.

    Args:
        task: its name.
        measures: mean over frames of each question, by method and measure (psnr, ssim, perhaps lpips).
        mazes: maze of each question.
        floor: the method without memory, if there is one.
        ceiling: the method that sees everything, if there is one.
        seed: seed of the bootstrap.
    """
    names, places = np.unique(np.asarray(mazes), return_inverse=True)
    draws = Mazes(count=len(names), seed=seed)

    def by_maze(method: str, measure: str) -> Values:
        sums = np.bincount(places, weights=np.asarray(measures[method][measure], dtype=np.float64))
        return np.asarray(sums / np.bincount(places))

    least = None if floor is None else by_maze(floor, "psnr")
    most = None if ceiling is None else by_maze(ceiling, "psnr")
    rows = []
    for method, found in measures.items():
        psnr = by_maze(method, "psnr")
        spanned = least is not None and most is not None
        rows.append(
            Row(
                method=method,
                task=task,
                questions=len(mazes),
                mazes=len(names),
                psnr=draws.estimate(psnr),
                ssim=draws.estimate(by_maze(method, "ssim")),
                lpips=draws.estimate(by_maze(method, "lpips")) if "lpips" in found else None,
                share=draws.share(psnr, floor=least, ceiling=most) if spanned else None,  # type: ignore[arg-type]
                above_floor=None if least is None else draws.estimate(psnr - least),
            )
        )
    return rows


def control_of(method: str, controls: Sequence[str]) -> str | None:
    """What is wrong with a method's memory, if it is a control: one that must not rise above the floor."""
    if method in controls:
        return "is named as a control"
    return CONTROLS.get(method.rpartition(".")[2]) if "." in method else None


def verdict(row: Row, *, tolerance: float) -> str:
    """Whether a control does what a control must: no better than the floor, which has no memory at all.

    A control is a method with the wrong memory. Where it rises above the floor, something else than the right memory
    makes frames better, so the rise of its method over the floor is no proof of memory.

    tolerance: dB by which a control may lie above the floor.
    """
    if row.above_floor is None:
        return "cannot be judged: no floor=METHOD was given"
    above = row.above_floor
    interval = "" if above.low is None else f" [{above.low:+.2f}, {above.high:+.2f}]"
    if above.mean > tolerance:
        return f"{RISES} by {above.mean:.2f} dB{interval}: memory does not explain a gain of this size"
    return f"does not rise above the floor by more than {tolerance:g} dB: {above.mean:+.2f} dB{interval}"
