"""Weights of the squared error by time."""

from typing import Protocol

import torch
from torch import Tensor

from longtake.objectives.paths import Coefficients
from longtake.objectives.predictions import Prediction
from networks.ranges import Positive

_FLOOR = 1e-4  # of alpha and sigma: the ratios below reach their limits in float32 and never 0 / 0


class Weight(Protocol):
    """`objective.weight=…`."""

    def __call__(self, coefficients: Coefficients, prediction: Prediction) -> Tensor:
        """The factor of the squared error in the prediction's own space, of the coefficients' shape."""
        ...


class NoWeight:
    """One at every time."""

    def __call__(self, coefficients: Coefficients, prediction: Prediction) -> Tensor:
        """Ones."""
        return torch.ones_like(coefficients.alpha)


class MinSNR:
    """The error of the clean estimate, weighted by min(SNR, gamma). Source: arXiv 2303.09556, §3.4.

    Written once for all kinds: min(SNR, gamma) times the squared gain from prediction to clean estimate. On a variance
    preserving path that is the paper's min(SNR, gamma) for x0, min(1, gamma / SNR) for eps and
    min(SNR, gamma) / (SNR + 1) for v; for the flow of the linear path it is min(SNR, gamma) · t², our extension.
    """

    def __init__(self, *, gamma: Positive = 5.0) -> None:
        """Keeps where the weight is cut.

        Args:
            gamma: the signal-to-noise ratio above which weight no longer grows; 5 in the paper.

        Raises:
            ValueError: if gamma is not positive.
        """
        if gamma <= 0:
            raise ValueError(f"MinSNR's gamma={gamma} must be positive, e.g. 5.0")
        self.gamma = gamma

    def __call__(self, coefficients: Coefficients, prediction: Prediction) -> Tensor:
        """Finite at both ends of the path."""
        alpha, sigma = coefficients.alpha.clamp(min=_FLOOR), coefficients.sigma.clamp(min=_FLOOR)
        gain = prediction.clean_gain(Coefficients(alpha, sigma, coefficients.d_alpha, coefficients.d_sigma))
        return ((alpha / sigma) ** 2).clamp(max=self.gamma) * gain**2
