"""The common part of the metrics: a mean over videos, right under distributed reduction. Axes: b c f h w."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics import Metric


class Curve(NamedTuple):
    """A value for each of some frames of a video, whose numbers count from 0."""

    frames: list[int]
    values: list[float]


NO_CURVE = Curve([], [])


class Measured(NamedTuple):
    """One video's score, None if there is nothing to score, and how it goes along the video."""

    score: float | None
    curve: Curve = NO_CURVE


class PerVideoMean(Metric):
    """Each video gets one score and counts once, however long it is.

    Subclasses say in `measure` what one video scores. `needs` names what `measure` and `update` take by keyword beside
    the video: "fps" (frames a second), "boundaries" (numbers of frames that open a new piece), "reference" (the true
    video), "poses" (f 4: x, y, z and the angle in degrees of every frame) or "prompt" (its text). `about` says in half
    a line what the score means, `curve_about` what the curve shows, if there is one.

    States are sums, so scores of several processes add up. A metric that has seen no video computes nan.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    about: ClassVar[str] = ""
    curve_about: ClassVar[str] = ""
    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    @abstractmethod
    def measure(self, video: Tensor, *args: Any, **given: Any) -> Measured:
        """Score one video, c f h w, without counting it; what the metric `needs` comes by keyword.

        Pixels are fractions in [-1, 1], or whole numbers (uint8) in [0, 255], which take a quarter of the memory.

        Raises:
            ValueError: the video, or what is given beside it, is not what the metric takes.
        """

    def unavailable(self) -> str:
        """Why this metric can score nothing on this machine, in a sentence; empty if it can."""
        return ""

    def update(self, video: Tensor, **given: Any) -> None:
        """Score and count videos, b 3 f h w in [-1, 1] or uint8; a reference likewise, the rest holds for all rows."""
        if video.ndim != 5:
            raise ValueError(f"{type(self).__name__} takes videos as b 3 f h w, got shape {tuple(video.shape)}")
        reference = given.pop("reference", None)
        for number, row in enumerate(video):
            beside = {} if reference is None else {"reference": reference[number]}
            self.add(self.measure(row, **given, **beside).score)

    def add(self, score: float | None) -> None:
        """Count one video's score, unless it has none."""
        if score is not None:
            self.total = self.total + score
            self.count = self.count + 1

    def compute(self) -> Tensor:
        """Mean of the scores of all videos seen since the last reset."""
        return self.total / self.count


def check_video(video: Tensor, *, where: str, min_frames: int = 2) -> None:
    """Check that a video is 3 f h w, in [-1, 1] or uint8, with enough frames.

    Args:
        video: what a metric was given.
        where: how the message begins.
        min_frames: fewest frames that the metric takes.

    Raises:
        ValueError: it is not; the message begins with `where`.
    """
    if video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"{where} takes videos as 3 f h w, got shape {tuple(video.shape)}")
    if video.shape[1] < min_frames:
        raise ValueError(f"{where} needs at least {min_frames} frames, got {video.shape[1]}")
    if video.dtype == torch.uint8:
        return
    low, high = (float(value) for value in video.aminmax())
    if not (low >= -1.001 and high <= 1.001):  # so that nan is refused as well
        raise ValueError(f"{where} takes pixels in [-1, 1], got values from {low:.4g} to {high:.4g}")


def floats(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1]: whole ones of [0, 255] are turned into such, fractions stay what they are."""
    return pixels / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels.float()


def pieces(video: Tensor) -> Iterator[Tensor]:
    """A video c f h w as pieces f c h w in [-1, 1] of 32 frames at most: a whole one would not fit into memory."""
    for piece in rearrange(video, "c f h w -> f c h w").split(32):
        yield floats(piece)


def check_side(video: Tensor, *, where: str, least: int) -> None:
    """Check that the frames of c f h w are large enough.

    Args:
        video: c f h w.
        where: how the message begins.
        least: pixels of a side.

    Raises:
        ValueError: a side is below `least` pixels; the message begins with `where`.
    """
    height, width = video.shape[-2:]
    if min(height, width) < least:
        raise ValueError(f"{where} needs pictures of at least {least} pixels a side, got {height} × {width}")


def frame_differences(video: Tensor) -> list[float]:
    """Mean absolute difference of neighbouring frames, frame by frame to spare memory.

    Args:
        video: c f h w in [-1, 1] or uint8.

    Returns:
        f - 1 values in grey levels of 0 to 255; entry i compares frames i and i + 1.
    """
    pairs = zip(video[:, :-1].unbind(1), video[:, 1:].unbind(1), strict=True)
    return [127.5 * float((floats(after) - floats(before)).abs().mean()) for before, after in pairs]


def mean(values: Iterable[float]) -> float:
    """Mean of one value or more."""
    listed = list(values)
    return sum(listed) / len(listed)
