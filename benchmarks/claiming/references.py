"""What methods are read beside: the real walks as they are, through the codec, and blurred. Axes: c f h w."""

from functools import cache
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from benchmarks.claiming.videos import Change
from longtake.releases.building import build
from longtake.releases.reading import read_run, weights_hash

SIGMA = 0.7
"""Of the blur, in pixels. Source: our choice; it leaves the walks about as sharp as the methods' videos are."""


def references(weights: Path) -> dict[str, Change]:
    """By their names in results.

    `real_decoded` says what the codec alone costs, which every method decodes with; `real_blurred` what each measure
    makes of a blur.

    weights: with the codec; without them there is no `real_decoded`.
    """
    found = {"real_blurred": Change(f"blurred by {SIGMA} pixels", blurred)}
    if not weights.exists():
        return found
    decoded = Change(
        f"through the codec {weights_hash(codec_of(weights))}", lambda video: through_codec(video, weights)
    )
    return {"real_decoded": decoded, **found}


def through_codec(video: Tensor, weights: Path) -> Tensor:
    """A video c f h w in [-1, 1] of as many frames as whole latents have, encoded and decoded."""
    codec = codec_of(weights)
    with torch.no_grad():
        decoded: Tensor = codec.decode(codec.encode(rearrange(video, "c f h w -> 1 c f h w")))[0]  # type: ignore[operator]
    return decoded.clamp(-1, 1)


@cache
def codec_of(weights: Path) -> nn.Module:
    """The codec of released weights."""
    codec: nn.Module = build(read_run(str(weights))[0]["codec"])
    return codec.eval()


def blurred(video: Tensor) -> Tensor:
    """Every frame of a video c f h w under a Gaussian."""
    from torchvision.transforms.functional import gaussian_blur

    frames = gaussian_blur(rearrange(video, "c f h w -> f c h w"), kernel_size=9, sigma=SIGMA)
    return rearrange(frames, "f c h w -> c f h w")
