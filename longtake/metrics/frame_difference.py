"""Metrics on the differences of neighbouring frames. Axes: c f h w."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_video, frame_differences, mean
from networks.ranges import Size


class TemporalFlicker(PerVideoMean):
    """(255 − mean absolute difference of neighbouring frames) / 255: 1 is a still, 0 alternates black and white.

    Motion lowers it as flicker does: compare videos of like motion.

    Source: VBench, temporal flickering (there on static videos only).
    """

    about = "likeness of neighbouring frames' pixels; 1 is a still, motion lowers it too"
    curve_about = "likeness to the frame before"
    higher_is_better = True

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="temporal flicker")
        values = [1 - difference / 255 for difference in frame_differences(video)]
        return Measured(mean(values), Curve(list(range(1, video.shape[1])), values))


class SeamScore(PerVideoMean):
    """How much more changes between frames where two pieces meet than around that place: 1 is a seam nobody sees.

    Per boundary the mean absolute difference of the two frames that meet there, over the mean of the same for the
    `window` pairs before and after it that are no boundaries themselves; one grey level is added to both, so that
    stills score 1. A video's score is the mean over its boundaries; a video without boundaries is not counted.

    Source: our choice.
    """

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    about = "change where pieces meet, over change around it; 1 is invisible"
    curve_about = "that ratio at each boundary"
    higher_is_better = False

    def __init__(self, *, window: Size = 4) -> None:
        """Keeps what a seam is compared with.

        Args:
            window: pairs of frames on each side of a seam, at least 1.

        Raises:
            ValueError: window is below one.
        """
        super().__init__()
        if window < 1:
            raise ValueError(f"seam score: window is {window}, but must be at least 1")
        self.window = window

    def measure(self, video: Tensor, *, boundaries: Sequence[int]) -> Measured:
        """Score one video.

        Args:
            video: 3 f h w in [-1, 1] with three frames or more.
            boundaries: numbers, from 1 to f − 1, of the frames that open a new piece.

        Returns:
            The score of the video, and how it goes along it.

        Raises:
            ValueError: a boundary lies outside the video, or has no ordinary pair of frames near it.
        """
        check_video(video, where="seam score", min_frames=3 if boundaries else 2)
        if not boundaries:
            return Measured(None)
        differences = frame_differences(video)
        ratios = [self._ratio(differences, boundary, boundaries) for boundary in boundaries]
        return Measured(mean(ratios), Curve(list(boundaries), ratios))

    def _ratio(self, differences: Sequence[float], boundary: int, boundaries: Sequence[int]) -> float:
        if not 1 <= boundary <= len(differences):
            raise ValueError(
                f"seam score: boundary {boundary} lies outside the video, whose frames are 0 to {len(differences)}"
            )
        # pair i lies before frame i + 1
        pairs = range(max(boundary - 1 - self.window, 0), min(boundary + self.window, len(differences)))
        around = [differences[pair] for pair in pairs if pair + 1 not in boundaries]
        if not around:
            raise ValueError(f"seam score: all frames around boundary {boundary} are boundaries: widen the window")
        return (differences[boundary - 1] + 1) / (mean(around) + 1)
