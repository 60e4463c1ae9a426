"""Laws of the diffusion time in training, and the random clean prefix of the autoregressive baseline.

Axes: b batch, f frames. Time in [0, 1], 0 clean and 1 noise.
"""

from typing import Protocol, TypeVar

import torch
from einops import repeat
from torch import Tensor

from networks.ranges import Interval, Positive

Time = TypeVar("Time", float, Tensor)


def shift_time(time: Time, shift: float) -> Time:
    """Pushes times in [0, 1] towards noise: shift · t / (1 + (shift - 1) · t); 1 / shift undoes it.

    Source: arXiv 2403.03206, §5.3.2, eq. 23.
    """
    return shift * time / (1 + (shift - 1) * time)


class TimestepSampler(Protocol):
    """`objective.times=…`."""

    def sample(
        self, batch: int, num_frames: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws times b f in [0, 1]; generator: on the device, or None for torch's global one."""
        ...


class Uniform:
    """Uniform on [0, 1]."""

    def __init__(self, *, per_frame: bool = False) -> None:
        """per_frame: True draws every frame's time on its own (diffusion forcing); False one for each video."""
        self.per_frame = per_frame

    def sample(
        self, batch: int, num_frames: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws times b f in [0, 1)."""
        drawn = torch.rand(batch, num_frames if self.per_frame else 1, device=device, generator=generator)
        return drawn if self.per_frame else repeat(drawn, "b 1 -> b f", f=num_frames)


class LogitNormal:
    """The sigmoid of a normal variable: most times in the middle. Source: arXiv 2403.03206, §3.1."""

    def __init__(self, *, mean: float = 0.0, std: Positive = 1.0, per_frame: bool = False) -> None:
        """Nothing is drawn yet.

        Args:
            mean: mean of logit(time), which is normally distributed.
            std: standard deviation of logit(time), above 0.
            per_frame: as in Uniform.

        Raises:
            ValueError: if std is not positive.
        """
        if std <= 0:
            raise ValueError(f"LogitNormal's std={std} must be positive, e.g. 1.0")
        self.mean, self.std, self.per_frame = mean, std, per_frame

    def sample(
        self, batch: int, num_frames: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws times b f in (0, 1)."""
        drawn = torch.randn(batch, num_frames if self.per_frame else 1, device=device, generator=generator)
        time = torch.sigmoid(self.mean + self.std * drawn)
        return time if self.per_frame else repeat(time, "b 1 -> b f", f=num_frames)


class Shifted:
    """A law whose times are shifted towards noise.

    The more elements a video has, the more noise it takes to hide it: long videos need a larger shift, or the times at
    which global tokens matter are hardly ever drawn.
    """

    def __init__(self, *, law: TimestepSampler, shift: Positive, interval: Interval = (0.0, 1.0)) -> None:
        """Nothing is drawn yet.

        Args:
            law: law of times that is shifted.
            shift: above 1 towards noise, below 1 towards clean, 1 changes nothing.
            interval: times that the result is squeezed into, in [0, 1] and rising, for a network of a part of them,
                such as an expert of Wan 2.2 A14B (our choice).

        Raises:
            ValueError: if shift is not positive, or the interval does not rise.
        """
        if shift <= 0:
            raise ValueError(f"Shifted's shift={shift} must be positive; 1 changes nothing, 3 to 12 suit long videos")
        lowest, highest = interval
        if not 0 <= lowest < highest <= 1:
            raise ValueError(f"objective.times.interval={list(interval)} must be two rising times in [0, 1]")
        self.law, self.shift, self.interval = law, shift, (lowest, highest)

    def sample(
        self, batch: int, num_frames: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws times b f in [0, 1]."""
        lowest, highest = self.interval
        drawn = shift_time(self.law.sample(batch, num_frames, device, generator), self.shift)
        return drawn if self.interval == (0.0, 1.0) else lowest + (highest - lowest) * drawn


def clean_prefix(
    batch: int,
    num_frames: int,
    *,
    rate: float,
    max_frames: int,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws which frames are clean context: b f, True on the first k frames with probability `rate`, else nowhere.

    k is uniform on 1 … min(max_frames, num_frames - 1): one frame at least stays to be denoised.
    Source: Open-Sora 1.2's training with masked frames (`mask_ratios`).
    """
    longest = min(max_frames, num_frames - 1)
    chosen = torch.rand(batch, 1, device=device, generator=generator) < rate
    length = torch.rand(batch, 1, device=device, generator=generator)
    # The clamp also serves a single frame, whose longest prefix is 0, and a product rounded up to `longest`.
    frames = (1 + torch.floor(length * longest)).clamp(max=longest)
    return (torch.arange(num_frames, device=device) < frames) & chosen
