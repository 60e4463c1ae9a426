"""torch.compile where it pays: on the blocks of a network, in training steps alone."""

import torch
from lightning import Callback, LightningModule, Trainer

from networks.blocks import DiTBlock
from networks.flexformer_blocks import JointBlock, QFormerBlock
from networks.pretrained.wan import WanBackbone
from networks.ranges import Text
from networks.video_interface import InterfaceBlock

_BLOCKS = (DiTBlock, InterfaceBlock, JointBlock, QFormerBlock)
_RECOMPILATIONS = 32  # one a clip length and kind of mask; Dynamo gives up silently at 8


class CompiledBlocks(Callback):
    """Compiles each kind of transformer block once for every shape it is trained on.

    Blocks and not networks: a few seconds a shape instead of minutes, and names of weights stay as they are.
    Validation and sampling run as written, as each of their shapes is met too rarely to pay for itself.
    """

    def __init__(self, *, backend: Text, dynamic: bool | None) -> None:
        """Both torch.compile's.

        dynamic: False for a few shapes; None where token counts are drawn at random, as a compressor's are.
        """
        self.backend = backend
        self.dynamic = dynamic

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the blocks; each is compiled when it first runs."""
        limits = torch.compiler.config
        limits.recompile_limit = max(limits.recompile_limit, _RECOMPILATIONS)
        for module in pl_module.modules():
            if isinstance(module, _BLOCKS):
                module.compile(backend=self.backend, dynamic=self.dynamic)
            elif isinstance(module, WanBackbone):  # its blocks are diffusers' own, run by a function of ours
                module.step = torch.compile(module.step, backend=self.backend, dynamic=self.dynamic)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on as written."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compiled again."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves nothing changed behind."""
        torch.compiler.set_stance("default")
