"""Memory against arithmetic in training: which activations of the blocks are kept."""

from lightning import Callback, LightningModule, Trainer

from networks.checkpointing import Kept, keep_activations


class KeptActivations(Callback):
    """Sets which activations all blocks of the network keep, whatever backbone.checkpoint_activations says."""

    def __init__(self, *, kept: Kept) -> None:
        """Keeps the choice.

        Args:
            kept: "all", "products", "half" or "none", see `networks.checkpointing.keep_activations`.
        """
        self.kept: Kept = kept

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        keep_activations(pl_module, self.kept)
