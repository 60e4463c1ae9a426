"""Rotary position embedding in three dimensions from float positions.

Axes: b batch, n tokens, d width of a head. Positions are (frame, height, width), fractional and negative allowed, so
cos and sin are computed on the fly in fp32; integer tables could not express them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

AXIS_SHARES = (0.25, 0.375, 0.375)
"""Share of a head's width for frame, height, width. Source: CogVideoX's split (arXiv 2408.06072)."""


class Rotation(NamedTuple):
    """Tables that queries and keys are multiplied with, both b 1 n w, fp32.

    For `rotate` w is d: every angle stands in both halves, and sin is negative in the first. For interleaved pairs, as
    Wan's, w is d/2.
    """

    cos: Tensor
    sin: Tensor


class RotaryEmbedding3D(nn.Module):
    """Turns positions into rotations for heads of one width."""

    frequencies: Tensor
    axis: Tensor

    def __init__(self, *, head_width: int, theta: float) -> None:
        """theta: base of the geometric frequencies, in positions."""
        super().__init__()
        if head_width % 8:
            raise ValueError(f"head width {head_width} cannot be split into three axes: it must be a multiple of 8")
        pairs = head_width // 2
        num_frame = round(pairs * AXIS_SHARES[0])
        num_height = (pairs - num_frame) // 2
        counts = (num_frame, num_height, pairs - num_frame - num_height)
        frequencies = [theta ** (-torch.arange(n, dtype=torch.float32) / n) for n in counts]
        self.register_buffer("frequencies", torch.cat(frequencies), persistent=False)
        axis = [place for place, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("axis", torch.tensor(axis), persistent=False)

    def of_grid(self, frame_index: Tensor, rows: int, columns: int) -> Rotation:
        """The same of a video's patches, whose angles are those of its frames, rows and columns: few, and bit by bit.

        frame_index: b f, any real; rows, columns: patches of a frame. Returns tables of b (f h w).
        """
        places = (frame_index.float(), *(torch.arange(n, device=frame_index.device).float() for n in (rows, columns)))
        angles = [place.unsqueeze(-1) * self.frequencies for place in places]
        cos, sin = (_on_grid([turn(x) for x in angles], self.axis) for turn in (torch.cos, torch.sin))
        return Rotation(torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1))

    def forward(self, positions: Tensor) -> Rotation:
        """positions: b n 3, any real."""
        angles = positions.float()[..., self.axis] * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        return Rotation(torch.cat([cos, cos], dim=-1).unsqueeze(1), torch.cat([-sin, sin], dim=-1).unsqueeze(1))


def _on_grid(places: list[Tensor], axis: Tensor) -> Tensor:
    """Values of every token, b 1 (f h w) p: of its frame b f p, row h p or column w p, by the axis of each pair p."""
    frames, rows, columns = places
    sizes = (len(frames), frames.shape[1], len(rows), len(columns), len(axis))
    sides = (frames[:, :, None, None], rows[None, None, :, None], columns[None, None, None])
    of_side = [side.expand(sizes) for side in sides]
    found = torch.where(axis == 0, of_side[0], torch.where(axis == 1, of_side[1], of_side[2]))
    return found.flatten(1, 3).unsqueeze(1)


def with_unplaced(rotation: Rotation, count: int) -> Rotation:
    """The same with `count` tokens more at the end, which have no place and are left as they are."""
    pad = (0, 0, 0, count)
    return Rotation(nn.functional.pad(rotation.cos, pad, value=1.0), nn.functional.pad(rotation.sin, pad))


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates pairs (i, i + d/2) of queries or keys b heads n d; computed in fp32, returned in x's type.

    Memory keeps the order of projections, b n heads d: attention's result then has it too, and is not copied.
    """
    values = x.float()
    swapped = values.transpose(1, 2).roll(x.shape[-1] // 2, dims=-1).transpose(1, 2)  # cheaper than joining halves
    return swapped.mul_(rotation.sin).addcmul_(values, rotation.cos).to(x.dtype)
