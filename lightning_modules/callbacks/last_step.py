"""Checkpoints every so many steps, every so many minutes, at the last step, and where a signal ends the run."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint

from longtake import stopping
from longtake.compat.lightning import cluster_environment, save_now, saved_step


class LastStepCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints every so many steps, and more: by the clock, at the last step, and before a signal's end.

    At the last step of all the run is validated too. Lightning itself leaves out what follows the last multiple; and
    what it saves once training is over holds averaged weights in place of those that training goes on with. All are
    saved when an optimizer's step is over, by all processes at the same one, so that each can be gone on from exactly.
    """

    def __init__(
        self,
        *,
        dirpath: str,
        filename: str,
        auto_insert_metric_name: bool,
        every_n_train_steps: int,
        every_minutes: float | None,
        save_top_k: int,
        save_last: bool,
    ) -> None:
        """Takes ModelCheckpoint's arguments, and one of its own.

        Args:
            dirpath: folder of the checkpoints.
            filename: pattern of their names.
            auto_insert_metric_name: whether names repeat the metrics' names.
            every_n_train_steps: optimizer steps between two checkpoints.
            every_minutes: age of the last checkpoint, above 0, at which last.ckpt is written anew; None: by steps
                alone.
            save_top_k: number of checkpoints, named by their steps, that are kept; -1 for all.
            save_last: whether last.ckpt is written.

        Raises:
            ValueError: if every_minutes is not above 0.
        """
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"callbacks.checkpoint.every_minutes={every_minutes} must be above 0, or null for never")
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            auto_insert_metric_name=auto_insert_metric_name,
            every_n_train_steps=every_n_train_steps,
            save_top_k=save_top_k,
            save_last=save_last,
            enable_version_counter=False,  # last.ckpt is replaced, also one that another run or a kill left there
        )
        self.every_minutes = every_minutes
        self._saved_at = 0.0
        self._step = 0

    @property
    def state_key(self) -> str:
        """ModelCheckpoint's, so that runs that began with that one go on."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal waits for the end of a step."""
        super().on_train_start(trainer, pl_module)
        self._saved_at, self._step = time.monotonic(), trainer.global_step
        environment = cluster_environment(trainer)
        if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue):
            stopping.take_signals()  # SLURM's job is saved and queued again by Lightning
        stopping.save_first(True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook, of which this callback's comes last: the average has taken the step already."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == self._step:  # a step accumulates several batches
            return
        self._step = trainer.global_step
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # and Lightning validates once more
            save_now(self, trainer, named=True, last=True)
        number, due = self._agreed(trainer)
        if number or due:
            self._save_newest(trainer)
        if number:
            # Where Lightning started the others, only the first says how it ended: it is killed when another one fails.
            # A launcher such as torchrun asks each process.
            alone = not trainer.is_global_zero and isinstance(cluster_environment(trainer), LightningEnvironment)
            stopped = stopping.Stopped(number, code=0 if alone else None)
            stopped.told = not trainer.is_global_zero
            raise stopped

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: if this step is saved already, a signal need not wait for the validation's end."""
        if saved_step(self) == trainer.global_step and not trainer.sanity_checking:
            stopping.save_first(False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        super().on_validation_end(trainer, pl_module)
        stopping.save_first(not trainer.sanity_checking and not trainer.should_stop)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: everything is saved, so a signal may end the run at once."""
        stopping.save_first(False)
        super().on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lightning's hook: no step will end any more, so a signal may end the run at once."""
        stopping.save_first(False)
        super().on_exception(trainer, pl_module, exception)

    def _agreed(self, trainer: Trainer) -> tuple[int, bool]:
        """The signal that asked any process to end, or 0, and whether the clock asks for a checkpoint."""
        number, due = stopping.asked(), False
        if self.every_minutes is not None:
            due = time.monotonic() - self._saved_at > 60 * self.every_minutes
        if trainer.world_size == 1:
            return number, due
        both = torch.tensor([float(number), float(due)], device=trainer.strategy.root_device)
        number, due = trainer.strategy.reduce(both, reduce_op="max").tolist()
        return int(number), bool(due)

    def _save_newest(self, trainer: Trainer) -> None:
        """last.ckpt, or where none is wanted the one that is named by its step."""
        save_now(self, trainer, named=not self.save_last, last=bool(self.save_last))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        self._saved_at = time.monotonic()
