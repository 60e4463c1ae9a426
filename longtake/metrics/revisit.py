"""Does a place look the same when the camera comes back to it? Axes: c f h w."""

from typing import ClassVar

import torch
from torch import Tensor

from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_side, check_video, mean
from longtake.metrics.reconstruction import frame_psnr, frame_ssim
from networks.ranges import Positive, Size


class _Revisit(PerVideoMean):
    """Compares frames with earlier ones of the same view; a video without any is not counted.

    A frame revisits an earlier one, at least `min_gap` frames before, if place and angle are close and the camera was
    away in between; of several such the nearest in place counts.

    Source: our choice.
    """

    needs: ClassVar[tuple[str, ...]] = ("poses",)
    higher_is_better = True

    def __init__(
        self, *, min_gap: Size = 16, distance: Positive = 8.0, angle: Positive = 4.0, away: Positive = 4.0
    ) -> None:
        """Say what a revisit is.

        Args:
            min_gap: fewest frames between the two visits.
            distance: largest distance of the two places, in the unit of the poses (a step of Freedoom's marine is about
                5 to 12).
            angle: largest angle between the two directions of view, in degrees.
            away: times `distance` or `angle` that the camera must have gone or turned in between.

        Raises:
            ValueError: one of them is not above 0.
        """
        super().__init__()
        for name, value in (("min_gap", min_gap), ("distance", distance), ("angle", angle), ("away", away)):
            if not value > 0:
                raise ValueError(f"revisit: {name} is {value}, but must lie above 0")
        self.min_gap, self.distance, self.angle, self.away = min_gap, distance, angle, away

    def pairs(self, poses: Tensor) -> list[tuple[int, int]]:
        """Earlier and later frame of every revisit, for poses f 4: x, y, z and the angle in degrees."""
        place, angle = poses[:, :3].double(), poses[:, 3].double()
        nearest: dict[int, tuple[float, int]] = {}
        for frame in range(len(poses) - self.min_gap):
            distances = torch.linalg.vector_norm(place[frame:] - place[frame], dim=1)
            turns = ((angle[frame:] - angle[frame] + 180) % 360 - 180).abs()
            left = (distances > self.away * self.distance) | (turns > self.away * self.angle)
            back = (distances <= self.distance) & (turns <= self.angle) & (left.cumsum(dim=0) > 0)
            back[: self.min_gap] = False
            for gap in back.nonzero().flatten().tolist():
                candidate = (float(distances[gap]), frame)
                nearest[frame + gap] = min(nearest.get(frame + gap, candidate), candidate)
        return [(earlier, later) for later, (_, earlier) in sorted(nearest.items())]

    def measure(self, video: Tensor, *, poses: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1], by the pose of each frame, f 4.

        Args:
            video: 3 f h w in [-1, 1] or uint8.
            poses: f 4, of each frame.

        Returns:
            The score of the video, and how it goes along it.

        Raises:
            ValueError: there are not as many poses as frames.
        """
        check_video(video, where="revisit")
        check_side(video, where="revisit", least=11)
        if poses.shape != (video.shape[1], 4):
            raise ValueError(f"revisit: {len(poses)} poses for {video.shape[1]} frames: give one for each frame")
        pairs = self.pairs(poses.cpu())
        if not pairs:
            return Measured(None)
        earlier, later = (video[:, list(frames)].transpose(0, 1) for frames in zip(*pairs, strict=True))
        values = self.compare(earlier, later).tolist()
        return Measured(mean(values), Curve([frame for _, frame in pairs], values))

    def compare(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Likeness of each pair, n of two n c h w."""
        raise NotImplementedError


class RevisitPSNR(_Revisit):
    """Nearness, in dB, of frames seen from the same place in the same direction at different times."""

    about = "nearness of two looks at the same place, in dB; only where poses are known"
    curve_about = "dB of each frame that comes back"

    def compare(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Ratio in dB of each pair."""
        return frame_psnr(later, earlier)


class RevisitSSIM(_Revisit):
    """Structural similarity of frames seen from the same place in the same direction at different times."""

    about = "structural similarity of two looks at the same place; only where poses are known"
    curve_about = "similarity of each frame that comes back"

    def compare(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Similarity of each pair."""
        return frame_ssim(later, earlier)
