"""Does the end of a video still look like its start? Axes: b c f h w."""

from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional

from lightning_modules.metrics.features import FrameFeatures
from lightning_modules.metrics.per_video import PerVideoMean, check_video

# Source: HeliosBench compares the first and the last 15 % of the frames
SHARE = 0.15


def _ends(video: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """First and last frames of b c f h w, at least one each."""
    num_frames = max(1, round(share * video.shape[2]))
    return video[:, :, :num_frames], video[:, :, -num_frames:]


def _check_share(share: float) -> None:
    if not 0 < share <= 0.5:
        raise ValueError(f"drift: share is {share}, but must lie above 0 and at most at 0.5")


class FeatureDrift(PerVideoMean):
    """Distance, 1 − cosine, between the mean features of the first and of the last frames: 0 is none.

    A camera that travels drifts by right: compare with real videos of the same kind.

    Source: first and last 15 % from HeliosBench, which compares scores; comparing features is our choice.
    """

    higher_is_better = False

    def __init__(self, *, features: FrameFeatures, share: float = SHARE) -> None:
        """Take the features and the share of the frames that makes an end.

        Raises:
            ValueError: share is not in (0, 0.5].
        """
        super().__init__()
        _check_share(share)
        self.features = features
        self.share = share

    def update(self, video: Tensor) -> None:
        """Score videos, b 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="feature drift")
        self.add(self._distance(row.unsqueeze(0)) for row in video)

    def _distance(self, video: Tensor) -> float:
        first, last = (
            self.features(rearrange(end, "1 c f h w -> f c h w")).mean(dim=0) for end in _ends(video, self.share)
        )
        return max(0.0, 1 - float(functional.cosine_similarity(first, last, dim=0)))


class ColourDrift(PerVideoMean):
    """Change of the mean colour from the first frames to the last, in grey levels of 0 to 255, over R, G and B.

    Source: our choice, with HeliosBench's 15 %.
    """

    higher_is_better = False

    def __init__(self, *, share: float = SHARE) -> None:
        """Take the share of the frames that makes an end.

        Raises:
            ValueError: share is not in (0, 0.5].
        """
        super().__init__()
        _check_share(share)
        self.share = share

    def update(self, video: Tensor) -> None:
        """Score videos, b 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="colour drift")
        first, last = (reduce(end.float(), "b c f h w -> b c", "mean") for end in _ends(video, self.share))
        self.add((127.5 * (last - first).abs().mean(dim=1)).tolist())
