"""Segments that were compressed and restored: by a compressor, or by nothing learned.

Axes: n segments, c channels, f frames, h height, w width (latents).
"""

from operator import itemgetter
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from torch import nn

from benchmarks.trained import compressor_config
from networks.interfaces import Compressor, Reconstruction, VideoBatch
from networks.interpolated_rope import cell_weights, query_grid
from networks.video_network import PATCH

BATCH = 32


class Made(NamedTuple):
    """What comes back of n segments, from how many tokens of how many numbers each."""

    back: Reconstruction
    tokens: int
    width: int


def compressor_of(module: Any) -> nn.Module:
    """The compressor of trained weights, whether alone or inside a network.

    Raises:
        ValueError: if there is none.
    """
    found = getattr(module.network, "compressor", module.network)
    if not hasattr(found, "encode") or not hasattr(found, "decode"):
        raise ValueError("these weights hold no compressor: give those of flexformer_freedoom, or of network=lovic")
    return cast(nn.Module, found)


def kind_of(config: Any) -> str:
    """A compressor's class and its variant, as the config of its weights says."""
    kind = compressor_config(config)
    said = [str(kind[key]) for key in ("block", "strategy", "rule") if key in kind]
    return " ".join([kind["_target_"].rsplit(".", 1)[-1], *said])


@torch.no_grad()
def compress(compressor: nn.Module, segments: VideoBatch, rate: float) -> Made:
    """Encodes and decodes n segments without noise."""
    coder = cast(Compressor, compressor)
    _, _, frames, height, width = segments.video.shape
    parts = []
    for begin in range(0, len(segments.video), BATCH):
        part = segments.map(itemgetter(slice(begin, begin + BATCH)))
        context = coder.encode(part, torch.zeros(len(part.video)), rate)
        parts.append(coder.decode(context, frames, height, width, part.text.shape[1]))
    back = Reconstruction(*(torch.cat([getattr(part, name) for part in parts]) for name in Reconstruction._fields))
    return Made(back, context.tokens.shape[1], coder.width)


def cell_means(segments: VideoBatch, rate: float) -> Made:
    """Patches averaged over the cells of FlexFormer's uniform grid, and given back to the patches they cover."""
    video = rearrange(segments.video, "n c f (h p) (w q) -> n f h w (c p q)", p=PATCH, q=PATCH)
    sizes = (video.shape[1], video.shape[2], video.shape[3])
    grid = query_grid(sizes, rate, strategy="uniform", rule="centre")
    weights = [cell_weights(size, count) for size, count in zip(sizes, grid.counts, strict=True)]
    pooled = torch.einsum("nfhwd,af,bh,cw->nabcd", video, *weights)
    shares = [weight / weight.sum(dim=0) for weight in weights]  # a patch between two cells has both
    spread = torch.einsum("nabcd,af,bh,cw->nfhwd", pooled, *shares)
    made = rearrange(spread, "n f h w (c p q) -> n c f (h p) (w q)", p=PATCH, q=PATCH)
    return Made(Reconstruction(made, torch.zeros_like(segments.text)), len(grid.positions), video.shape[-1])
