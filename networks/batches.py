"""What is handed around: clips, rows of segments, and tokens.

Axes: b batch, c channels, f frames, h height, w width, n tokens, d width of tokens, l text tokens, e text features.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


def mask_of(known: Tensor) -> Tensor | None:
    """A mask as it is, or None where it masks nothing, so that attention runs without one.

    It looks at the values: call it on the host, before they move to a device that would have to be waited for.
    """
    return None if bool(known.all()) else known


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Values there; the host does not wait for what the device was told before to be done."""
    return values.to(device, non_blocking=True)


def mask_on_device(known: Tensor | None, device: torch.device) -> Tensor | None:
    """A mask for attention there, None where the host can tell that it masks nothing.

    Args:
        known: True where attended; in host memory it is looked at, on another device it is taken as it is.
        device: device that attention runs on.

    Returns:
        The mask on that device, or None.
    """
    if known is not None and known.device.type == "cpu":
        known = mask_of(known)
    return None if known is None else on_device(known, device)


class VideoBatch(NamedTuple):
    """One clip (or segment) per row.

    video: b c f h w, pixels in [-1, 1] or latents of unit variance per channel.
    frame_index: b f, place of each frame in its source video, in frames of `video`.
    text: b l e, text features; text_mask: b l, True where a token is real, or None where all are, of which the host has
    to know (`mask_of`). A row may be all False (no text).
    shot: b f integers, equal within a shot; None when the whole clip is one shot.
    per_frame: further inputs by name, b f d each, such as "control" (see networks.control).
    """

    video: Tensor
    frame_index: Tensor
    text: Tensor
    text_mask: Tensor | None
    shot: Tensor | None = None
    per_frame: Mapping[str, Tensor] = {}

    def map(self, function: Callable[[Tensor], Tensor]) -> "VideoBatch":
        """The batch with every tensor replaced, those of `per_frame` too."""
        return VideoBatch(*_mapped(self, function))


class SegmentBatch(NamedTuple):
    """Segments of equal length, s a row: pieces of one long video, or of several shots.

    video: b s c f h w; frame_index: b s f, place of each latent frame on the row's timeline, where a slot that
    continues another has the next places; text: b s l e; text_mask: b s l; shot: b s integers, equal where there is
    no cut between two segments; valid: b s, False where a slot holds nothing; per_frame: as VideoBatch's, b s f d each.
    In training all but video, text and per_frame stay in host memory (`to`), where they are looked at.
    """

    video: Tensor
    frame_index: Tensor
    text: Tensor
    text_mask: Tensor
    shot: Tensor
    valid: Tensor
    per_frame: Mapping[str, Tensor] = {}

    def map(self, function: Callable[[Tensor], Tensor]) -> "SegmentBatch":
        """The batch with every tensor replaced, those of `per_frame` too."""
        return SegmentBatch(*_mapped(self, function))

    def to(self, device: torch.device) -> "SegmentBatch":
        """Moves video, text and `per_frame` to a device; places, masks and shots stay, since code looks at them."""
        return self._replace(
            video=on_device(self.video, device),
            text=on_device(self.text, device),
            per_frame={name: on_device(values, device) for name, values in self.per_frame.items()},
        )

    def fold(self) -> VideoBatch:
        """Slots as rows: the first axes b s become one."""
        rows = self.map(lambda x: x.flatten(0, 1))
        return VideoBatch(rows.video, rows.frame_index, rows.text, rows.text_mask, per_frame=rows.per_frame)


def _mapped(batch: VideoBatch | SegmentBatch, function: Callable[[Tensor], Tensor]) -> Iterator[Any]:
    for value in batch:
        if isinstance(value, Mapping):
            yield {name: function(x) for name, x in value.items()}
        else:
            yield None if value is None else function(value)


class ContextTokens(NamedTuple):
    """Tokens that a context encoder hands to the DiT's self-attention.

    tokens: b n d; positions: b n 3 as (frame, height, width), fractional, or None for tokens without a place;
    mask: b n, True where a token may be attended to, or None for all.
    """

    tokens: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None
