"""torch.compile where it pays: on the blocks of a network, in training steps alone."""

import torch
from lightning import Callback, LightningModule, Trainer

from networks.compiling import compile_blocks
from networks.ranges import Text


class CompiledBlocks(Callback):
    """Compiles each kind of transformer block once for every shape it is trained on.

    Blocks and not networks: a few seconds a shape instead of minutes, and names of weights stay as they are.
    Validation and sampling run as written, as each of their shapes is met too rarely to pay for itself.
    """

    def __init__(self, *, backend: Text, dynamic: bool | None) -> None:
        """Keeps the arguments of torch.compile.

        Args:
            backend: torch.compile's backend, a name or a function.
            dynamic: False for a few shapes; None where token counts are drawn at random, as a compressor's are.
        """
        self.backend = backend
        self.dynamic = dynamic

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the blocks; each is compiled when it first runs."""
        compile_blocks(pl_module, backend=self.backend, dynamic=self.dynamic)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: validation runs the blocks uncompiled, since its lengths would each be compiled."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: training runs the compiled blocks again."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves nothing changed behind."""
        torch.compiler.set_stance("default")
