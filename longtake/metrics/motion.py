"""How much moves, how smoothly, and does what moved look the same? By dense optical flow. Axes: c f h w."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from longtake.metrics.flow import DIS, Flow, OpticalFlow, flow_norms, pairs, pixels
from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_side, check_video, floats, mean


class FlowMetric(PerVideoMean):
    """A metric that looks at the flow between frames."""

    def __init__(self, *, flow: OpticalFlow = DIS) -> None:
        super().__init__()
        self.flow = flow

    def check(self, video: Tensor, where: str, *, fps: float = 1.0, min_frames: int = 2) -> None:
        """Refuse what the flow can see nothing in.

        Args:
            video: 3 f h w in [-1, 1] or uint8.
            where: name of the metric, which the error begins with.
            fps: frames a second.
            min_frames: fewest frames that the metric takes.

        Raises:
            ValueError: too few frames, too small a picture, or a rate that is not above 0.
        """
        check_video(video, where=where, min_frames=min_frames)
        check_side(video, where=where, least=self.flow.min_side)
        if not fps > 0:
            raise ValueError(f"{where} needs frames a second above 0, got {fps}")


class MotionMagnitude(FlowMetric):
    """Mean speed over all pixels and pairs of frames, in short sides of the picture per second.

    Source: our choice; dividing by the short side and the frame time makes sizes and rates comparable.
    """

    needs: ClassVar[tuple[str, ...]] = ("fps",)
    about = "mean speed of all pixels, in short sides of the picture a second"
    curve_about = "speed, in short sides a second"

    def measure(self, video: Tensor, *, fps: float) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more, at `fps` frames a second."""
        self.check(video, "motion magnitude", fps=fps)
        factor = fps / min(video.shape[-2:])
        speeds = [float(norms.mean()) * factor for norms in flow_norms(video, self.flow)]
        return Measured(mean(speeds), Curve(list(range(1, video.shape[1])), speeds))


class DynamicDegree(FlowMetric):
    """Share of the videos that move at all.

    Frames are taken at about 8 a second. A pair moves if the mean of its 5 % largest flows exceeds 6 pixels at a short
    side of 256; a video moves if at least a quarter as many pairs move as it has frames.

    Source: VBench, dynamic degree, whose flow is RAFT's; and at least one pair must move (our choice: VBench's
    rounding lets a video of two frames pass for moving whatever it shows).
    """

    needs: ClassVar[tuple[str, ...]] = ("fps",)
    about = "share of the videos that move at all"

    def measure(self, video: Tensor, *, fps: float) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more, at `fps` frames a second."""
        self.check(video, "dynamic degree", fps=fps)
        video = video[:, :: max(1, round(fps / 8))]
        threshold = 6 * min(video.shape[-2:]) / 256
        num_moving = sum(_largest_mean(norms) > threshold for norms in flow_norms(video, self.flow))
        return Measured(float(num_moving >= max(1, round(video.shape[1] / 4))))


def _largest_mean(norms: Flow) -> float:
    num_largest = max(1, int(0.05 * norms.size))
    return float(np.partition(norms, -num_largest, axis=None)[-num_largest:].mean())


class MotionSmoothness(FlowMetric):
    """(255 − mean absolute error) / 255 of every second frame, made anew from its two neighbours: 1 is even motion.

    Each neighbour is moved half-way along the flow between the two, and both are averaged.

    Source: VBench, motion smoothness, which makes frames with AMT-S; by flow alone is our choice, as no such network
    comes with a package. Compare only scores of the same flow.
    """

    about = "how well every second frame is made anew from its neighbours; 1 is even motion or a still"
    curve_about = "likeness of the remade frame"
    higher_is_better = True

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with three frames or more."""
        self.check(video, "motion smoothness", min_frames=3)
        frames = list(range(1, video.shape[1] - 1, 2))
        scores = [1 - self._error(*floats(video[:, place - 1 : place + 2]).unbind(1)) / 2 for place in frames]
        return Measured(mean(scores), Curve(frames, scores))

    def _error(self, before: Tensor, middle: Tensor, after: Tensor) -> float:
        """Mean absolute error of the remade frame, in units where black to white is 2."""
        onward, backward = self.flow(before, after), self.flow(after, before)
        # the flow at a pixel of an end stands for the flow at the middle
        made = (_pull(before, -onward / 2) + _pull(after, -backward / 2)) / 2
        return float((made - middle).abs().mean())


def _pull(frame: Tensor, offset: npt.NDArray[Any]) -> Tensor:
    """A frame c h w whose pixel p shows what the given one shows at p + offset, h w 2."""
    height, width = frame.shape[-2:]
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([across, down], dim=-1) + torch.from_numpy(offset)
    grid = 2 * places / torch.tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    grid = grid.to(frame).unsqueeze(0)
    return functional.grid_sample(frame.unsqueeze(0), grid, padding_mode="border", align_corners=True)[0]


class MotionAwareWarpError(FlowMetric):
    """MAWE: the error of moving each frame along the flow to the next, over how much moves.

    Per pair of frames e / (9.5 · m), then the mean over pairs. e is the mean squared error in grey levels over the
    pixels that something was moved to, by whole pixels; m is the mean length of the flow in pixels of a picture of
    720 × 720.

    Source: StreamingT2V's released code, which enlarges videos to that size and takes RAFT's flow. Ours keeps the size
    that videos are scored at and scales the flow's length, and counts no m below 0.1, so that stills score 0 (our
    choice). Figures compare only at one size and one flow.
    """

    about = "error of warping each frame to the next, over how much moves (MAWE)"
    curve_about = "warp error over motion"
    higher_is_better = False

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        self.check(video, "warp error")
        height, width = video.shape[-2:]
        scale = np.array([720 / width, 720 / height], dtype=np.float32)
        values = []
        for before, after in pairs(video):
            flow = self.flow(before, after)
            motion = float(np.linalg.norm(flow * scale, axis=2).mean())
            values.append(warp_error(before, after, flow) / (9.5 * max(motion, 0.1)))
        return Measured(mean(values), Curve(list(range(1, video.shape[1])), values))


def warp_error(before: Tensor, after: Tensor, flow: Flow) -> float:
    """Mean squared error, in grey levels, where pixels of `before` land in `after` by a flow h w 2; 0 if none lands."""
    height, width = flow.shape[:2]
    down, across = np.mgrid[:height, :width]
    to_across, to_down = (np.rint(own + flow[..., axis]).astype(int) for axis, own in ((0, across), (1, down)))
    lands = (to_across >= 0) & (to_across < width) & (to_down >= 0) & (to_down < height)
    warped, hit = np.zeros((height, width, 3), np.float32), np.zeros((height, width), bool)
    # where several land on one pixel the last one stays, as in the released code
    warped[to_down[lands], to_across[lands]] = pixels(before)[lands]
    hit[to_down[lands], to_across[lands]] = True
    return float(np.square(warped - pixels(after))[hit].mean()) if hit.any() else 0.0
