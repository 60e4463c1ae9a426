"""Stops a run whose loss is no longer a number."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from longtake.arguments import argument
from networks.ranges import Size
from networks.sharding import is_sharded, local


class FiniteLoss(Callback):
    """Looks at the loss every few steps, so that the device is not made to wait at each; nothing bad is saved after.

    The loss is summed on the device in between: a single NaN is seen at the next look.
    """

    def __init__(self, *, every_n_steps: Size) -> None:
        """every_n_steps: batches between two looks."""
        self.every_n_steps = every_n_steps
        self.total: torch.Tensor | float = 0.0

    def _look(self, trainer: Trainer) -> None:
        if not torch.isfinite(torch.as_tensor(self.total)):
            raise ValueError(
                f"the training loss stopped being a number before step {trainer.global_step}; {_advice(trainer)}"
            )
        self.total = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook; outputs carries the loss."""
        self.total = self.total + outputs["loss"].detach()
        if (batch_idx + 1) % self.every_n_steps == 0:
            self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A look before anything is written, at the loss and at the weights."""
        self._look(trainer)
        weights = (value for value in checkpoint["state_dict"].values() if value.is_floating_point())
        finite = all(bool(torch.isfinite(local(value)).all()) for value in weights)
        if is_sharded(pl_module):  # each process has looked at its own pieces
            finite = trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            raise ValueError(f"the weights stopped being numbers; {_advice(trainer)}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: looks at the loss before anything is saved."""
        if not trainer.sanity_checking:
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: looks at the loss once more, after the last step."""
        self._look(trainer)


def _advice(trainer: Trainer) -> str:
    """What to do now: a checkpoint is only named that is there."""
    saved = getattr(trainer.checkpoint_callback, "_last_checkpoint_saved", "") or trainer.ckpt_path
    if not saved:
        return "nothing was saved before: start again with a smaller optimizer.lr"
    optimizer = trainer.optimizers[0].param_groups[0]
    rate = optimizer.get("initial_lr", optimizer["lr"]) / 10
    return (
        f"go on from the last good checkpoint with a smaller rate: {argument('resume', saved)} optimizer.lr={rate:.3g}"
    )
