"""What the global tokens of a trained VIN read of a finished take.

Axes: b batch, k heads, t global tokens, f keyframes, s patches of a frame, h and w its rows and columns of patches.
"""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from longtake.pipeline import Pipeline
from longtake.studio.weights import Attention
from longtake.video import read_frames
from networks.batches import mask_of
from networks.interfaces import Condition

EMPTY = 128
"""Grey of places where there is no keyframe."""


@torch.no_grad()
def token_attention(pipeline: Pipeline, video: Path, prompt: str, *, time: float, seed: int = 0) -> Attention:
    """Encodes a take, noises it, and looks at the one read of the interface; heads are averaged.

    Args:
        pipeline: pipeline of weights of network=vin.
        video: a take of its size.
        prompt: prompt of the take.
        time: diffusion time in [0, 1] to which the take is noised; 1 is noise alone.
        seed: seed of the noise.

    Returns:
        Shares of each token, with the keyframes.

    Raises:
        ValueError: if the video cannot be read.
    """
    frames = read_frames(video, height=pipeline.height, width=pipeline.width, fps=pipeline.fps, crop_place=0.5)
    codec, device = pipeline.codec.to(pipeline.device), pipeline.device
    count = (len(frames) - 1) // codec.time_factor * codec.time_factor + 1
    pixels = rearrange(torch.from_numpy(frames[:count]), "f h w c -> 1 c f h w").to(device).float() / 127.5 - 1
    clean = codec.encode(pixels)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    level = torch.full((1, 1), time, device=device)
    text, mask = pipeline.text_encoder.encode([prompt])
    known = mask_of(mask)
    condition = Condition(
        torch.arange(clean.shape[2], device=device, dtype=torch.float32)[None],
        text.to(device),
        None if known is None else known.to(device),
    )
    index, weights = pipeline.module.network.attention_map(
        pipeline.module.objective.corrupt(clean, level, noise), level, condition
    )
    shown = tuple(max((int(frame) - 1) * codec.time_factor + 1, 0) for frame in index)
    rows = rows_of(weights.shape[-1], pipeline.height, pipeline.width)
    return Attention(
        weights=rearrange(weights[0].mean(dim=0), "t f (h w) -> t f h w", h=rows).cpu(),
        frames=shown,
        pictures=torch.from_numpy(frames[list(shown)]),
    )


def rows_of(patches: int, height: int, width: int) -> int:
    """Rows of so many patches of a frame of this size."""
    return round((patches * height / width) ** 0.5)


def over_frames(attention: Attention, most_tokens: int = 64, cell: int = 16) -> "np.ndarray":
    """A picture of which keyframes each token reads: a row a token, a column a keyframe, bright where it reads much.

    Tokens are sorted by where along the take the middle of what they read lies; each row is scaled by its largest
    share.

    Args:
        attention: what the global tokens read of a take.
        most_tokens: rows at most.
        cell: side of a square, in pixels.

    Returns:
        Pixels h w 3, uint8.
    """
    shares = attention.weights.sum(dim=(2, 3))
    shares = shares[token_order(attention)][:most_tokens]
    scaled = (shares / shares.amax(dim=1, keepdim=True).clamp(min=1e-12)).numpy()
    return np.kron(_colours(scaled), np.ones((cell, cell, 1), np.uint8))


def token_order(attention: Attention) -> Tensor:
    """Tokens by where along the take the middle of what they read lies, t."""
    shares = attention.weights.sum(dim=(2, 3))
    return (shares @ torch.arange(shares.shape[1], dtype=shares.dtype)).argsort()


def on_frames(attention: Attention, token: int, most_beside: int = 9) -> "np.ndarray":
    """The keyframes, lit where one token reads, in rows from left to right.

    Args:
        attention: what the global tokens read of a take.
        token: its place, from 0.
        most_beside: keyframes of a row at most; rows are as even as they can be.

    Returns:
        Pixels h w 3, uint8; places that are left over in the last row are grey.
    """
    weights = attention.weights[token]
    count, height, width = attention.pictures.shape[:3]
    light = torch.nn.functional.interpolate(weights[:, None], size=(height, width), mode="bilinear")[:, 0]
    light = (light / light.amax().clamp(min=1e-12)).sqrt()
    lit = attention.pictures.float() * (0.25 + 0.75 * light[..., None])
    rows = -(-count // most_beside)
    beside = -(-count // rows)
    empty = lit.new_full((rows * beside - count, height, width, 3), EMPTY)
    return rearrange(torch.cat([lit, empty]).round().byte().numpy(), "(r f) h w c -> (r h) (f w) c", r=rows)


def _colours(values: "np.ndarray") -> "np.ndarray":
    """Values in [0, 1] as colours from dark blue over green to yellow, which prints in grey too."""
    stops = np.array([[26, 20, 64], [30, 98, 130], [60, 168, 112], [250, 224, 70]], np.float32)
    place = values[..., None] * (len(stops) - 1)
    low = np.clip(place.astype(int), 0, len(stops) - 2)
    share = place - low
    return np.asarray((stops[low[..., 0]] * (1 - share) + stops[low[..., 0] + 1] * share).round(), np.uint8)
