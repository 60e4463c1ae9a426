"""Rotary embeddings of pretrained models from float positions, where diffusers has tables of whole ones.

Axes: b batch, n tokens, d width of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from networks.rope import Rotation


class PairRope(nn.Module):
    """Angles of neighbouring pairs of a head, axis after axis, as in Wan, CogVideoX and HunyuanVideo."""

    frequencies: Tensor
    axis: Tensor

    def __init__(self, *, counts: Sequence[int], theta: float) -> None:
        """counts: pairs for frames, rows and columns, half a head's width together; theta: base of the frequencies."""
        super().__init__()
        frequencies = [theta ** (-torch.arange(count, dtype=torch.float64) / count) for count in counts]
        self.register_buffer("frequencies", torch.cat(frequencies).float(), persistent=False)
        axis = [place for place, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("axis", torch.tensor(axis), persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """positions: b n 3 as (frame, row, column), any real."""
        angles = positions.float()[..., self.axis] * self.frequencies.float()
        return Rotation(angles.cos().unsqueeze(1), angles.sin().unsqueeze(1))
