"""The codec before its training: the best linear autoencoder of its blocks, by principal components.

Source: our choice. The first thousand steps of a codec go into finding about this map; it can be computed in seconds.
Axes: n blocks, d values of a block, c channels, f frames, h height, w width.
"""

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.codecs.causal import CausalVideoAutoencoder, ResBlock

_FLOOR = 1e-3  # of a component's variance, so that what hardly varies is not blown up


@torch.no_grad()
def start_linear(codec: CausalVideoAutoencoder, video: Tensor) -> None:
    """Sets the weights so that latents are the first principal components of blocks, and decoding is their sum.

    Residual blocks and convolutions over time begin as identities, as ever, and are free to learn.

    video: b 3 4n+1 h w, pixels in [-1, 1]: many places, for the components to mean something.
    """
    fine, coarse = _patches(codec, video)
    _, fine_axes, fine_scale = _components(fine, _conv(codec.encoder, 0).out_channels)
    mean, axes, scale = _components(coarse, _conv(codec.decoder, 0).out_channels)
    # A block is two by two patches, in the order in which `_patches` lists them.
    spread, gather = _blocked(fine_axes * fine_scale), _blocked(fine_axes / fine_scale)
    for block in (*codec.encoder.layers, *codec.decoder.layers):
        if isinstance(block, ResBlock):
            cast(Tensor, block.second.bias).zero_()
    _set(_conv(codec.encoder, 0), (fine_axes / fine_scale).T, 1)
    down = next(layer for layer in codec.encoder.layers if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2))
    through = rearrange((axes / scale).T @ spread, "c (p q k) -> c k p q", p=2, q=2)
    down.weight.zero_()
    down.weight[:, :, 1:3, 1:3] = through
    cast(Tensor, down.bias).copy_(-(axes / scale).T @ mean)
    count = codec.channels
    _set(_conv(codec.encoder, -1), torch.eye(count, down.out_channels), 0)
    first = _conv(codec.decoder, 0)
    first.weight[:count] = 0
    first.weight[:count, :, 1, 1] = torch.eye(count)
    cast(Tensor, first.bias)[:count] = 0
    up = next(layer for layer in codec.decoder.layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))
    order = "(p q k) c -> (k p q) c"  # as PixelShuffle reads channels
    back = torch.zeros(up.out_channels, up.in_channels)
    back[:, :count] = rearrange(gather.T @ (axes * scale)[:, :count], order, p=2, q=2)
    _set(up, back, 0)
    cast(Tensor, up.bias).copy_(rearrange(gather.T @ mean[:, None], order, p=2, q=2)[:, 0])
    _set(_conv(codec.decoder, -1), fine_axes * fine_scale, 1)


def _patches(codec: CausalVideoAutoencoder, video: Tensor) -> tuple[Tensor, Tensor]:
    """Values n d of all patches of four by four pixels and four frames, and of all blocks of two by two of these."""
    side = {"t": codec.time_factor, "p": codec.patch, "q": codec.patch}
    folded = rearrange(video[:, :, 1:].float(), "b c (f t) (h p) (w q) -> b f h w (c t p q)", **side)
    coarse = rearrange(folded, "b f (h p) (w q) d -> (b f h w) (p q d)", p=2, q=2)
    return rearrange(folded, "b f h w d -> (b f h w) d"), coarse


def _components(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean d, the first components d k and their standard deviations k; zeros where there are fewer than k."""
    mean = values.mean(0)
    centred = (values - mean).double()
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(values))
    variance, axes = variance.flip(0)[:count], axes.flip(1)[:, :count]
    scale = (variance.clamp(min=0) + _FLOOR).sqrt()
    missing = count - axes.shape[1]
    return (
        mean,
        nn.functional.pad(axes, (0, missing)).float(),
        nn.functional.pad(scale, (0, missing), value=1.0).float(),
    )


def _blocked(patch: Tensor) -> Tensor:
    """The same map of each of a block's four patches: d k to 4d 4k."""
    return torch.block_diag(*[patch] * 4)


def _conv(stack: nn.Module, place: int) -> nn.Conv2d:
    return cast(nn.Conv2d, cast(nn.ModuleList, stack.layers)[place])


def _set(conv: nn.Conv2d, matrix: Tensor, centre: int) -> None:
    """A convolution that multiplies every place by a matrix, c k."""
    conv.weight.zero_()
    conv.weight[:, :, centre, centre] = matrix
    cast(Tensor, conv.bias).zero_()
