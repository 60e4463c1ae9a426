"""Long videos chunk by chunk: each continues from the last clean frames of the one before."""

from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout
from networks.ranges import Size


class Autoregressive(Rollout):
    """`rollout=autoregressive`: the baseline that VIN is compared with.

    Window 0 starts from noise; window j holds the last `context_frames` clean latents in front, at time 0, unchanged
    by the sampler, and everything stays in latent space. Source: Open-Sora 1.2, where 5 latents are context, and are
    decoded and encoded again between windows. As many latents as VIN's F_local in sampling, so that both see as much,
    and staying in latents are our choice.
    """

    def __init__(self, *, window_frames: Size, context_frames: Size) -> None:
        """Sets the sizes, in latent frames.

        Args:
            window_frames: latent frames denoised at once, context included.
            context_frames: clean latent frames in front, from 1 to below window_frames.

        Raises:
            ValueError: if the context fills the window.
        """
        if not 0 < context_frames < window_frames:
            raise ValueError(
                f"rollout.context_frames={context_frames} must be at least 1 and less than "
                f"rollout.window_frames={window_frames}"
            )
        self.window_frames = window_frames
        self.context_frames = context_frames

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """Windows, each with the last frames of the one before it."""
        canvases = [CanvasPlan(consecutive(0, min(self.window_frames, num_latents)))]
        for end in range(self.window_frames, num_latents, self.window_frames - self.context_frames):
            start = end - self.context_frames
            frames = consecutive(start, min(start + self.window_frames, num_latents))
            canvases.append(CanvasPlan(frames, known=consecutive(0, self.context_frames)))
        return tuple(canvases)
