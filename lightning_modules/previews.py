"""What a network makes of the first validation batch, beside the truth: what the callback `pictures` shows.

Axes: c channels, f frames, h height, w width (latents, or pixels of a codec's training).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

MOST_TIMES = 3
"""Diffusion times that are shown: the lowest, the middle and the highest of validation."""


class Part(NamedTuple):
    """A stretch of frames that is decoded by itself.

    video: c f h w. known: f, True for frames that the network was given.
    """

    video: Tensor
    known: Tensor


class Shown(NamedTuple):
    """One row: its name, and its parts from left to right."""

    name: str
    parts: tuple[Part, ...]


@runtime_checkable
class HasPreview(Protocol):
    """A LightningModule that can show what it makes of a batch."""

    def preview(self, batch: Any) -> list[Shown]:
        """Rows of one sample of a batch, the truth first."""
        ...


def some_times(times: Sequence[float]) -> list[float]:
    """At most `MOST_TIMES` of some diffusion times, evenly spread."""
    ordered = sorted(set(times))
    places = torch.linspace(0, len(ordered) - 1, min(MOST_TIMES, len(ordered))).round().int().tolist()
    return [ordered[place] for place in places]


def made(video: Tensor) -> Part:
    """Frames c f h w of which the network was given none."""
    return Part(video, torch.zeros(video.shape[1], dtype=torch.bool))


def given(video: Tensor) -> Part:
    """Frames c f h w that the network was given."""
    return Part(video, torch.ones(video.shape[1], dtype=torch.bool))
