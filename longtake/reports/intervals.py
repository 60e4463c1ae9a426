"""How sure a mean is, of values that come in groups."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean and its 95 % interval, by drawing whole groups again: videos of one level are alike.

    Args:
        values: one for each video; those that are not a number, for want of something to measure, do not count.
        groups: what each video belongs to, such as its level.

    Returns:
        Mean, lower and upper end; not a number if nothing was measured.
    """
    pairs = [(value, group) for value, group in zip(values, groups, strict=True) if np.isfinite(value)]
    if not pairs:
        return float("nan"), float("nan"), float("nan")
    names = sorted({group for _, group in pairs})
    sums = np.array([sum(value for value, group in pairs if group == name) for name in names])
    counts = np.array([sum(group == name for _, group in pairs) for name in names])
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(sums.sum() / counts.sum()), float(low), float(high)
