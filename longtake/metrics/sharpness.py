"""How much fine detail do frames hold? Axes: c f h w."""

from einops import einsum
from torch import Tensor

from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_side, check_video, floats, mean

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: ITU-R BT.601, as OpenCV turns colour to grey."""


class Sharpness(PerVideoMean):
    """Standard deviation of the Laplacian of the luma, in grey levels of 0 to 255, averaged over frames.

    Per pixel the Laplacian is the sum of the four neighbours minus four times the pixel, at all pixels that have four
    neighbours. A flat frame scores 0, a wave of amplitude A and of p pixels across √2 A (1 − cos 2π/p), a chequerboard
    of single black and white pixels 1020. Neither end is best: a blur has less than real videos, noise more. Compare
    videos of one size.

    Source: Pech-Pacheco et al. 2000, the variance of the Laplacian; its root, for units of grey levels, is our choice.
    """

    about = "fine detail of frames, in grey levels of 255; 0 is flat, a blur has less than real videos, noise more"
    curve_about = "fine detail of each frame"

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with a frame or more of 3 pixels a side or more."""
        check_video(video, where="sharpness", min_frames=1)
        check_side(video, where="sharpness", least=3)
        values = [_detail(floats(frame)) for frame in video.unbind(1)]  # one at a time to spare memory
        return Measured(mean(values), Curve(list(range(len(values))), values))


def _detail(frame: Tensor) -> float:
    luma = 127.5 * einsum(frame.double(), frame.new_tensor(LUMA).double(), "c h w, c -> h w")
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((around - 4 * luma[1:-1, 1:-1]).std(correction=0))
