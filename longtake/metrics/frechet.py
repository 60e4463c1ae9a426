"""Distances between two sets of videos, right under distributed reduction. Axes: c f h w; n samples, d features."""

from abc import abstractmethod
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics import Metric

from longtake.metrics.features import FrameFeatures
from longtake.metrics.named_features import ClipFeatures
from longtake.metrics.per_video import check_video, floats
from networks.ranges import Size


class FrechetDistance(Metric):
    """Fréchet distance between Gaussians fitted to the features of videos and of references.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½). With fewer samples than features it comes out too large: compare figures of
    equal counts only. States are sums, in double precision, so those of several processes add up.

    Subclasses say in `samples` which features a video gives.

    Source: Heusel et al., FID.
    """

    about: ClassVar[str] = ""
    higher_is_better = False
    is_differentiable = False
    full_state_update = False

    video_sum: Tensor
    video_count: Tensor
    reference_count: Tensor

    def __init__(self, *, features: FrameFeatures | ClipFeatures, dimensions: int) -> None:
        """Take the features, and how many there are of each sample."""
        super().__init__()
        self.features = features
        shapes = {"sum": (dimensions,), "products": (dimensions, dimensions), "count": ()}
        for side in ("video", "reference"):
            for name, shape in shapes.items():
                self.add_state(f"{side}_{name}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def samples(self, video: Tensor) -> Tensor:
        """Features n d of one video, 3 f h w in [-1, 1] or uint8.

        Args:
            video: 3 f h w in [-1, 1] or uint8.

        Returns:
            n d.

        Raises:
            ValueError: the video is too short, or is no video.
        """

    @abstractmethod
    def protocol(self) -> str:
        """How samples are taken, in half a sentence."""

    def update(self, video: Tensor, *, is_reference: bool) -> None:
        """Count videos, b 3 f h w in [-1, 1], on one of the two sides."""
        for row in video:
            self.add(self.samples(row), is_reference=is_reference)

    def add(self, samples: Tensor, *, is_reference: bool) -> None:
        """Count samples n d on one of the two sides."""
        samples = samples.to(self.device, torch.float64)
        added = {"sum": samples.sum(dim=0), "products": samples.T @ samples, "count": len(samples)}
        for name, value in added.items():
            state = f"{'reference' if is_reference else 'video'}_{name}"
            setattr(self, state, getattr(self, state) + value)

    def compute(self) -> Tensor:
        """The distance; nan with fewer than two samples on a side."""
        return self.distance()

    def distance(self) -> Tensor:
        """The distance as `compute` gives it, for samples that came by `add`, of which torchmetrics knows nothing."""
        if min(float(self.video_count), float(self.reference_count)) < 2:
            return torch.tensor(torch.nan)
        (mean, covariance), (other_mean, other_covariance) = self._gaussian("video"), self._gaussian("reference")
        # tr (Σ₁Σ₂)^½ is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        overlap = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
        distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * overlap
        return distance.clamp(min=0).float()

    def _gaussian(self, side: str) -> tuple[Tensor, Tensor]:
        total, products, count = (getattr(self, f"{side}_{name}") for name in ("sum", "products", "count"))
        mean = total / count
        return mean, (products - count * torch.outer(mean, mean)) / (count - 1)

    def describe(self) -> dict[str, str | int]:
        """The protocol of the figure: features, what they see, their number, how samples were taken, how many."""
        return {
            "features": self.features.name,
            "sees": self.features.sees,
            "dimensions": len(self.video_sum),
            "sampling": self.protocol(),
            "video_samples": int(self.video_count),
            "reference_samples": int(self.reference_count),
        }


class FrechetFrameDistance(FrechetDistance):
    """Fréchet distance between single frames of the videos and of the references."""

    about = "distance between the frames of all videos and of all references; 0 is alike"

    def __init__(self, *, features: FrameFeatures, frames_per_video: Size = 16) -> None:
        """Keeps the features.

        Args:
            features: feature model of single frames.
            frames_per_video: frames of a video that count, evenly spread over it; at least 1.

        Raises:
            ValueError: frames_per_video is below 1.
        """
        super().__init__(features=features, dimensions=features(torch.zeros(1, 3, 32, 32)).shape[1])
        if frames_per_video < 1:
            raise ValueError(f"fréchet distance: frames_per_video is {frames_per_video}, but must be at least 1")
        self.frames_per_video = frames_per_video

    def samples(self, video: Tensor) -> Tensor:
        """Features n d of n frames, all of a video that is shorter."""
        check_video(video, where="fréchet distance", min_frames=1)
        number = min(self.frames_per_video, video.shape[1])
        frames = torch.linspace(0, video.shape[1] - 1, number).round().long()
        return self.features(floats(rearrange(video[:, frames], "c f h w -> f c h w")))

    def protocol(self) -> str:
        """How frames are taken."""
        return f"{self.frames_per_video} frames a video, evenly spread"


class FrechetVideoDistance(FrechetDistance):
    """Fréchet distance between clips of the videos and of the references; an FVD only with an FVD's features."""

    about = "the same between short clips, by features of clips; 0 is alike"

    def __init__(self, *, features: ClipFeatures) -> None:
        """Take the features, whose `num_frames` is the length of a clip."""
        dimensions = features(torch.zeros(1, 3, features.num_frames, 32, 32)).shape[1]
        super().__init__(features=features, dimensions=dimensions)
        self.num_frames = features.num_frames

    def samples(self, video: Tensor) -> Tensor:
        """Features n d of n clips, as many as fit end to end.

        Args:
            video: 3 f h w in [-1, 1] or uint8.

        Returns:
            n d.

        Raises:
            ValueError: the video is shorter than a clip.
        """
        check_video(video, where="fréchet video distance", min_frames=self.num_frames)
        whole = video.shape[1] // self.num_frames * self.num_frames
        clips = rearrange(video[:, :whole], "c (n f) h w -> n c f h w", f=self.num_frames)
        return torch.cat([self.features(floats(clip)) for clip in clips.split(1)])

    def protocol(self) -> str:
        """How clips are taken."""
        return f"clips of {self.num_frames} frames, end to end without overlap, every frame"
