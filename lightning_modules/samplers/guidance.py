"""Guidance: a denoiser made of denoisers, so that no sampler knows of it."""

from collections.abc import Sequence

from torch import Tensor

from lightning_modules.samplers.interfaces import Denoise
from networks.interfaces import Estimate


class ClassifierFreeGuidance:
    """Goes from the unconditional estimate past the conditional one. Source: arXiv 2207.12598, eq. 6.

    Both halves of the estimate are linear in the prediction at equal time, so this is guidance of eps, v, x0 and flow
    alike. Limited to an interval of times as in arXiv 2404.07724, §3.
    """

    def __init__(self, *, scale: float, interval: Sequence[float] = (0.0, 1.0)) -> None:
        """scale: 1 is the conditional estimate, above 1 beyond it; interval: (lowest, highest) guided time, inclusive.

        Raises:
            ValueError: if the interval is not two rising times in [0, 1].
        """
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"the guidance interval {list(interval)} must be two rising times in [0, 1]: [0.0, 1.0]")
        self.scale = scale
        self.lowest, self.highest = interval

    def __call__(self, conditional: Denoise, unconditional: Denoise) -> Denoise:
        """Returns the guided denoiser.

        Outside the interval, and everywhere at scale 1, it is exactly one call of `conditional`; elsewhere one call of
        each.
        """
        if self.scale == 1:
            return conditional

        def guided(noisy: Tensor, time: Tensor, level: float) -> Estimate:
            with_condition = conditional(noisy, time, level)
            if not self.lowest <= level <= self.highest:
                return with_condition
            without = unconditional(noisy, time, level)
            return Estimate(*(u + self.scale * (c - u) for c, u in zip(with_condition, without, strict=True)))

        return guided
