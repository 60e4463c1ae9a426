"""What a sampler is given, and what it is.

Axes: b batch, c channels, f frames, h height, w width. Time in [0, 1], 0 clean and 1 noise. The `level` is the time of
all frames that are being denoised, as a Python number: known on the host, so nothing in a loop waits for the device.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from longtake.objectives.paths import Path
from networks.interfaces import Estimate


class Denoise(Protocol):
    """A network with its condition and guidance bound."""

    def __call__(self, noisy: Tensor, time: Tensor, level: float) -> Estimate:
        """noisy: b c f h w; time: b f, `level` everywhere but 0 on context frames; 1 1 without them."""
        ...


class DenoiseWithout(Protocol):
    """A denoiser for every set of conditions that guidance may leave out."""

    def __call__(self, *names: str) -> Denoise:
        """names: conditions that are left out, such as "text", "memory" or "global_tokens"."""
        ...


OnStep = Callable[[int, float, Estimate], None]
"""Called after each step with the number of steps done, the level just left and the estimate there."""


class Sampler(Protocol):
    """`sampler=…`.

    One that says `frame_by_frame = True` draws nothing, and makes of a frame what depends on no other frame, but for
    what `denoise` says of it: processes that share out a canvas then call it with the frames of their windows alone.
    """

    num_inference_steps: int

    def __call__(
        self,
        denoise: Denoise,
        noise: Tensor,
        *,
        path: Path,
        context_mask: Tensor | None = None,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Denoises one canvas.

        noise: b c f h w, standard normal. path: the one that the network was trained on.
        context_mask: b f, True where `context` (b c f h w) is given; those frames stay as they are, at time 0.
        generator: for samplers that draw fresh noise. Returns the video, b c f h w.
        """
        ...
