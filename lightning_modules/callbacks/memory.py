"""Peak memory of the process, for runs without CUDA."""

import resource
import sys

from lightning import Callback, LightningModule, Trainer


def peak_resident_gib() -> float:
    """The largest resident size this process has had, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


class PeakMemory(Callback):
    """Logs the process's peak resident memory at every validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; loggers only, since self.log is closed here."""
        for logger in trainer.loggers:
            logger.log_metrics({"memory/peak_resident_gib": peak_resident_gib()}, step=trainer.global_step)
