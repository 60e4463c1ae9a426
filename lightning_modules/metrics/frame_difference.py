"""Metrics on the differences of neighbouring frames. Axes: b c f h w."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from lightning_modules.metrics.per_video import PerVideoMean, check_video, frame_differences


class TemporalFlicker(PerVideoMean):
    """(255 − mean absolute difference of neighbouring frames) / 255: 1 is a still, 0 alternates black and white.

    Motion lowers it as flicker does: compare videos of like motion.

    Source: VBench, temporal flickering (there on static videos only).
    """

    higher_is_better = True

    def update(self, video: Tensor) -> None:
        """Score videos, b 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="temporal flicker")
        self.add((1 - frame_differences(video).mean(dim=1) / 255).tolist())


class SeamScore(PerVideoMean):
    """How much more changes at a boundary of pieces than around it: 1 is a seam that cannot be seen.

    Per boundary the mean absolute difference of the two frames that meet there, over the mean of the same for the
    `window` pairs before and after it that are no boundaries themselves; one grey level is added to both, so that
    stills score 1. A video's score is the mean over its boundaries; a video without boundaries is not counted.

    Source: our choice.
    """

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    higher_is_better = False

    def __init__(self, *, window: int = 4) -> None:
        """Take the number of pairs on each side that a seam is compared with.

        Raises:
            ValueError: window is below one.
        """
        super().__init__()
        if window < 1:
            raise ValueError(f"seam score: window is {window}, but must be at least 1")
        self.window = window

    def update(self, video: Tensor, boundaries: Sequence[int]) -> None:
        """Score videos.

        Args:
            video: b 3 f h w in [-1, 1] with three frames or more.
            boundaries: numbers, from 1 to f − 1, of the frames that open a new piece; the same for all rows.

        Raises:
            ValueError: a boundary lies outside the video, or has no ordinary pair of frames near it.
        """
        if not boundaries:
            return
        check_video(video, where="seam score", min_frames=3)
        differences = frame_differences(video)
        self.add([self._score(row.tolist(), boundaries) for row in differences])

    def _score(self, differences: Sequence[float], boundaries: Sequence[int]) -> float:
        ratios = []
        for boundary in boundaries:
            if not 1 <= boundary <= len(differences):
                raise ValueError(
                    f"seam score: boundary {boundary} lies outside the video, whose frames are 0 to {len(differences)}"
                )
            # pair i lies before frame i + 1
            pairs = range(max(boundary - 1 - self.window, 0), min(boundary + self.window, len(differences)))
            around = [differences[pair] for pair in pairs if pair + 1 not in boundaries]
            if not around:
                raise ValueError(f"seam score: all frames around boundary {boundary} are boundaries: widen the window")
            ratios.append((differences[boundary - 1] + 1) / (sum(around) / len(around) + 1))
        return sum(ratios) / len(ratios)
