"""Sampling with a trained module.

Axes: b batch, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from contextlib import nullcontext
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from lightning_modules.rollouts.interfaces import Canvas, Rollout
from lightning_modules.rollouts.whole import Whole
from lightning_modules.samplers.guidance import ClassifierFreeGuidance
from networks.interfaces import Condition, Estimate


def denoiser(module: Any, network: Any, condition: Condition) -> Any:
    """The callable that a sampler sees: (noisy, time) to an Estimate, with condition bound."""

    def denoise(noisy: Tensor, time: Tensor) -> Estimate:
        prediction = network(noisy, time, condition)
        return module.objective.estimate(prediction, noisy, time)

    return denoise
