"""Long videos chunk by chunk: each continues from the last clean frames of the one before.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

import torch
from torch import Tensor

from longtake.rollouts.interfaces import Canvas, Generate, Given
from networks.ranges import Size


class Autoregressive:
    """`rollout=autoregressive`: the baseline that VIN is compared with.

    Window 0 starts from noise; window j holds the last `context_frames` clean latents in front, at time 0, unchanged
    by the sampler, and everything stays in latent space. Source: VIN §8.2, as digested from Open-Sora 1.2, where 5
    latents are context; as many as VIN's F_local in sampling, for parity, and staying in latents instead of decoding
    and encoding again are our choice.
    """

    network_part = "backbone"

    def __init__(self, *, window_frames: Size, context_frames: Size) -> None:
        """window_frames: latent frames denoised at once, context included; context_frames: clean ones in front.

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

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        num_frames = canvas.noise.shape[2]
        video = self._window(generate, canvas, None, 0, min(self.window_frames, num_frames))
        while video.shape[2] < num_frames:
            start = video.shape[2] - self.context_frames
            end = min(start + self.window_frames, num_frames)
            window = self._window(generate, canvas, video[:, :, start:], start, end)
            video = torch.cat([video, window[:, :, self.context_frames :]], dim=2)
        return video

    @staticmethod
    def _window(generate: Generate, canvas: Canvas, context: Tensor | None, start: int, end: int) -> Tensor:
        condition, noise = canvas.condition.frames(slice(start, end)), canvas.noise[:, :, start:end]
        return generate(noise, condition, None if context is None else in_front(context, noise))


def in_front(context: Tensor, noise: Tensor) -> Given:
    """Clean frames b c m h w in the first places of a window like `noise`, b c f h w."""
    mask = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool, device=noise.device)
    mask[:, : context.shape[2]] = True
    video = torch.zeros_like(noise)
    video[:, :, : context.shape[2]] = context
    return Given(mask, video)
