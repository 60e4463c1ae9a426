"""Exponential moving average of the weights."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from longtake.compat.lightning import average_of
from networks.ranges import Share
from networks.sharding import copy_pieces, is_sharded, local


class WarmAverage(WeightAveraging):
    """EMA whose decay rises as (1 + n) / (10 + n) to its value, so that it is of use in short runs too.

    It averages from the first step on: an average that starts later would be validated before it was ever updated
    (Lightning issue 21724). Source: the warm-up of diffusers' and TensorFlow's EMA.
    """

    def __init__(self, *, decay: Share) -> None:
        """decay: share of the old average kept at each step, in the long run."""
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Brings the average to the module's device, and keeps what is frozen once in memory and in checkpoints.

        Lightning makes the average before it moves the module: left there, every step would fetch all weights from
        the device. The count of steps stays on the CPU, where reading it waits for nothing.
        """
        average = average_of(self).module
        if is_sharded(pl_module):  # each process averages its own pieces
            copy_pieces(pl_module, average)
        average.to(pl_module.device)
        for mean, weight in zip(average.parameters(), pl_module.parameters(), strict=True):
            if mean is not weight and not weight.requires_grad and not is_sharded(pl_module):
                mean.data = weight.data

    def _average(self, means: list[Tensor], weights: list[Tensor], _: Tensor | int) -> None:
        steps = int(average_of(self).n_averaged)
        kept = min((1 + steps) / (10 + steps), self.decay)
        # What is kept once stays bit by bit: interpolated with itself, -0 would become 0 and change a fingerprint.
        pairs = zip(map(local, means), map(local, weights), strict=True)
        apart = [(mean, weight) for mean, weight in pairs if not _same(mean, weight)]
        if not apart:
            return
        means, weights = (list(side) for side in zip(*apart, strict=True))
        if means[0].is_floating_point():
            get_ema_multi_avg_fn(kept)(means, weights, steps)
            return
        for mean, weight in zip(means, weights, strict=True):  # whole numbers are tables
            mean.copy_(weight)


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or one.data_ptr() == other.data_ptr()
