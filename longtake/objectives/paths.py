"""Paths from clean video to noise: x_t = alpha(t) · clean + sigma(t) · noise, time 0 clean and 1 noise."""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from networks.ranges import Positive


class Coefficients(NamedTuple):
    """A path's factors and their derivatives by time, all of the time's shape."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


class Path(Protocol):
    """`objective.path=…`."""

    def coefficients(self, time: Tensor) -> Coefficients:
        """time: any shape, in [0, 1]."""
        ...


class LinearPath:
    """The straight line of rectified flow: x_t = (1 - t) · clean + t · noise. Source: arXiv 2209.03003, §2."""

    def coefficients(self, time: Tensor) -> Coefficients:
        """time: any shape, in [0, 1]."""
        one = torch.ones_like(time)
        return Coefficients(1 - time, time, -one, one)


class CosinePath:
    """Variance preserving, alpha = cos(πt/2) and sigma = sin(πt/2): no signal at all at time 1.

    Source: arXiv 2202.00512, §2 with its cosine schedule. It ends at zero signal, as arXiv 2305.08891 §3.1 asks.
    """

    def coefficients(self, time: Tensor) -> Coefficients:
        """time: any shape, in [0, 1]."""
        angle = time * (math.pi / 2)
        # cos(π/2) is -4e-8 in float32: alpha must not turn negative at time 1.
        alpha, sigma = torch.cos(angle).clamp(min=0), torch.sin(angle)
        return Coefficients(alpha, sigma, -sigma * (math.pi / 2), alpha * (math.pi / 2))


class ScheduledPath:
    """The schedule of a thousand betas that CogVideoX was trained on, as a path: step k is time (k + 1) / 1000.

    Betas are even in their square roots, the signal-to-noise ratio is divided by snr_shift, and alpha is moved and
    stretched so that the last step, time 1, holds no signal at all. Time 0, before the first step, is clean. Between
    two steps the angle between alpha and sigma is a straight line (our choice; variance is preserved there too).
    Source: arXiv 2408.06072; arXiv 2305.08891, alg. 1; diffusers' CogVideoXDDIMScheduler.
    """

    STEPS = 1000

    def __init__(self, *, snr_shift: Positive, beta_start: Positive = 0.00085, beta_end: Positive = 0.012) -> None:
        """snr_shift: 3 for CogVideoX 2B, 1 for 5B and 1.5 (snr_shift_scale); beta_start, beta_end: of the first step
        and the last.
        """
        self.snr_shift = snr_shift
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, self.STEPS, dtype=torch.float64)
        kept = torch.cumprod(1 - roots**2, dim=0)
        alpha = (kept / (snr_shift + (1 - snr_shift) * kept)).sqrt()
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        self._angles = torch.cat([torch.zeros(1, dtype=torch.float64), torch.arccos(alpha)])

    def coefficients(self, time: Tensor) -> Coefficients:
        """time: any shape, in [0, 1]."""
        angles = self._angles.to(time.device, time.dtype)
        place = self.STEPS * time
        # float32 may miss a whole step by half of its last digit
        low = (place + 1e-4).floor().clamp(0, self.STEPS - 1)
        rise = angles.diff()[low.long()]
        angle = angles[low.long()] + (place - low).clamp(min=0) * rise
        alpha, sigma = torch.cos(angle), torch.sin(angle)
        alpha = torch.where(place >= self.STEPS, 0.0, alpha)
        turned = self.STEPS * rise
        return Coefficients(alpha, sigma, -sigma * turned, alpha * turned)


def add_noise(
    video: Tensor, level: Tensor, generator: torch.Generator | None = None, *, shared: bool = False
) -> Tensor:
    """Moves latents n c f h w along the straight line to noise, to the time level (n). Source: our choice of path.

    shared: draws the noise of one row for all of them, so that a row does not depend on how many there are.
    """
    noise = torch.randn(video[:1].shape if shared else video.shape, device=video.device, generator=generator)
    return torch.lerp(video.float(), noise, level.view(-1, 1, 1, 1, 1))
