"""The contracts between the parts: named tuples for data, protocols for what is swapped.

Axes: b batch, c channels, f frames, h height, w width, n tokens, d width of tokens, l text tokens, e text features.
Time lies in [0, 1], one value per frame, or one for all: 0 is clean, 1 is noise. It never means video time; that is
`frame_index`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from networks.batches import ContextTokens, SegmentBatch, VideoBatch
from networks.condition import AttentionOverride, Condition, Context, ContextCache, TextKeys, TokenGrid
from networks.video_network import Backbone, Places, Prediction, VideoNetwork

__all__ = [
    "AttentionOverride",
    "Backbone",
    "Codec",
    "Compressor",
    "Condition",
    "Context",
    "ContextCache",
    "ContextTokens",
    "Estimate",
    "Places",
    "Prediction",
    "Reconstruction",
    "SegmentBatch",
    "TextEncoder",
    "TextKeys",
    "TokenGrid",
    "VideoBatch",
    "VideoNetwork",
]


class Reconstruction(NamedTuple):
    """What a compressor's decoder recovers: video b c f h w (latents) and text b l e (features)."""

    video: Tensor
    text: Tensor


class Estimate(NamedTuple):
    """The canonical pair into which every kind of prediction is turned; both b c f h w."""

    clean: Tensor
    noise: Tensor


class Compressor(Protocol):
    """`compressor=…`: a finished segment and its text to context tokens, at a rate chosen when called."""

    width: int
    patch: int

    def encode(self, segment: VideoBatch, level: Tensor, rate: float) -> ContextTokens:
        """segment: b c f h w; level: b in [0, 1], time of the noise in it, 0 for none; rate: video tokens a token.

        Returns tokens b m width with positions b m 3 (frame, row, column) local to the segment: the first frame, row
        and column of patches are 0. Mask None: all are real.
        """
        ...

    def decode(self, context: ContextTokens, num_frames: int, height: int, width: int, num_text: int) -> Reconstruction:
        """Recovers latents b c f h w and text features b num_text e from the tokens alone."""
        ...


class Codec(Protocol):
    """`codec=…`: pixels to latents and back. Causal in time: the first frame stands alone."""

    channels: int
    time_factor: int
    space_factor: int

    def encode(self, video: Tensor) -> Tensor:
        """B 3 f h w in [-1, 1] with f = time_factor · n + 1, to latents b c n+1 h/s w/s of unit variance."""
        ...

    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same of one long video piece by piece: what `encode` makes of the whole, in memory that does not grow.

        pieces: b 3 f h w, the first of time_factor · n + 1 frames and the others of time_factor · n.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """B c n+1 h w to pixels b 3 f h·s w·s, clamped to [-1, 1]."""
        ...

    def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
        """The same piece by piece along f, so that memory need not grow with length."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short hash of configuration and weights: the latent cache's key."""
        ...


class TextEncoder(Protocol):
    """`text=…`: captions to token features."""

    features: int

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features of captions, and which of them are real.

        Args:
            captions: b texts; "" is the null text, of which nothing is real.

        Returns:
            Features b l e, float32, and their mask b l, True for a real token; l is that of the longest caption.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Short hash of the model's name and settings."""
        ...
