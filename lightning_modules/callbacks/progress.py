"""A progress bar that counts optimizer steps and shows losses, and nothing of the loggers."""

import math
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from networks.ranges import Count


class StepProgressBar(TQDMProgressBar):
    """Lightning's bar without the loggers' version, which is a folder's name here, and without the number of an epoch.

    A run's data has no end, so that everything is epoch 0.
    """

    def __init__(self, *, refresh_rate: Count = 1) -> None:
        """Makes the bar.

        Args:
            refresh_rate: batches between two refreshments, at least 0; 0 shows no bar.
        """
        super().__init__(refresh_rate=refresh_rate)

    def on_train_epoch_start(self, trainer: Trainer, *others: Any) -> None:
        """Lightning's hook, in place of one that names the bar by its epoch."""
        steps, bar = self.total_train_batches, self.train_progress_bar
        bar.reset(total=steps if math.isfinite(steps) else None)
        bar.set_description("training")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Lightning's hook: what stands behind the bar."""
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown
