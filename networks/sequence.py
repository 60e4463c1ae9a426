"""A backbone's window as one sequence of tokens: patches, their positions, and whom they attend to.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from networks.attention import Attend
from networks.blocks import Layout
from networks.interfaces import Condition, ContextTokens, TokenGrid
from networks.rope import Rotation, with_unplaced
from networks.video_network import PATCH


def to_patches(video: Tensor, patch: int = PATCH) -> Tensor:
    """Latents b c f h w to flattened patches b f s (c p q), of sides `patch`.

    Args:
        video: latents.
        patch: side of a token, in latents.

    Returns:
        b f s (c p q).

    Raises:
        ValueError: if the latents' sides are no multiples of it.
    """
    height, width = video.shape[3:]
    if height % patch or width % patch:
        raise ValueError(
            f"latents of {height}x{width} do not split into {patch}x{patch} patches; use multiples of {patch} (the "
            f"codec's space factor times {patch} in pixels)"
        )
    return rearrange(video, "b c f (h p) (w q) -> b f (h w) (c p q)", p=patch, q=patch)


def positions_of(frame_index: Tensor, height: int, width: int) -> Tensor:
    """Frame, row and column of every patch; frame_index: b f; height, width: in patches. Returns b (f h w) 3."""
    frames = rearrange(frame_index.float(), "b f -> b f 1 1")
    rows = torch.arange(height, device=frames.device, dtype=torch.float32).unsqueeze(1)
    columns = torch.arange(width, device=frames.device, dtype=torch.float32)
    positions = torch.stack(torch.broadcast_tensors(frames, rows, columns), dim=-1)
    return rearrange(positions, "b f h w three -> b (f h w) three")


class TokenSequence(NamedTuple):
    """Tokens b n d of the video, then those without a place; key_mask: b n+p with p of a memory, None where all are."""

    tokens: Tensor
    layout: Layout
    rotation: Rotation
    key_mask: Tensor | None
    attend: Attend | None


def join(
    frames: Tensor,
    rotation: Rotation,
    grid: TokenGrid,
    condition: Condition,
    extra_tokens: ContextTokens | None,
    detached_frames: Tensor | None,
) -> TokenSequence:
    """Embedded frames b f s d, of which frozen ones take no gradient, and behind them the extra tokens."""
    if detached_frames is not None and torch.is_grad_enabled():
        frames = torch.where(detached_frames[:, :, None, None], frames.detach(), frames)
    tokens = rearrange(frames, "b f s d -> b (f s) d")
    layout = Layout(grid.frames, grid.rows * grid.columns)
    if extra_tokens is not None:
        tokens = torch.cat([tokens, extra_tokens.tokens.to(tokens.dtype)], dim=1)
        rotation = with_unplaced(rotation, extra_tokens.tokens.shape[1])
    key_mask, attend = _attended_keys(condition, extra_tokens, layout), None
    if condition.attention_override is not None:
        assert key_mask is None, "mixed self-attention knows neither masks nor memory"
        assert extra_tokens is None, "mixed self-attention knows the video's tokens alone"
        attend = partial(condition.attention_override, grid=grid)
    return TokenSequence(tokens, layout, rotation, key_mask, attend)


def group_times(time: Tensor) -> Tensor:
    """Times b f of the modulation groups, b f+1: one a frame, and the noisiest frame's for tokens without a place.

    A time of all frames, 1 1, is all tokens'.
    """
    return time if time.shape == (1, 1) else torch.cat([time, time.amax(dim=1, keepdim=True)], dim=1)


def _attended_keys(condition: Condition, extra_tokens: ContextTokens | None, layout: Layout) -> Tensor | None:
    """Which keys are attended to, of the video, of extra tokens and of the memory in a row; None where all are."""
    frames, memory, device = condition.frame_mask, condition.memory, condition.frame_index.device
    video = None if frames is None else repeat(frames, "b f -> b (f s)", s=layout.per_frame)
    parts: list[tuple[int, Tensor | None]] = [(layout.num_frames * layout.per_frame, video)]
    if extra_tokens is not None:
        parts.append((extra_tokens.tokens.shape[1], extra_tokens.mask))
    if memory is not None:
        parts.append((memory.layers[0][0].shape[2], memory.mask))
    return join_masks(parts, len(condition.frame_index), device)


def join_masks(parts: Sequence[tuple[int, Tensor | None]], batch: int, device: torch.device) -> Tensor | None:
    """One mask b n of several tokens in a row; parts: how many, and b n of them or None for all; None where all are."""
    if all(mask is None for _, mask in parts):
        return None
    masks = [torch.ones(batch, n, dtype=torch.bool, device=device) if mask is None else mask for n, mask in parts]
    return torch.cat(masks, dim=1)
