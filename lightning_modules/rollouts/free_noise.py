"""Long videos from one window's noise, repeated in shuffled order.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

import torch
from einops import rearrange
from torch import Tensor

from lightning_modules.rollouts.interfaces import Canvas, Generate
from lightning_modules.rollouts.merging import SlidingWindows


class FreeNoise:
    """`rollout=free_noise`: noise rescheduling, and windows fused with triangular weights at every step.

    Source: FreeNoise (arXiv 2310.15169), which fuses windows inside each temporal attention of a UNet. A DiT of full
    attention has no temporal layer apart, so predictions are fused, not features: our choice, which asks nothing of
    the network. Meant for samplers that draw no fresh noise (the paper: DDIM, eta 0).
    """

    network_part = "backbone"

    def __init__(self, *, window_frames: int, overlap_frames: int, shuffle_frames: int, windows_per_call: int) -> None:
        """Sizes in latent frames; shuffle_frames: unit within which repeated noise is shuffled; see SlidingWindows.

        Raises:
            ValueError: if the windows make no sense, or are not a whole number of units.
        """
        self.windows = SlidingWindows(
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            profile="triangular",
            windows_per_call=windows_per_call,
        )
        if shuffle_frames < 1 or window_frames % shuffle_frames:
            raise ValueError(
                f"rollout.shuffle_frames={shuffle_frames} must divide rollout.window_frames={window_frames}, so that "
                "every window repeats the whole first one"
            )
        self.shuffle_frames = shuffle_frames

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        noise = reschedule(canvas.noise, self.windows.window_frames, self.shuffle_frames)
        return generate(noise, canvas.condition, None, wrap=self.windows)


def reschedule(noise: Tensor, window_frames: int, shuffle_frames: int) -> Tensor:
    """The first window's noise again and again, each unit of frames shuffled anew from the unit one window before.

    noise: b c f h w, independent everywhere. The frames that are replaced choose the order: the ranks of independent
    normals are a uniform permutation, independent of the first window, and each video's own whatever else is made.
    """
    video = noise.clone()
    for start in range(window_frames, noise.shape[2], shuffle_frames):
        unit = noise[:, 0, start : start + shuffle_frames, 0, 0]
        order = start - window_frames + unit.argsort(dim=1)  # a shorter last unit shuffles what it needs
        index = rearrange(order, "b u -> b 1 u 1 1").expand(-1, noise.shape[1], -1, *noise.shape[3:])
        video[:, :, start : start + unit.shape[1]] = torch.gather(video, 2, index)
    return video
