"""From noise to video with any denoiser: Euler, Heun and DDIM. They see no network, text or guidance.

Axes: b batch, c channels, f frames, h height, w width. Time in [0, 1], 0 clean and 1 noise. The `level` is the time of
all frames that are being denoised, as a Python number: known on the host, so nothing in a loop waits for the device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from lightning_modules.objectives.paths import Coefficients, Path
from lightning_modules.objectives.times import shift_time
from networks.interfaces import Estimate


class Denoise(Protocol):
    """A network with its condition and guidance bound."""

    def __call__(self, noisy: Tensor, time: Tensor, level: float) -> Estimate:
        """noisy: b c f h w; time: b f, `level` everywhere but 0 on context frames."""
        ...


OnStep = Callable[[int, float, Estimate], None]
"""Called after each step with the number of steps done, the level just left and the estimate there."""


class Sampler(Protocol):
    """`sampler=…`."""

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


def time_levels(num_steps: int, *, shift: float, first_time: float, last_time: float) -> list[float]:
    """The num_steps + 1 falling levels from first_time to last_time, evenly spaced before the shift."""
    first, last = shift_time(first_time, 1 / shift), shift_time(last_time, 1 / shift)
    even = [first + (last - first) * step / num_steps for step in range(num_steps + 1)]
    # The ends are given, not computed: rounding must not leave a last level of 1e-17.
    return [first_time, *(shift_time(level, shift) for level in even[1:-1]), last_time]


class ContextFrames:
    """The frames that are given: their times stay 0 and their values untouched."""

    def __init__(self, mask: Tensor | None, context: Tensor | None, noise: Tensor) -> None:
        """mask: b f or None; context: b c f h w or None; noise: the canvas b c f h w.

        Raises:
            ValueError: if only one of mask and context is given, or their shapes do not fit the canvas.
        """
        if (mask is None) != (context is None):
            raise ValueError("the sampler needs context_mask and context together, or neither")
        batch, _, num_frames, _, _ = noise.shape
        if (
            mask is not None
            and context is not None
            and (mask.shape, context.shape) != (noise[:, 0, :, 0, 0].shape, noise.shape)
        ):
            raise ValueError(
                f"the sampler's context_mask {tuple(mask.shape)} and context {tuple(context.shape)} must have the shapes "
                f"{(batch, num_frames)} and {tuple(noise.shape)} of the noise"
            )
        self.mask, self.context, self.noise = mask, context, noise

    def put_into(self, video: Tensor) -> Tensor:
        """The video with the given frames in their places."""
        if self.mask is None or self.context is None:
            return video
        return torch.where(rearrange(self.mask, "b f -> b 1 f 1 1"), self.context.to(video.dtype), video)

    def times(self, levels: Sequence[float]) -> Tensor:
        """Times s b f for each of the levels, built once before the loop."""
        batch, _, num_frames, _, _ = self.noise.shape
        steps = torch.tensor(levels, dtype=torch.float32).to(self.noise.device)
        times = steps[:, None, None].expand(-1, batch, num_frames)
        return times if self.mask is None else times.masked_fill(self.mask, 0.0)


class Solver(ABC):
    """The loop that Euler, Heun and DDIM share."""

    def __init__(
        self, *, num_inference_steps: int, shift: float = 1.0, first_time: float = 1.0, last_time: float = 0.0
    ) -> None:
        """shift: of the levels, as in training; first_time: where the noise stands; last_time: where to stop.

        A last_time above 0 returns a video that is still noisy, for another sampler to go on from.

        Raises:
            ValueError: if a setting lies outside its range.
        """
        if num_inference_steps < 1:
            raise ValueError(f"sampler.num_inference_steps={num_inference_steps} must be at least 1, e.g. 30")
        if shift <= 0:
            raise ValueError(f"sampler.shift={shift} must be positive; 1 spaces the steps evenly")
        if not 0 <= last_time < first_time <= 1:
            raise ValueError(f"sampler.last_time={last_time} < sampler.first_time={first_time} must lie in [0, 1]")
        self.num_inference_steps, self.shift = num_inference_steps, shift
        self.levels = time_levels(num_inference_steps, shift=shift, first_time=first_time, last_time=last_time)

    @torch.no_grad()
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
        """See Sampler."""
        frames = ContextFrames(context_mask, context, noise)
        times = frames.times(self.levels)
        # On the host and without dimensions: they multiply a video on any device without a copy or a wait.
        table = path.coefficients(torch.tensor(self.levels, dtype=torch.float64))
        video = frames.put_into(noise)
        for step, level in enumerate(self.levels[:-1]):
            estimate = denoise(video, times[step], level)
            here, there = Coefficients(*(t[step] for t in table)), Coefficients(*(t[step + 1] for t in table))

            def look_ahead(guess: Tensor, step: int = step) -> Estimate:
                return denoise(frames.put_into(guess), times[step + 1], self.levels[step + 1])

            length = self.levels[step + 1] - level
            video = frames.put_into(self._step(video, estimate, here, there, length, look_ahead, generator))
            if on_step is not None:
                on_step(step + 1, level, estimate)
        return video

    @abstractmethod
    def _step(
        self,
        video: Tensor,
        estimate: Estimate,
        here: Coefficients,
        there: Coefficients,
        length: float,
        look_ahead: Callable[[Tensor], Estimate],
        generator: torch.Generator | None,
    ) -> Tensor:
        """The video at the next level; length: next level minus this one; look_ahead: denoises a guess there."""


def velocity(estimate: Estimate, coefficients: Coefficients) -> Tensor:
    """How the noisy video changes with time: b c f h w."""
    return coefficients.d_alpha * estimate.clean + coefficients.d_sigma * estimate.noise


class Euler(Solver):
    """One straight step along the velocity; on the linear path the same as renoising at the next level."""

    def _step(  # noqa: D102
        self,
        video: Tensor,
        estimate: Estimate,
        here: Coefficients,
        there: Coefficients,
        length: float,
        look_ahead: Callable[[Tensor], Estimate],
        generator: torch.Generator | None,
    ) -> Tensor:
        return video + length * velocity(estimate, here)


class Heun(Solver):
    """A straight step with the mean velocity of both its ends: second order, two calls a step.

    A step that ends at time 0 is an Euler step, where the velocity at the end is never trained: 2n - 1 calls.
    Source: arXiv 2206.00364, alg. 1.
    """

    def _step(  # noqa: D102
        self,
        video: Tensor,
        estimate: Estimate,
        here: Coefficients,
        there: Coefficients,
        length: float,
        look_ahead: Callable[[Tensor], Estimate],
        generator: torch.Generator | None,
    ) -> Tensor:
        first = velocity(estimate, here)
        guess = video + length * first
        if there.sigma == 0:
            return guess
        return video + length * 0.5 * (first + velocity(look_ahead(guess), there))


class DDIM(Solver):
    """Renoises the estimate at the next level, on any path; eta > 0 replaces part of the noise by fresh noise.

    Source: arXiv 2010.02502, eq. 12 and 16. Its share of fresh noise, written by the path's signal-to-noise ratios, is
    eta² · (1 - SNR here / SNR there) of the variance: so it holds for paths that do not preserve variance (ours).
    """

    def __init__(
        self,
        *,
        num_inference_steps: int,
        shift: float = 1.0,
        first_time: float = 1.0,
        last_time: float = 0.0,
        eta: float = 0.0,
    ) -> None:
        """eta: 0 is deterministic, 1 the ancestral sampler; the rest as in Solver.

        Raises:
            ValueError: if a setting lies outside its range.
        """
        super().__init__(
            num_inference_steps=num_inference_steps, shift=shift, first_time=first_time, last_time=last_time
        )
        if not 0 <= eta <= 1:
            raise ValueError(f"sampler.eta={eta} must lie in [0, 1]; 0 is deterministic")
        self.eta = eta

    def _step(  # noqa: D102
        self,
        video: Tensor,
        estimate: Estimate,
        here: Coefficients,
        there: Coefficients,
        length: float,
        look_ahead: Callable[[Tensor], Estimate],
        generator: torch.Generator | None,
    ) -> Tensor:
        noise = estimate.noise
        if self.eta > 0:
            ratio = (here.alpha * there.sigma / (here.sigma * there.alpha)) ** 2
            fresh_share = self.eta**2 * (1 - ratio)
            fresh = torch.randn(video.shape, dtype=video.dtype, device=video.device, generator=generator)
            noise = (1 - fresh_share).sqrt() * noise + fresh_share.sqrt() * fresh
        return there.alpha * estimate.clean + there.sigma * noise
