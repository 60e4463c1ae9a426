"""Does the end of a video still look like its start? Axes: c f h w."""

import re
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from einops import reduce
from torch import Tensor
from torch.nn import functional

from longtake.metrics.features import FrameFeatures, features_of
from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_video, pieces

# Source: HeliosBench compares the first and the last 15 % of the frames
SHARE = 0.15


def _ends(video: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """First and last frames of c f h w, at least one each."""
    num_frames = _num_frames(video, share)
    return video[:, :num_frames], video[:, -num_frames:]


def _num_frames(video: Tensor, share: float) -> int:
    return max(1, round(share * video.shape[1]))


def _check_share(share: float) -> None:
    if not 0 < share <= 0.5:
        raise ValueError(f"drift: share is {share}, but must lie above 0 and at most at 0.5")


class FeatureDrift(PerVideoMean):
    """Distance, 1 − cosine, between the mean features of the first and of the last frames: 0 is none.

    A camera that travels drifts by right: compare with real videos of the same kind. The curve is the distance of each
    frame's features from the mean of the first frames'.

    Source: first and last 15 % from HeliosBench, which compares scores; comparing features is our choice.
    """

    about = "distance between the first and the last 15 % in features; 0 is none, a travelling camera has some"
    curve_about = "distance from the first 15 %"
    higher_is_better = False

    def __init__(self, *, features: FrameFeatures, share: Annotated[float, Gt(0), Le(0.5)] = SHARE) -> None:
        """Keeps what is compared.

        Args:
            features: feature model of single frames.
            share: part of the frames, in (0, 0.5], that counts as the start, and as the end, of a video.

        Raises:
            ValueError: share is not in (0, 0.5].
        """
        super().__init__()
        _check_share(share)
        self.features = features
        self.share = share

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="feature drift")
        features = features_of(video, self.features).float()
        num_frames = _num_frames(video, self.share)
        first, last = features[:num_frames].mean(dim=0), features[-num_frames:].mean(dim=0)
        score = max(0.0, 1 - float(functional.cosine_similarity(first, last, dim=0)))
        distances = (1 - functional.cosine_similarity(features, first.unsqueeze(0), dim=1)).clamp(min=0)
        return Measured(score, Curve(list(range(video.shape[1])), distances.tolist()))


class ColourDrift(PerVideoMean):
    """Change of the mean colour from the first frames to the last, in grey levels of 0 to 255, over R, G and B.

    The curve is the same change for each frame.

    Source: our choice, with HeliosBench's 15 %.
    """

    about = "change of the mean colour from the first to the last 15 %, in grey levels of 255"
    curve_about = "distance of the mean colour from the first 15 %"
    higher_is_better = False

    def __init__(self, *, share: Annotated[float, Gt(0), Le(0.5)] = SHARE) -> None:
        """Keeps what is compared.

        Args:
            share: part of the frames, in (0, 0.5], that counts as the start, and as the end, of a video.

        Raises:
            ValueError: share is not in (0, 0.5].
        """
        super().__init__()
        _check_share(share)
        self.share = share

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="colour drift")
        colours = 127.5 * torch.cat([reduce(piece, "f c h w -> f c", "mean") for piece in pieces(video)])
        num_frames = _num_frames(video, self.share)
        first, last = colours[:num_frames].mean(dim=0), colours[-num_frames:].mean(dim=0)
        distances = (colours - first).abs().mean(dim=1)
        return Measured(float((last - first).abs().mean()), Curve(list(range(video.shape[1])), distances.tolist()))


class ScoreDrift(PerVideoMean):
    """Difference of another metric's scores of the first and of the last frames: |M(first 15 %) − M(last 15 %)|.

    Source: HeliosBench, with any M that needs nothing but the video and its rate.
    """

    about = "difference of a score between the first and the last 15 %; 0 is none"
    higher_is_better = False

    def __init__(self, *, metric: PerVideoMean, share: Annotated[float, Gt(0), Le(0.5)] = SHARE) -> None:
        """Keeps what is compared.

        Args:
            metric: M, by which both ends are scored.
            share: part of the frames, in (0, 0.5], that counts as the start, and as the end, of a video.

        Raises:
            ValueError: share is not in (0, 0.5], or the metric needs more than an end of a video can give.
        """
        super().__init__()
        _check_share(share)
        if set(metric.needs) - {"fps"}:
            raise ValueError(
                f"drift: {type(metric).__name__} needs {', '.join(metric.needs)}, which parts of a video lack: "
                "take another metric"
            )
        self.metric = metric
        score = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(metric).__name__).lower()
        self.about = f"difference of {score} between the first and the last {share:.0%}; 0 is none"  # type: ignore[misc]
        self.needs = metric.needs  # type: ignore[misc] # of this object, as the metric wants
        self.share = share

    def measure(self, video: Tensor, **given: Any) -> Measured:
        """Score one video, 3 f h w in [-1, 1], whose ends are long enough for the metric."""
        check_video(video, where="score drift")
        try:
            first, last = (self.metric.measure(end, **given).score for end in _ends(video, self.share))
        except ValueError as error:
            number = _num_frames(video, self.share)
            raise ValueError(f"score drift, over {number} frames at each end: {error}") from error
        return Measured(None if first is None or last is None else abs(first - last))
