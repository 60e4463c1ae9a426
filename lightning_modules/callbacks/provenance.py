"""What a checkpoint must say about where it comes from."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from longtake.releases.checkpoints import CONFIG_KEY


class Provenance(Callback):
    """Puts the resolved config into every checkpoint, so that it can be rebuilt without the command line."""

    def __init__(self, *, config: dict[str, Any]) -> None:
        """config: plain dicts, lists, strings and numbers, so that checkpoints load with weights_only."""
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook."""
        checkpoint[CONFIG_KEY] = self.config
