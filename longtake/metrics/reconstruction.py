"""How near does a video come to its reference? Axes: c f h w."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_side, check_video, floats, mean

CEILING_DB = 100.0


def frame_psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each frame, f of two f c h w; equal ones count as 100 dB."""
    return _decibels(_squared_errors(first, second))


def _squared_errors(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared error of each frame, f of two f c h w in [-1, 1] or uint8."""
    return torch.cat([(one - other).square().mean(dim=(1, 2, 3)) for one, other in _parts(first, second)])


def _decibels(error: Tensor) -> Tensor:
    return (10 * torch.log10(4 / error)).clamp(max=CEILING_DB)  # black to white is 2


def _parts(first: Tensor, second: Tensor, size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    """The same frames of both in [-1, 1], some at a time to spare memory."""
    for one, other in zip(first.split(size), second.split(size), strict=True):
        yield floats(one), floats(other)


def frame_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of each frame, f of two f c h w with sides of 11 pixels at least."""
    parts = _parts(first, second)
    found = [structural_similarity_index_measure(*part, data_range=2.0, reduction="none") for part in parts]
    return torch.cat([torch.atleast_1d(values) for values in found])  # type: ignore[arg-type]


class _AgainstReference(PerVideoMean):
    needs: ClassVar[tuple[str, ...]] = ("reference",)

    def frames(self, video: Tensor, reference: Tensor, where: str) -> tuple[Tensor, Tensor]:
        """A video and its reference as f c h w.

        Raises:
            ValueError: the two differ in shape.
        """
        check_video(video, where=where, min_frames=1)
        check_video(reference, where=f"{where} (reference)", min_frames=1)
        if video.shape != reference.shape:
            sizes = [f"{f} frames of {h} × {w}" for _, f, h, w in (video.shape, reference.shape)]
            raise ValueError(f"{where} compares equal shapes, got {sizes[0]} and a reference with {sizes[1]}")
        return rearrange(video, "c f h w -> f c h w"), rearrange(reference, "c f h w -> f c h w")


class VideoPSNR(_AgainstReference):
    """Peak signal-to-noise ratio in dB over all pixels of a video, then the mean over videos.

    Equal videos, whose ratio is infinite, count as 100 dB, so that means stay finite (our choice).
    """

    about = "nearness to the reference, in dB over all pixels; 100 is equal"
    curve_about = "dB of each frame"
    higher_is_better = True

    def measure(self, video: Tensor, *, reference: Tensor) -> Measured:
        """Score a video against its reference, both 3 f h w in [-1, 1]."""
        errors = _squared_errors(*self.frames(video, reference, "psnr"))
        score = float(_decibels(errors.mean()))
        return Measured(score, Curve(list(range(video.shape[1])), _decibels(errors).tolist()))


class VideoSSIM(_AgainstReference):
    """Structural similarity to the reference, the mean over frames: 1 is equal."""

    about = "structural similarity to the reference; 1 is equal"
    curve_about = "similarity of each frame"
    higher_is_better = True

    def measure(self, video: Tensor, *, reference: Tensor) -> Measured:
        """Score a video against its reference, both 3 f h w in [-1, 1] with sides of 11 pixels at least."""
        frames = self.frames(video, reference, "ssim")
        check_side(video, where="ssim", least=11)
        values = frame_ssim(*frames).tolist()
        return Measured(mean(values), Curve(list(range(video.shape[1])), values))


class VideoLPIPS(_AgainstReference):
    """Learned perceptual distance to the reference, the mean over frames: 0 is equal.

    LPIPS's own layers come with torchmetrics, and the AlexNet under them with torchvision. AlexNet's weights must be on
    this machine: nothing is downloaded here.
    """

    about = "perceptual distance to the reference (LPIPS, AlexNet); 0 is equal"
    curve_about = "distance of each frame"
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__()
        self.distance: nn.Module | None = None

    def unavailable(self) -> str:
        """Why there is no LPIPS: AlexNet's weights are not on this machine."""
        if _alexnet_file().is_file():
            return ""
        fetch = "python -c \"from torchvision.models import alexnet; alexnet(weights='DEFAULT')\""
        return f"LPIPS needs AlexNet's weights, which are not on this machine; with a network, {fetch} fetches them"

    def measure(self, video: Tensor, *, reference: Tensor) -> Measured:
        """Score a video against its reference, both 3 f h w in [-1, 1] with sides of 32 pixels at least."""
        frames = self.frames(video, reference, "lpips")
        check_side(video, where="lpips", least=32)
        if reason := self.unavailable():
            raise ValueError(reason)
        values = self._distances(*frames)
        return Measured(mean(values), Curve(list(range(video.shape[1])), values))

    @torch.no_grad()
    def _distances(self, video: Tensor, reference: Tensor) -> list[float]:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        if self.distance is None:
            self.distance = LearnedPerceptualImagePatchSimilarity(net_type="alex").to(video.device).net
        pairs = ((one.clamp(-1, 1), other.clamp(-1, 1)) for one, other in _parts(video, reference, size=16))
        return [float(value) for pair in pairs for value in self.distance(*pair).flatten()]


def _alexnet_file() -> Path:
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir(), "checkpoints", Path(AlexNet_Weights.DEFAULT.url).name)
