"""Do the subject and the background stay the same? Axes: c f h w; d features."""

from torch import Tensor
from torch.nn import functional

from longtake.metrics.features import FrameFeatures, features_of
from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_video


class SubjectConsistency(PerVideoMean):
    """Likeness of each frame to the one before and to the first: 1 is a still.

    Per frame i ≥ 1 the mean of cos(f_i, f_{i−1}) and cos(f_i, f_0), each clipped at 0; then the mean over frames. The
    curve is the likeness to the first frame alone.

    Source: VBench, subject consistency, whose features are DINO's; ours are what is passed in, so compare only
    scores of the same features. VBench weights videos by their frames; here each video counts once (our choice).
    """

    about = "likeness of every frame to the one before and to the first; 1 is a still"
    curve_about = "likeness to the first frame"
    higher_is_better = True

    def __init__(self, *, features: FrameFeatures) -> None:
        super().__init__()
        self.features = features

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="consistency")
        features = features_of(video, self.features)
        to_first = functional.cosine_similarity(features[1:].float(), features[:1].float(), dim=1).clamp(min=0)
        return Measured(consistency(features), Curve(list(range(1, video.shape[1])), to_first.tolist()))


class BackgroundConsistency(SubjectConsistency):
    """The same formula on features of what surrounds the subject.

    Source: VBench, background consistency, whose features are CLIP's. The offline default hides the middle of each
    frame, where a subject mostly is, instead (`WithoutCentre`; our choice).
    """

    about = "the same for the background, by features of its own; 1 is a still"


def consistency(features: Tensor) -> float:
    """VBench's consistency of one video's features, f d."""
    directions = functional.normalize(features.float(), dim=1)
    to_previous = (directions[1:] * directions[:-1]).sum(dim=1).clamp(min=0)
    to_first = (directions[1:] @ directions[0]).clamp(min=0)
    return float((to_previous + to_first).mean() / 2)
