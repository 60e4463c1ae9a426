"""Paths from clean video to noise: x_t = alpha(t) · clean + sigma(t) · noise, time 0 clean and 1 noise."""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


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


def add_noise(
    video: Tensor, level: Tensor, generator: torch.Generator | None = None, *, shared: bool = False
) -> Tensor:
    """Moves latents n c f h w along the straight line to noise, to the time level (n). Source: our choice of path.

    shared: draws the noise of one row for all of them, so that a row does not depend on how many there are.
    """
    noise = torch.randn(video[:1].shape if shared else video.shape, device=video.device, generator=generator)
    return torch.lerp(video.float(), noise, level.view(-1, 1, 1, 1, 1))
