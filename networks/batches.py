"""What is handed around: clips, rows of segments, and tokens.

Axes: b batch, c channels, f frames, h height, w width, n tokens, d width of tokens, l text tokens, e text features.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor


def mask_of(known: Tensor) -> Tensor | None:
    """A mask as it is, or None where it masks nothing, so that attention runs without one.

    It looks at the values: call it on the host, before they move to a device that would have to be waited for.
    """
    return None if bool(known.all()) else known


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
