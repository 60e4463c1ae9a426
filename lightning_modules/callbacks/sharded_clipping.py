"""Gradient clipping where gradients are sharded."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from networks.ranges import Positive


class ShardedClipping(Callback):
    """Clips by the norm over all shards; Lightning's own `gradient_clip_val` refuses to under FSDP.

    Source: the documentation of torch.distributed.fsdp.FullyShardedDataParallel.clip_grad_norm_, which asks for a call
    on the outermost module.
    """

    def __init__(self, *, max_norm: Positive) -> None:
        """Keeps the limit.

        Args:
            max_norm: largest norm of all gradients together.
        """
        self.max_norm = max_norm

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Lightning's hook, once a step, when gradients have been summed over processes."""
        sharded: Any = trainer.model
        sharded.clip_grad_norm_(self.max_norm)
