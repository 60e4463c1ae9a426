"""How near predicted frames come to true ones, frame by frame. Axes: f frames, h height, w width, c channels."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from longtake.metrics.reconstruction import CEILING_DB, VideoLPIPS
from longtake.testbed.folder import Pictures

Values = NDArray[np.float64]
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Source: SSIM's own constants
_CHANNELS = 126  # at once in an OpenCV filter, which takes 128: frames lie side by side as channels


class Measured(NamedTuple):
    """How near each predicted frame is to the true one.

    psnr: in dB, 100 for equal frames; ssim: 1 for equal frames; lpips: 0 for equal frames, None where no network of it
    is on the machine.
    """

    psnr: Values
    ssim: Values
    lpips: Values | None


class Truth:
    """True frames, against which any number of predictions are measured."""

    def __init__(self, frames: Pictures) -> None:
        self.frames = frames
        self._parts = _side_by_side(frames)
        self._blurred = [(_blur(part), _blur(part * part)) for part in self._parts]

    def measure(self, predicted: Pictures) -> Measured:
        """Measure predicted frames, f h w c like the true ones."""
        error = np.square(np.subtract(self.frames, predicted, dtype=np.float32)).mean(axis=(1, 2, 3), dtype=np.float64)
        with np.errstate(divide="ignore"):
            psnr = (10 * np.log10(255.0**2 / error)).clip(max=CEILING_DB)
        return Measured(psnr, self._ssim(predicted), _lpips(self.frames, predicted))

    def _ssim(self, predicted: Pictures) -> Values:
        """Structural similarity as torchmetrics computes it, with a separable filter over many frames at once."""
        found = []
        for true, (mean, square), other in zip(self._parts, self._blurred, _side_by_side(predicted), strict=True):
            other_mean, other_square, both = _blur(other), _blur(other * other), _blur(true * other)
            product, squares = mean * other_mean, mean * mean + other_mean * other_mean
            likeness = (2 * product + _C1) * (2 * (both - product) + _C2)
            likeness /= (squares + _C1) * (square + other_square - squares + _C2)
            found.append(likeness.mean(axis=(0, 1), dtype=np.float64).reshape(-1, predicted.shape[3]).mean(axis=1))
        return np.concatenate(found)


def _side_by_side(frames: Pictures) -> list[NDArray[np.float32]]:
    """Frames f h w c as parts h w (f c)."""
    count = _CHANNELS // frames.shape[3]
    pieces = (frames[start : start + count] for start in range(0, len(frames), count))
    return [np.ascontiguousarray(rearrange(piece, "f h w c -> h w (f c)"), dtype=np.float32) for piece in pieces]


def _blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gaussian means; pictures are reflected at their edges."""
    import cv2

    kernel = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_32F)
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101))


@cache
def lpips_network() -> VideoLPIPS | None:
    """LPIPS where AlexNet's weights are on this machine."""
    metric = VideoLPIPS()
    return None if metric.unavailable() else metric


def _lpips(true: Pictures, predicted: Pictures) -> Values | None:
    metric = lpips_network()
    if metric is None or min(true.shape[1:3]) < 32:
        return None
    videos = (
        torch.from_numpy(np.ascontiguousarray(rearrange(each, "f h w c -> c f h w"))) for each in (predicted, true)
    )
    video, reference = videos
    curve = metric.measure(video, reference=reference).curve
    assert curve is not None
    return np.asarray(curve.values)
