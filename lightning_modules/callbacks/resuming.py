"""A run goes on at the step it was saved at, on any number of devices."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class Recount(Callback):
    """Counts the batches of a checkpoint anew, in those of this run.

    Lightning counts batches, of which a step accumulates several; data and noise go by steps. With another number of
    devices or clips_per_device the old count would end the first step too soon, and every validation after it.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook, which comes before it restores its loops."""
        batches = checkpoint["global_step"] * trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            ended = counts["processed"] - counts["completed"]  # 1 where it was saved before its step was quite over
            counts.update(ready=batches, started=batches, processed=batches, completed=batches - ended)
