"""What the network predicts, and how each kind becomes the canonical pair (clean, noise).

With x = alpha · clean + sigma · noise and one more linear equation (the prediction), the pair follows: one function for
each kind instead of one for each pair of kinds. Coefficients broadcast against the video.
"""

from typing import Protocol

import torch
from torch import Tensor

from longtake.objectives.paths import Coefficients
from networks.interfaces import Estimate
from networks.ranges import Positive


class Prediction(Protocol):
    """`objective.prediction=…`; every tensor b c f h w, coefficients broadcast against it."""

    def target(self, clean: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        """What the network should say."""
        ...

    def estimate(self, prediction: Tensor, noisy: Tensor, coefficients: Coefficients) -> Estimate:
        """The pair that the prediction implies at this noisy video."""
        ...

    def clean_gain(self, coefficients: Coefficients) -> Tensor:
        """How far the clean estimate moves when the prediction moves by one, without sign; of the coefficients' shape.

        A squared error of the prediction times the gain squared is the squared error of the clean estimate.
        """
        ...


class EpsPrediction:
    """The noise, which VIN (arXiv 2503.17539) predicts; the clean video comes from a division by alpha."""

    def __init__(self, *, floor: Positive = 0.01) -> None:
        """floor: least alpha that is divided by.

        Below it the clean estimate shrinks to zero, where it would be the network's error blown up by 1 / alpha: at
        time 1 the noise alone says nothing of the video. Our choice: with shift 5, alpha after the first of 30 steps
        is about 0.01, so a step multiplies that error by about 1.
        """
        self.floor = floor

    def target(self, clean: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        """The noise itself."""
        return noise

    def estimate(self, prediction: Tensor, noisy: Tensor, coefficients: Coefficients) -> Estimate:
        """Exact wherever alpha is at least the floor."""
        clean = (noisy - coefficients.sigma * prediction) / coefficients.alpha.clamp(min=self.floor)
        return Estimate(clean, prediction)

    def clean_gain(self, coefficients: Coefficients) -> Tensor:
        """It is sigma / alpha."""
        return coefficients.sigma / coefficients.alpha


class CleanPrediction:
    """The clean video (x0); the noise comes from a division by sigma."""

    def __init__(self, *, floor: Positive = 0.01) -> None:
        """floor: least sigma that is divided by; below it the noise estimate shrinks to zero. Our choice."""
        self.floor = floor

    def target(self, clean: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        """The clean video itself."""
        return clean

    def estimate(self, prediction: Tensor, noisy: Tensor, coefficients: Coefficients) -> Estimate:
        """Exact wherever sigma is at least the floor."""
        noise = (noisy - coefficients.alpha * prediction) / coefficients.sigma.clamp(min=self.floor)
        return Estimate(prediction, noise)

    def clean_gain(self, coefficients: Coefficients) -> Tensor:
        """One."""
        return torch.ones_like(coefficients.sigma)


class VPrediction:
    """v = alpha · noise - sigma · clean. Source: arXiv 2202.00512, §4.

    On a path that does not preserve variance the determinant alpha² + sigma² (at least 1/2) does not cancel: it is
    divided out, so both ends are exact on every path.
    """

    def target(self, clean: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        """It is alpha · noise - sigma · clean."""
        return coefficients.alpha * noise - coefficients.sigma * clean

    def estimate(self, prediction: Tensor, noisy: Tensor, coefficients: Coefficients) -> Estimate:
        """Exact at every time."""
        alpha, sigma = coefficients.alpha, coefficients.sigma
        determinant = alpha**2 + sigma**2
        clean = (alpha * noisy - sigma * prediction) / determinant
        return Estimate(clean, (sigma * noisy + alpha * prediction) / determinant)

    def clean_gain(self, coefficients: Coefficients) -> Tensor:
        """It is sigma / (alpha² + sigma²)."""
        return coefficients.sigma / (coefficients.alpha**2 + coefficients.sigma**2)


class FlowPrediction:
    """The path's velocity d_alpha · clean + d_sigma · noise; on the linear path noise - clean.

    Source: arXiv 2209.03003, §2. The determinant alpha · d_sigma - sigma · d_alpha is 1 on the linear path and π/2 on
    the cosine path: both ends are exact.
    """

    def target(self, clean: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        """It is d_alpha · clean + d_sigma · noise."""
        return coefficients.d_alpha * clean + coefficients.d_sigma * noise

    def estimate(self, prediction: Tensor, noisy: Tensor, coefficients: Coefficients) -> Estimate:
        """Exact at every time."""
        alpha, sigma, d_alpha, d_sigma = coefficients
        determinant = alpha * d_sigma - sigma * d_alpha
        clean = (d_sigma * noisy - sigma * prediction) / determinant
        return Estimate(clean, (alpha * prediction - d_alpha * noisy) / determinant)

    def clean_gain(self, coefficients: Coefficients) -> Tensor:
        """It is sigma / (alpha · d_sigma - sigma · d_alpha)."""
        alpha, sigma, d_alpha, d_sigma = coefficients
        return sigma / (alpha * d_sigma - sigma * d_alpha)
