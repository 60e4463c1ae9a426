"""Where VIN's chunks lie on a canvas, and how their predictions become one.

Axes: b batch, c channels, f frames of the canvas, k windows, j frames of a window, h height, w width.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from networks.parts import Span


class Windows(NamedTuple):
    """Windows of one size; every tensor k j.

    frames: canvas frame in each slot; own: True where the window's prediction is the canvas's; fused: weight of each
    slot under the linear cross-fade.
    """

    frames: Tensor
    own: Tensor
    fused: Tensor


def plan_windows(num_frames: int, chunk_frames: int, local_frames: int, device: torch.device) -> tuple[Windows, ...]:
    """Cuts a canvas into consecutive chunks, each led by `local_frames` frames of the chunk before.

    The first chunk has no context and is a size by itself; the others follow together. A canvas of at most one chunk
    is one window. A remainder is covered by a last window that is flush with the end: full size, with more context
    (our choice: one shape, so one batch). For every canvas frame the weights sum to 1, in `own` as in `fused`.
    Source: VIN for chunks and their local context; the cross-fade's weight W(k) = k - k0 + 1/2, for frame k of an
    overlap that begins at k0, is our choice: it is symmetric.

    Args:
        num_frames: latent frames of the canvas.
        chunk_frames: latent frames of a chunk, F_chunk.
        local_frames: latent frames of context in front of a chunk, F_local; from 0 to chunk_frames.
        device: device of the tables.

    Returns:
        Windows of one size each: the first chunk, then the others, if there are any.

    Raises:
        ValueError: if the context is longer than a chunk.
    """
    if not 0 <= local_frames <= chunk_frames:
        raise ValueError(f"local_frames={local_frames} must lie between 0 and chunk_frames={chunk_frames}")
    zero = torch.zeros(1, 1, dtype=torch.long, device=device)
    size = min(chunk_frames, num_frames)
    opening = _weighted(torch.arange(size, device=device).unsqueeze(0), zero, zero + size, local_frames, num_frames)
    if num_frames <= chunk_frames:
        return (opening,)
    first_own = torch.arange(chunk_frames, num_frames, chunk_frames, device=device).unsqueeze(1)
    end = (first_own + chunk_frames).clamp(max=num_frames)
    size = min(chunk_frames + local_frames, num_frames)
    frames = end - size + torch.arange(size, device=device)
    return opening, _weighted(frames, first_own, end, local_frames, num_frames)


def _weighted(frames: Tensor, first_own: Tensor, end: Tensor, local_frames: int, num_frames: int) -> Windows:
    """Who owns each slot, and the fade over the last frames that a chunk owns: up in the next window, down in its."""
    own = frames >= first_own
    fade_in = (frames - (first_own - local_frames) + 0.5) / max(local_frames, 1)
    fade_out = (frames - (end - local_frames) + 0.5) / max(local_frames, 1)
    in_overlap = (frames >= first_own - local_frames) & ~own & (first_own > 0)
    gives_way = own & (frames >= end - local_frames) & (end < num_frames)
    fused = torch.where(in_overlap, fade_in, own.float())
    return Windows(frames, own, torch.where(gives_way, 1 - fade_out, fused))


def windows_of(plan: tuple[Windows, ...], share: slice) -> tuple[Windows, ...]:
    """The part of a plan's windows that a slice names, with all windows of the plan counted in one row.

    A group of windows of the plan may be empty in the result.
    """
    parts, first = [], 0
    for windows in plan:
        own = slice(max(share.start - first, 0), max(share.stop - first, 0))
        parts.append(Windows(*(x[own] for x in windows)))
        first += len(windows.frames)
    return tuple(parts)


def spans_of(frames: Tensor) -> list[Span]:
    """The frames that each window reaches over; frames: k j, in host memory, one after another in each."""
    return [Span(own[0], own[-1] + 1) for own in frames.tolist()]


def call_sizes(count: int, most: int) -> list[int]:
    """How many of `count` windows go into each call, at most `most` of them (0: all), as evenly as can be."""
    calls = -(-count // most) if most else min(count, 1)
    return [(count + place) // calls for place in range(calls)]


def cut(canvas: Tensor, frames: Tensor) -> Tensor:
    """Gathers windows and folds them into the batch: b c f … to (b k) c j …; frames: k j."""
    windows = canvas[:, :, frames]
    return rearrange(windows, "b c k j ... -> (b k) c j ...")


def cut_rows(values: Tensor, frames: Tensor) -> Tensor:
    """Gathers values of every frame for windows: b f … to (b k) j …; one value for all frames, 1 1, stays as it is."""
    return values if values.shape == (1, 1) else rearrange(values[:, frames], "b k j ... -> (b k) j ...")


def paste(canvas: Tensor, predictions: Tensor, frames: Tensor, weights: Tensor) -> Tensor:
    """Adds weighted window predictions onto a canvas b c f h w, out of place.

    predictions: (b k) c j h w; frames: k j; weights: b k j, or 1 k j.
    """
    batch = canvas.shape[0]
    predictions = rearrange(predictions, "(b k) c j h w -> b c (k j) h w", b=batch)
    weights = rearrange(weights, "b k j -> b 1 (k j) 1 1").to(predictions.dtype)
    return canvas.index_add(2, frames.flatten(), predictions * weights)
