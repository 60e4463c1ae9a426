"""Exponential moving average of the weights."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WarmAverage(WeightAveraging):
    """EMA whose decay rises as (1 + n) / (10 + n) to its value, so that it is of use in short runs too.

    It averages from the first step on: an average that starts later would be validated before it was ever updated
    (Lightning issue 21724). Source: the warm-up of diffusers' and TensorFlow's EMA.
    """

    def __init__(self, *, decay: float) -> None:
        """decay: share of the old average kept at each step, in the long run."""

        def average(old: Tensor, new: Tensor, num_averaged: Tensor | int) -> Tensor:
            warm = (1 + num_averaged) / (10 + num_averaged)
            kept = warm.clamp(max=decay) if isinstance(warm, Tensor) else min(warm, decay)
            return new + (old - new) * kept

        super().__init__(avg_fn=average)
