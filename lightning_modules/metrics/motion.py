"""How much moves, by dense optical flow (OpenCV's DIS, which needs no weights). Axes: b c f h w."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from einops import rearrange
from torch import Tensor

from lightning_modules.metrics.per_video import PerVideoMean, check_video

MIN_SIDE = 32  # below, DIS has too few of its 8 × 8 patches to say anything


class MotionMagnitude(PerVideoMean):
    """Mean speed over all pixels and pairs of frames, in short sides of the picture per second.

    Source: our choice; dividing by the short side and the frame time makes sizes and rates comparable.
    """

    needs: ClassVar[tuple[str, ...]] = ("fps",)

    def update(self, video: Tensor, fps: float) -> None:
        """Score videos, b 3 f h w in [-1, 1] with two frames or more, at `fps` frames a second."""
        _check(video, fps, "motion magnitude")
        self.add(self._speed(row, fps) for row in video)

    def _speed(self, video: Tensor, fps: float) -> float:
        means = [float(norms.mean()) for norms in flow_norms(video)]
        return sum(means) / len(means) * fps / min(video.shape[-2:])


class DynamicDegree(PerVideoMean):
    """Share of the videos that move at all.

    Frames are taken at about 8 a second. A pair moves if the mean of its 5 % largest flows exceeds 6 pixels at a short
    side of 256; a video moves if at least a quarter as many pairs move as it has frames.

    Source: VBench, dynamic degree, with DIS in place of RAFT; and at least one pair must move (our choice: VBench's
    rounding lets a video of two frames pass for moving whatever it shows).
    """

    needs: ClassVar[tuple[str, ...]] = ("fps",)

    def update(self, video: Tensor, fps: float) -> None:
        """Score videos, b 3 f h w in [-1, 1] with two frames or more, at `fps` frames a second."""
        _check(video, fps, "dynamic degree")
        self.add(float(self._moves(row[:, :: max(1, round(fps / 8))])) for row in video)

    def _moves(self, video: Tensor) -> bool:
        threshold = 6 * min(video.shape[-2:]) / 256
        num_wanted = max(1, round(video.shape[1] / 4))
        num_moving = sum(_largest_mean(norms) > threshold for norms in flow_norms(video))
        return num_moving >= num_wanted


def _largest_mean(norms: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    num_largest = max(1, int(0.05 * norms.size))
    return float(np.partition(norms, -num_largest, axis=None)[-num_largest:].mean())


def _check(video: Tensor, fps: float, where: str) -> None:
    check_video(video, where=where)
    if min(video.shape[-2:]) < MIN_SIDE:
        height, width = video.shape[-2:]
        raise ValueError(f"{where} needs pictures of at least {MIN_SIDE} pixels a side, got {height} × {width}")
    if fps <= 0:
        raise ValueError(f"{where} needs frames a second above 0, got {fps}")


def flow_norms(video: Tensor) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """Length of the optical flow, h w in pixels, for each pair of neighbouring frames of c f h w in [-1, 1]."""
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before = None
    for frame in video.unbind(1):
        pixels = ((frame.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        grey = cv2.cvtColor(rearrange(pixels, "c h w -> h w c").cpu().numpy(), cv2.COLOR_RGB2GRAY)
        if before is not None:
            yield np.linalg.norm(flow.calc(before, grey, None), axis=2)  # type: ignore[call-overload]
        before = grey
