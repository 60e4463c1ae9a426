"""How often does the video jump? Axes: c f h w."""

from torch import Tensor

from longtake.metrics.flow import pixels
from longtake.metrics.per_video import Measured, PerVideoMean, check_video
from networks.ranges import Positive, Size


class SceneCuts(PerVideoMean):
    """Number of cuts per video by PySceneDetect's AdaptiveDetector; a long take should have none.

    The detector finds no cut in the first `min_scene_len` frames, nor in the last two.

    Source: StreamingT2V's SCuts: the detector with its default parameters.
    """

    about = "cuts in a video; a long take has none"
    higher_is_better = False

    def __init__(self, *, adaptive_threshold: Positive = 3.0, min_scene_len: Size = 15) -> None:
        """Take the detector's parameters.

        Args:
            adaptive_threshold: how many times its neighbours' change a frame's change must be.
            min_scene_len: fewest frames between two cuts.
        """
        super().__init__()
        self.adaptive_threshold = adaptive_threshold
        self.min_scene_len = min_scene_len

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="scene cuts")
        return Measured(float(len(self.cuts(video))))

    def cuts(self, video: Tensor) -> list[int]:
        """Numbers of the frames of c f h w in [-1, 1] at which a new scene begins."""
        from scenedetect import AdaptiveDetector, FrameTimecode

        detector = AdaptiveDetector(adaptive_threshold=self.adaptive_threshold, min_scene_len=self.min_scene_len)
        found: list[int] = []
        for number, frame in enumerate(video.unbind(1)):
            blue_first = pixels(frame.flip(0))
            # the detector counts frames; the rate that a time code must have does not matter
            found += [cut.frame_num for cut in detector.process_frame(FrameTimecode(number, 25.0), blue_first)]
        found += [cut.frame_num for cut in detector.post_process(FrameTimecode(video.shape[1] - 1, 25.0))]
        return found
