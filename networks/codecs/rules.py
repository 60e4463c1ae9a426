"""Sizes that a causal video codec can take: its frame rule and its multiples of height and width.

The frame rule: time_factor · n + 1 pixel frames become n + 1 latent frames, since the first frame stands alone.
"""

from collections.abc import Callable, Iterable, Iterator
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


def nearest_num_frames(num_frames: int, time_factor: int) -> tuple[int, int]:
    """Name the nearest numbers of pixel frames, at most and at least `num_frames`, that keep the frame rule.

    Both are `num_frames` itself where it fits; below one frame both are 1.
    """
    if num_frames < 1:
        return 1, 1
    below = (num_frames - 1) // time_factor * time_factor + 1
    return below, below if below == num_frames else below + time_factor


def num_latent_frames(num_frames: int, time_factor: int) -> int:
    """Latent frames of `num_frames` pixel frames.

    Args:
        num_frames: pixel frames.
        time_factor: pixel frames of a latent frame, the first one excepted.

    Returns:
        Latent frames.

    Raises:
        ValueError: `num_frames` breaks the frame rule.
    """
    below, above = nearest_num_frames(num_frames, time_factor)
    if num_frames != below:
        raise ValueError(f"num_frames is {num_frames}, but must be {time_factor}·n + 1: take {_either(below, above)}")
    return (num_frames - 1) // time_factor + 1


def num_pixel_frames(num_frames: int, time_factor: int) -> int:
    """Pixel frames that `num_frames` latent frames stand for."""
    return (num_frames - 1) * time_factor + 1


def check_size(num_frames: int, height: int, width: int, time_factor: int, space_factor: int, where: str) -> None:
    """Check a pixel video's size against a codec's rules.

    Args:
        num_frames: pixel frames.
        height: pixels.
        width: pixels.
        time_factor: pixel frames per latent frame, the first one excepted.
        space_factor: pixels per latent place, in height and in width.
        where: who asks, as the error's first words, such as "codec wan".

    Raises:
        ValueError: a size does not fit; the message names the nearest that do.
    """
    faults = []
    below, above = nearest_num_frames(num_frames, time_factor)
    if num_frames != below:
        faults.append(f"{num_frames} frames (must be {time_factor}·n + 1: take {_either(below, above)})")
    for name, size in (("height", height), ("width", width)):
        if size < 1 or size % space_factor:
            below = max(size // space_factor, 1) * space_factor
            above = max(-(-size // space_factor), 1) * space_factor
            faults.append(f"{name} {size} (must be a multiple of {space_factor}: take {_either(below, above)})")
    if faults:
        raise ValueError(f"{where} cannot take {' and '.join(faults)}")


def _either(below: int, above: int) -> str:
    return str(below) if below == above else f"{below} or {above}"


def encode_behind_past(
    encode: Callable[[Tensor], Tensor], pieces: Iterable[Tensor], time_factor: int, past_frames: int
) -> Iterator[Tensor]:
    """Latents of a stream by an encoder that knows no streams: each piece is encoded behind some of its past.

    Exact where the encoder is causal and looks no further back than that, save that the past begins with a latent of
    its own kind; what is encoded of the past is dropped.

    Args:
        encode: b 3 f h w with f = time_factor · n + 1, to b c n+1 h w.
        pieces: b 3 f h w, the first of time_factor · n + 1 frames, the others of time_factor · n.
        time_factor: pixel frames per latent frame, the first one excepted.
        past_frames: pixel frames before a piece that are encoded with it, a multiple of time_factor.

    Yields:
        Latents b c f h w, piece by piece.
    """
    past: Tensor | None = None
    for piece in pieces:
        window = piece if past is None else torch.cat([past, piece], dim=2)
        latents = encode(window)
        yield latents if past is None else latents[:, :, -(piece.shape[2] // time_factor) :]
        kept = min((window.shape[2] - 1) // time_factor * time_factor, past_frames) + 1
        past = window[:, :, -kept:]


def check_lengths(num_frames: int, height: int, width: int, codec: Any, patch: int, frame_patch: int = 1) -> None:
    """Refuses frames, heights and widths that do not fit the codec, or whose latents do not split into patches.

    Args:
        num_frames: pixel frames.
        height: pixels.
        width: pixels.
        codec: codec with time_factor and space_factor.
        patch: side of a token, in latents.
        frame_patch: latent frames of a token.

    Raises:
        ValueError: naming the nearest sizes that do.
    """
    factor, side = codec.time_factor, codec.space_factor * patch
    for name, value in (("num_frames", num_frames), ("height", height), ("width", width)):
        if not isinstance(value, Integral):
            raise ValueError(f"{name}={value!r} must be a whole number")
    if num_frames < 1 or (num_frames - 1) % factor:
        near = " or ".join(str(size) for size in dict.fromkeys(nearest_num_frames(num_frames, factor)))
        raise ValueError(f"num_frames={num_frames} breaks the codec's rule {factor}n + 1: use {near}")
    num_latents = (num_frames - 1) // factor + 1
    if num_latents % frame_patch:
        whole = num_latents // frame_patch * frame_patch
        sizes = [factor * (count - 1) + 1 for count in (whole, whole + frame_patch) if count]
        raise ValueError(
            f"num_frames={num_frames} are {num_latents} latent frames, which do not split into tokens of {frame_patch} "
            f"latent frames: use {' or '.join(str(size) for size in sizes)}"
        )
    for name, value in (("height", height), ("width", width)):
        if value < side or value % side:
            near_size = max(round(value / side), 1) * side
            raise ValueError(f"{name}={value} must be a multiple of {side} (codec and patch): use {near_size}")
