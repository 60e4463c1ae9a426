"""Weights in another type of numbers, for sampling."""

import torch
from torch import nn

from networks.pretrained.ltx import LtxRope
from networks.pretrained.rope import PairRope
from networks.rope import RotaryEmbedding3D


def cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Turns a network's weights into numbers of another type, in place.

    Places stay exact: the frequencies of rotary embeddings are float32 whatever the weights are. So do the parts of a
    model of diffusers that it asks to keep so (Wan's time embedding and modulation).
    """
    exact = {name for part in network.modules() for name in getattr(part, "_keep_in_fp32_modules", None) or ()}
    for place, part in network.named_modules():
        if isinstance(part, RotaryEmbedding3D | PairRope | LtxRope) or exact.intersection(place.split(".")):
            continue
        for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            rounded = name == "weight" and hasattr(part, "stored_bytes")  # in few bits, whatever goes in
            if tensor.is_floating_point() and name not in exact and not rounded:
                tensor.data = tensor.data.to(dtype)
