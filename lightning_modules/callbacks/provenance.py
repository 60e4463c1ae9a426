"""What a checkpoint must say about where it comes from."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from longtake.releases.checkpoints import CONFIG_KEY
from longtake.releases.outside import PARTS, PLAIN

KEPT = (*PARTS, *PLAIN, "optimizer", "scheduler")
"""What loading and resuming read. The whole config lies in the run's folder config/; a checkpoint, which may be handed
on, has no folder of the machine but those of a codec and of pretrained models, which it cannot be used without.
"""


class Provenance(Callback):
    """Puts what the resolved config says of the weights into every checkpoint, to rebuild them without it."""

    def __init__(self, *, config: dict[str, Any]) -> None:
        """config: plain dicts, lists, strings and numbers, so that checkpoints load with weights_only."""
        self.config = {key: config[key] for key in KEPT if key in config}
        self.config["pretrained"] = config.get("pretrained") is not None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook."""
        checkpoint[CONFIG_KEY] = self.config
