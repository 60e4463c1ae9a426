"""Long videos as overlapping windows that are denoised jointly."""

from longtake.rollouts.interfaces import Predict
from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout
from longtake.rollouts.sliding_windows import Profile, SlidingWindows
from networks.interfaces import VideoNetwork
from networks.parts import Parts
from networks.processes import Processes
from networks.ranges import Count, Size


class GenLVideo(Rollout):
    """`rollout=gen_l_video`: at every step each frame takes the mean of the windows that cover it.

    MultiDiffusion in time, on fresh noise everywhere: VIN's sampling without global tokens.
    Source: Gen-L-Video (arXiv 2305.18264); the released code takes the plain mean of windows of 16 at stride 8, half a
    window, as here by default. A last window flush with the end, so that no frame goes uncovered, is our
    choice; the optional pull towards the mean of the first 25 steps is left out.
    """

    def __init__(
        self, *, window_frames: Size, overlap_frames: Count, profile: Profile, windows_per_call: Count
    ) -> None:
        """Sets what SlidingWindows takes.

        Args:
            window_frames: latent frames of a window.
            overlap_frames: latent frames that neighbouring windows share.
            profile: weights within a window, "uniform" or "triangular".
            windows_per_call: how many windows are denoised at once; 0 for all.

        Raises:
            ValueError: for sizes or a profile that make no windows.
        """
        self.windows = SlidingWindows(
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            profile=profile,
            windows_per_call=windows_per_call,
        )

    def num_windows(self, network: VideoNetwork, num_frames: int) -> int:
        """In how many windows of its own this rollout cuts a canvas of so many latent frames."""
        return len(self.windows.starts(num_frames))

    def spread(self, network: VideoNetwork, processes: Processes) -> None:
        """Shares its own windows out."""
        self.windows.spread(processes)

    def frame_parts(self, network: VideoNetwork, num_frames: int) -> Parts | None:
        """The frames of its own windows."""
        return self.windows.frame_parts(num_frames)

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """One canvas, whose windows follow one another where the one before ends."""
        ends = (start + self.windows.window_frames for start in self.windows.starts(num_latents)[:-1])
        return (CanvasPlan(consecutive(0, num_latents), joins=tuple(ends)),)

    def wrap(self, network: Predict) -> Predict:
        """The network, called in this rollout's windows, whose predictions are averaged where they overlap."""
        return self.windows(network)
