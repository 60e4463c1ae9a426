"""Guidance: a denoiser made of denoisers, so that no sampler knows of it."""

import math
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from longtake.samplers.interfaces import Denoise, DenoiseWithout
from networks.interfaces import Estimate
from networks.processes import ALONE, Processes
from networks.ranges import Interval, Size, Time


class Guidance(Protocol):
    """`guidance=…`."""

    def __call__(self, denoise_without: DenoiseWithout) -> Denoise:
        """denoise_without: names of conditions to leave out, such as "text", to a denoiser; none: all are known."""
        ...


class NestedGuidance:
    """Conditions added one by one, each difference with its own scale: text, memory and global tokens apart.

    v = v(∅) + Σ_k scale_k · [v(first k conditions) − v(first k − 1)]. With one condition it is classifier-free guidance
    (arXiv 2207.12598, eq. 6). Both halves of an estimate are linear in the prediction at equal time, so this is
    guidance of eps, v, x0 and flow alike.
    Source: our choice for several scales, as StreamingT2V (arXiv 2403.14773) has two; intervals after arXiv
    2404.07724, §3.
    """

    frame_by_frame = True
    """What it makes of a frame depends on no other one, so that processes may each hold frames of their own."""

    def __init__(self, *, scales: Mapping[str, float], intervals: Mapping[str, Interval] | None = None) -> None:
        """Sets how each condition weighs.

        Args:
            scales: scale of each condition, in the order in which they are added; 1 neither weakens nor strengthens.
            intervals: (lowest, highest) time at which a condition's scale holds, inclusive; elsewhere it is 1.

        Raises:
            ValueError: if an interval is not two rising times in [0, 1], or belongs to no scale.
        """
        self.processes = ALONE
        self.scales = dict(scales)
        self.intervals = {name: tuple(times) for name, times in (intervals or {}).items()}
        for name, times in self.intervals.items():
            if name not in self.scales:
                raise ValueError(f"guidance.intervals names {name}, which has no scale: use {', '.join(self.scales)}")
            if len(times) != 2 or not 0 <= times[0] <= times[1] <= 1:
                raise ValueError(f"the guidance interval {list(times)} must be two rising times in [0, 1]: [0.0, 1.0]")

    def most_passes(self, lacking: Collection[str] = ()) -> int:
        """How many times a step asks the network, at most.

        lacking: names of what no condition of these weights has, such as "text", and so has no pass of its own.
        """
        return 1 + sum(scale != 1 for name, scale in self.scales.items() if name not in lacking)

    def spread(self, processes: Processes) -> None:
        """From here on the passes of a step are shared out over processes."""
        self.processes = processes

    def _scale(self, name: str, level: float) -> float:
        lowest, highest = self.intervals.get(name, (0.0, 1.0))
        return self.scales[name] if lowest <= level <= highest else 1.0

    def __call__(self, denoise_without: DenoiseWithout) -> Denoise:
        """The guided denoiser. It calls only what counts: where all scales are 1, one pass with everything.

        denoise_without: answers with the same denoiser where names change nothing, such as "text" without a prompt.
        """
        names = list(self.scales)
        # Pass k knows the first k conditions.
        passes = [denoise_without(*names[known:]) for known in range(len(names) + 1)]

        def guided(noisy: Tensor, time: Tensor, level: float) -> Estimate:
            scales = [1.0, *(self._scale(name, level) for name in names), 0.0]
            shares = dict.fromkeys(passes, 0.0)  # what a condition does not have to lack makes no pass of its own
            for each, (scale, following) in zip(passes, pairwise(scales), strict=True):
                shares[each] += scale - following
            counted = [(share, each) for each, share in shares.items() if share != 0]
            own = counted[self.processes.share(len(counted))]
            made = [(share, each(noisy, time, level)) for share, each in own]
            if not made:  # a step of one pass: this process waits for the other
                made = [(0.0, Estimate(torch.zeros_like(noisy).float(), torch.zeros_like(noisy).float()))]
            clean, noise = made[0][1].clean * made[0][0], made[0][1].noise * made[0][0]
            for share, estimate in made[1:]:
                clean, noise = clean + share * estimate.clean, noise + share * estimate.noise
            return Estimate(*self.processes.sum(clean, noise))

        return guided


class ClassifierFreeGuidance(NestedGuidance):
    """Guidance by the text alone."""

    def __init__(self, *, scale: float, interval: Interval = (0.0, 1.0)) -> None:
        """Sets how the text weighs.

        Args:
            scale: 1 is the conditional estimate, above 1 beyond it.
            interval: (lowest, highest) guided time, inclusive.

        Raises:
            ValueError: if the interval is not two rising times in [0, 1].
        """
        super().__init__(scales={"text": scale}, intervals={"text": interval})
        self.scale = scale


class DynamicGuidance(ClassifierFreeGuidance):
    """Guidance whose scale goes up and down with the step, as diffusers' CogVideoXPipeline has it (use_dynamic_cfg).

    1 + scale · (1 − cos(π · ((n − k) / n)⁵)) / 2 with n steps, where k is the step among a thousand and not the step of
    the n. So it is no smooth rise: it is what that pipeline computes.
    """

    def __init__(self, *, scale: float, num_inference_steps: Size) -> None:
        """Sets how the text weighs.

        Args:
            scale: largest value that is added to 1.
            num_inference_steps: denoising steps of the sampler.
        """
        super().__init__(scale=scale)
        self.num_inference_steps = num_inference_steps

    def _scale(self, name: str, level: float) -> float:
        count = self.num_inference_steps
        step = round(1000 * level) - 1
        return 1 + self.scale * (1 - math.cos(math.pi * ((count - step) / count) ** 5.0)) / 2


class GuidanceByTime(ClassifierFreeGuidance):
    """Guidance with a scale for early steps and one for late steps, as of the two experts of Wan 2.2 A14B."""

    def __init__(self, *, scale: float, late_scale: float, boundary: Time) -> None:
        """Sets how the text weighs.

        Args:
            scale: scale from time 1 down to the boundary, inclusive.
            late_scale: scale below the boundary.
            boundary: time in [0, 1] at which the scale changes.
        """
        super().__init__(scale=scale)
        self.late_scale, self.boundary = late_scale, boundary

    def _scale(self, name: str, level: float) -> float:
        return self.scale if level >= self.boundary else self.late_scale
