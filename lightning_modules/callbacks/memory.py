"""Peak memory of the process, for runs without CUDA."""

from lightning import Callback, LightningModule, Trainer

from longtake.process import peak_resident_gib


class PeakMemory(Callback):
    """Logs the process's peak resident memory at every validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; loggers only, since self.log is closed here."""
        for logger in trainer.loggers:
            logger.log_metrics({"memory/peak_resident_gib": peak_resident_gib()}, step=trainer.global_step)
