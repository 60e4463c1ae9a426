"""torch.compile on the blocks of a network, and not on the whole of it.

Seconds a shape instead of minutes; names of weights stay as they are, and blocks of one kind share their graphs.
"""

from typing import Any, Literal

import torch
from torch import nn

from networks.blocks import DiTBlock
from networks.flexformer_blocks import JointBlock, QFormerBlock
from networks.pretrained.backbone import PretrainedBackbone
from networks.video_interface import InterfaceBlock

Mode = Literal["default", "max-autotune-no-cudagraphs"]

BLOCKS = (DiTBlock, InterfaceBlock, JointBlock, QFormerBlock)
_RECOMPILATIONS = 32  # one a clip length and kind of mask; Dynamo gives up silently at 8


def compile_blocks(network: nn.Module, *, backend: Any, dynamic: bool | None, mode: Mode = "default") -> None:
    """Marks each kind of transformer block; it is compiled when it first runs.

    Args:
        network: changed in place.
        backend: torch.compile's, a name or a function.
        dynamic: torch.compile's: True for one graph of many lengths, False for a few shapes, None for both in turn.
        mode: mode of inductor.
    """
    limits = torch.compiler.config
    limits.recompile_limit = max(limits.recompile_limit, _RECOMPILATIONS)
    own: Any = {"mode": mode} if backend == "inductor" else {}
    for module in network.modules():
        if isinstance(module, BLOCKS):
            module.compile(backend=backend, dynamic=dynamic, **own)
        elif isinstance(module, PretrainedBackbone):  # its blocks are diffusers' own, run by a function of ours
            module.step = torch.compile(module.step, backend=backend, dynamic=dynamic, **own)
