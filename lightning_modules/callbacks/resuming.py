"""A resumed run goes on at the step it was saved at, on any number of devices, with the rates that are set now."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from longtake.compat.lightning import recount

log = logging.getLogger("longtake")


class Recount(Callback):
    """Counts the batches of a checkpoint anew, in those of this run.

    Lightning counts batches, of which a step accumulates several; data and noise go by steps. With another number of
    devices or clips_per_device the old count would end the first step too soon, and every validation after it.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook, which comes before it restores its loops."""
        recount(checkpoint, checkpoint["global_step"] * trainer.accumulate_grad_batches)


class Retune(Callback):
    """Lets another optimizer.lr, weight decay or schedule take effect in a resumed run, and says so.

    Lightning restores the rates of the checkpoint over those of the configuration. Moments, step and weights stay.
    """

    def __init__(self, *, changes: Mapping[str, tuple[Any, Any]]) -> None:
        """changes: what differs from the run before, by key: value before and now; nothing is touched without."""
        self.changes = dict(changes)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook: the schedule of before is not restored, since another one may have another state."""
        if self.changes:
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, which comes after it restored the optimizer."""
        if not self.changes:
            return
        (optimizer,), (config,) = trainer.optimizers, trainer.lr_scheduler_configs
        before = optimizer.param_groups[0]["lr"]
        fresh: Any = pl_module.configure_optimizers()
        retune(optimizer, config.scheduler, fresh["lr_scheduler"]["scheduler"], trainer.global_step)
        if trainer.is_global_zero:
            for key, (old, new) in self.changes.items():
                log.info(f"resume: {key} {old} -> {new}")
            now = optimizer.param_groups[0]["lr"]
            log.info(
                f"resume: the learning rate goes on at {now:.3g} from step {trainer.global_step}, not {before:.3g}"
            )


def retune(optimizer: Optimizer, scheduler: Any, fresh: LRScheduler, step: int) -> None:
    """Gives a restored optimizer and its schedule the settings that they are configured with now.

    optimizer, scheduler: of the run, changed in place; fresh: the same schedule as configured, around an optimizer of
    its own, both unused; step: that the run is at.
    """
    if isinstance(fresh, LambdaLR):  # each step's rate follows from its number
        fresh.last_epoch, fresh._step_count = step, step + 1
        fresh._last_lr = [base * share(step) for base, share in zip(fresh.base_lrs, fresh.lr_lambdas, strict=True)]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no optimizer steps before these
            for _ in range(step):
                fresh.step()
    for group, wanted, rate in zip(
        optimizer.param_groups, fresh.optimizer.param_groups, fresh.get_last_lr(), strict=True
    ):
        group.update({key: value for key, value in wanted.items() if key != "params"}, lr=rate)
    scheduler.load_state_dict(fresh.state_dict())
