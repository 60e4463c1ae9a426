"""From noise to video with any denoiser: Euler, Heun and DDIM. They see no network, text or guidance.

Axes: b batch, c channels, f frames, h height, w width. Time in [0, 1], 0 clean and 1 noise; a level is
the time of all frames that are being denoised.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from longtake.objectives.paths import Coefficients, Path
from longtake.objectives.times import shift_time
from longtake.samplers.interfaces import Denoise, OnStep
from networks.interfaces import Estimate
from networks.ranges import Positive, Share, Size, Time


def time_levels(num_steps: int, *, shift: float, first_time: float, last_time: float) -> list[float]:
    """The num_steps + 1 falling levels from first_time to last_time, evenly spaced before the shift."""
    first, last = shift_time(first_time, 1 / shift), shift_time(last_time, 1 / shift)
    even = [first + (last - first) * step / num_steps for step in range(num_steps + 1)]
    # The ends are given, not computed: rounding must not leave a last level of 1e-17.
    return [first_time, *(shift_time(level, shift) for level in even[1:-1]), last_time]


class ContextFrames:
    """The frames that are given: their times stay 0 and their values untouched."""

    def __init__(self, mask: Tensor | None, context: Tensor | None, noise: Tensor) -> None:
        """Keeps what is given.

        Args:
            mask: b f, which frames are given; None: none are.
            context: b c f h w, their values; None where there is no mask.
            noise: the canvas b c f h w.

        Raises:
            ValueError: if only one of mask and context is given, or their shapes do not fit the canvas.
        """
        if (mask is None) != (context is None):
            raise ValueError("the sampler needs context_mask and context together, or neither")
        expected = ((noise.shape[0], noise.shape[2]), tuple(noise.shape))
        if mask is not None and context is not None:
            given = (tuple(mask.shape), tuple(context.shape))
            if given != expected:
                raise ValueError(
                    f"the sampler's context_mask and context have the shapes {given}; the noise asks for {expected}"
                )
        self.mask, self.context, self.noise = mask, context, noise

    def put_into(self, video: Tensor) -> Tensor:
        """The video with the given frames in their places."""
        if self.mask is None or self.context is None:
            return video
        return torch.where(rearrange(self.mask, "b f -> b 1 f 1 1"), self.context.to(video.dtype), video)

    def times(self, levels: Sequence[float]) -> Tensor:
        """Times s b f for each of the levels, built once before the loop; s 1 1 where no frame is given."""
        times = torch.tensor(levels, dtype=torch.float32).to(self.noise.device)[:, None, None]
        return times if self.mask is None else times.masked_fill(self.mask, 0.0)


class Step(NamedTuple):
    """One step of a solver.

    here, there: the path's coefficients at this and the next level, without dimensions, on the host; length: the next
    level minus this one; look_ahead: denoises a guess at the next level; generator: for fresh noise.
    """

    here: Coefficients
    there: Coefficients
    length: float
    look_ahead: Callable[[Tensor], Estimate]
    generator: torch.Generator | None


class Solver(ABC):
    """The loop that Euler, Heun and DDIM share."""

    frame_by_frame: bool = False
    """Whether what it makes of a frame depends on no other one, but for what the network says; see Sampler."""

    def __init__(
        self, *, num_inference_steps: Size, shift: Positive = 1.0, first_time: Time = 1.0, last_time: Time = 0.0
    ) -> None:
        """Sets the levels.

        Args:
            num_inference_steps: denoising steps.
            shift: shift of the levels towards noise, above 0, as in training.
            first_time: time that the noise stands at, in [0, 1].
            last_time: time to stop at, in [0, 1], below first_time. Above 0 the video is returned still noisy, for
                another sampler to go on from.

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

        def denoise_at(index: int, video: Tensor) -> Estimate:
            return denoise(frames.put_into(video), times[index], self.levels[index])

        video = noise
        for index in range(self.num_inference_steps):
            estimate = denoise_at(index, video)
            step = Step(
                here=Coefficients(*(column[index] for column in table)),
                there=Coefficients(*(column[index + 1] for column in table)),
                length=self.levels[index + 1] - self.levels[index],
                look_ahead=partial(denoise_at, index + 1),
                generator=generator,
            )
            video = self._step(video, estimate, step)
            if on_step is not None:
                on_step(index + 1, self.levels[index], estimate)
        return frames.put_into(video)

    @abstractmethod
    def _step(self, video: Tensor, estimate: Estimate, step: Step) -> Tensor:
        """Takes the video to the next level; context frames are put back by the caller."""


def velocity(estimate: Estimate, coefficients: Coefficients) -> Tensor:
    """How the noisy video changes with time: b c f h w."""
    return coefficients.d_alpha * estimate.clean + coefficients.d_sigma * estimate.noise


class Euler(Solver):
    """One straight step along the velocity; on the linear path the same as renoising at the next level."""

    frame_by_frame = True

    def _step(self, video: Tensor, estimate: Estimate, step: Step) -> Tensor:
        return video + step.length * velocity(estimate, step.here)


class Heun(Solver):
    """A straight step with the mean velocity of both its ends: second order, two calls a step.

    A step that ends at time 0 is an Euler step, where the velocity at the end is never trained: 2n - 1 calls.
    Source: arXiv 2206.00364, alg. 1.
    """

    frame_by_frame = True

    def _step(self, video: Tensor, estimate: Estimate, step: Step) -> Tensor:
        first = velocity(estimate, step.here)
        guess = video + step.length * first
        if step.there.sigma == 0:
            return guess
        return video + step.length * 0.5 * (first + velocity(step.look_ahead(guess), step.there))


class DDIM(Solver):
    """Renoises the estimate at the next level, on any path; eta > 0 replaces part of the noise by fresh noise.

    Source: arXiv 2010.02502, eq. 12 and 16. Its share of fresh noise, written by the path's signal-to-noise ratios, is
    eta² · (1 - SNR here / SNR there) of the variance: so it holds for paths that do not preserve variance (ours).
    """

    def __init__(
        self,
        *,
        num_inference_steps: Size,
        shift: Positive = 1.0,
        first_time: Time = 1.0,
        last_time: Time = 0.0,
        eta: Share = 0.0,
    ) -> None:
        """Sets the levels, and how much noise is fresh.

        Args:
            num_inference_steps: denoising steps.
            shift: shift of the levels towards noise, above 0, as in training.
            first_time: time that the noise stands at, in [0, 1].
            last_time: time to stop at, in [0, 1], below first_time.
            eta: 0 is deterministic, 1 the ancestral sampler.

        Raises:
            ValueError: if a setting lies outside its range.
        """
        super().__init__(
            num_inference_steps=num_inference_steps, shift=shift, first_time=first_time, last_time=last_time
        )
        if not 0 <= eta <= 1:
            raise ValueError(f"sampler.eta={eta} must lie in [0, 1]; 0 is deterministic")
        self.eta = eta
        self.frame_by_frame = eta == 0  # fresh noise is drawn for the whole canvas

    def _step(self, video: Tensor, estimate: Estimate, step: Step) -> Tensor:
        noise = estimate.noise
        if self.eta > 0:
            ratio = (step.here.alpha * step.there.sigma / (step.here.sigma * step.there.alpha)) ** 2
            fresh_share = self.eta**2 * (1 - ratio)
            fresh = torch.randn(video.shape, dtype=video.dtype, device=video.device, generator=step.generator)
            noise = (1 - fresh_share).sqrt() * noise + fresh_share.sqrt() * fresh
        return step.there.alpha * estimate.clean + step.there.sigma * noise
