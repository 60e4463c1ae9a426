"""The common part of the metrics: a mean over videos, right under distributed reduction. Axes: b c f h w."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class PerVideoMean(Metric):
    """Each video gets one score and counts once, however long it is.

    Subclasses call `add` in `update`, whose first argument is `video`, b 3 f h w in [-1, 1]. `needs` names what else
    `update` takes by keyword: "fps" (frames a second), "boundaries" (numbers of frames that open a new piece) or
    "reference" (the true video, b 3 f h w).

    States are sums, so scores of several processes add up. A metric that has seen no video computes nan.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def add(self, scores: Iterable[float]) -> None:
        """Count one score per video."""
        for score in scores:
            self.total = self.total + score
            self.count = self.count + 1

    def compute(self) -> Tensor:
        """Mean of the scores of all videos seen since the last reset."""
        return self.total / self.count


def check_video(video: Tensor, *, where: str, min_frames: int = 2) -> None:
    """Check that a batch of videos is b 3 f h w in [-1, 1] with enough frames.

    Raises:
        ValueError: it is not; the message begins with `where`.
    """
    if video.ndim != 5 or video.shape[1] != 3:
        raise ValueError(f"{where} takes videos as b 3 f h w, got shape {tuple(video.shape)}")
    if video.shape[2] < min_frames:
        raise ValueError(f"{where} needs at least {min_frames} frames, got {video.shape[2]}")
    low, high = (float(value) for value in video.aminmax())
    if not (low >= -1.001 and high <= 1.001):  # so that nan is refused as well
        raise ValueError(f"{where} takes pixels in [-1, 1], got values from {low:.4g} to {high:.4g}")


def frame_differences(video: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring frames, frame by frame to spare memory.

    Args:
        video: b c f h w in [-1, 1].

    Returns:
        b f-1 in grey levels of 0 to 255; entry i compares frames i and i + 1.
    """
    pairs = zip(video[:, :, :-1].unbind(2), video[:, :, 1:].unbind(2), strict=True)
    return 127.5 * torch.stack([(after.float() - before.float()).abs().mean((1, 2, 3)) for before, after in pairs], 1)
