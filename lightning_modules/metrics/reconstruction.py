"""How near does a video come to its reference? Axes: b c f h w."""

from typing import ClassVar

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from lightning_modules.metrics.per_video import PerVideoMean, check_video

CEILING_DB = 100.0


class VideoPSNR(PerVideoMean):
    """Peak signal-to-noise ratio in dB over all pixels of a video, then the mean over videos.

    Equal videos, whose ratio is infinite, count as 100 dB, so that means stay finite (our choice).
    """

    needs: ClassVar[tuple[str, ...]] = ("reference",)
    higher_is_better = True

    def update(self, video: Tensor, reference: Tensor) -> None:
        """Score videos against references, both b 3 f h w in [-1, 1].

        Raises:
            ValueError: the two differ in shape.
        """
        check_video(video, where="psnr", min_frames=1)
        check_video(reference, where="psnr (reference)", min_frames=1)
        if video.shape != reference.shape:
            raise ValueError(f"psnr compares equal shapes, got {tuple(video.shape)} and {tuple(reference.shape)}")
        ratios = peak_signal_noise_ratio(
            video.float(), reference.float(), data_range=2.0, reduction="none", dim=(1, 2, 3, 4)
        )
        self.add(ratios.clamp(max=CEILING_DB).tolist())
