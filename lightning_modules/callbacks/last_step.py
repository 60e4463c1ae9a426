"""The last step of a run is validated and saved like any other."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastStepCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints every so many steps, and one more, with a validation, at the last step of all.

    Lightning itself leaves out what follows the last multiple; and what it saves once training is over holds averaged
    weights in place of those that training goes on with.
    """

    def __init__(
        self,
        *,
        dirpath: str,
        filename: str,
        auto_insert_metric_name: bool,
        every_n_train_steps: int,
        save_top_k: int,
        save_last: bool,
    ) -> None:
        """All ModelCheckpoint's."""
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            auto_insert_metric_name=auto_insert_metric_name,
            every_n_train_steps=every_n_train_steps,
            save_top_k=save_top_k,
            save_last=save_last,
        )

    @property
    def state_key(self) -> str:
        """ModelCheckpoint's, so that runs that began with that one go on."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook; a loop that should stop validates once more."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step != trainer.max_steps:
            return
        trainer.should_stop = True
        if not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)
