"""Long videos as overlapping windows that are denoised jointly.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

from torch import Tensor

from longtake.rollouts.interfaces import Canvas, Generate
from longtake.rollouts.merging import Profile, SlidingWindows
from networks.ranges import Count, Size


class GenLVideo:
    """`rollout=gen_l_video`: at every step each frame takes the mean of the windows that cover it.

    MultiDiffusion in time, on fresh noise everywhere: VIN's sampling without global tokens.
    Source: Gen-L-Video (arXiv 2305.18264), VIN §8.6; the released code takes the plain mean of windows of 16 at stride
    8, half a window, as here by default. A last window flush with the end, so that no frame goes uncovered, is our
    choice; the optional pull towards the mean of the first 25 steps is left out.
    """

    network_part = "backbone"

    def __init__(
        self, *, window_frames: Size, overlap_frames: Count, profile: Profile, windows_per_call: Count
    ) -> None:
        """See SlidingWindows.

        Raises:
            ValueError: for sizes or a profile that make no windows.
        """
        self.windows = SlidingWindows(
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            profile=profile,
            windows_per_call=windows_per_call,
        )

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        return generate(canvas.noise, canvas.condition, None, wrap=self.windows)
