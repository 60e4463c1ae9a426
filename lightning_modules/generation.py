"""Sampling with a trained module: network, guidance, sampler and rollout put together.

Axes: b batch, c channels, f frames, m context frames, h height, w width (latents).
"""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from lightning_modules.rollouts.interfaces import Canvas, Generate, Rollout
from lightning_modules.samplers.guidance import ClassifierFreeGuidance
from lightning_modules.samplers.interfaces import Denoise, OnStep
from networks.interfaces import Condition, Estimate


def _denoiser(module: Any, network: Any, condition: Condition) -> Denoise:
    """What a sampler sees: network, condition and objective behind one call."""

    def denoise(noisy: Tensor, time: Tensor, level: float) -> Estimate:
        estimate: Estimate = module.objective.estimate(network(noisy, time, condition), noisy, time)
        return estimate

    return denoise


def window_generator(
    module: Any,
    network: Any,
    guidance: ClassifierFreeGuidance,
    generator: torch.Generator | None,
    on_step: OnStep | None,
) -> Generate:
    """Binds everything but the window: what a rollout calls."""

    def generate(noise: Tensor, condition: Condition, context: Tensor | None) -> Tensor:
        null = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
        denoise = guidance(_denoiser(module, network, condition), _denoiser(module, network, null))
        given: dict[str, Tensor] = {}
        if context is not None:
            mask = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool, device=noise.device)
            mask[:, : context.shape[2]] = True
            canvas = torch.zeros_like(noise)
            canvas[:, :, : context.shape[2]] = context
            given = {"context_mask": mask, "context": canvas}
        video: Tensor = module.sampler(
            denoise, noise, path=module.objective.path, generator=generator, on_step=on_step, **given
        )
        return video

    return generate


@torch.no_grad()
def generate(
    module: LightningModule,
    noise: Tensor,
    condition: Condition,
    *,
    rollout: Rollout,
    guidance: ClassifierFreeGuidance,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Makes a video of the noise's size, in evaluation mode: latents b c f h w.

    noise: b c f h w, standard normal; condition: of the whole canvas; rollout: how the canvas is filled.

    A rollout that asks for the backbone gets the network itself where it has no such part: network=dit is one.
    """
    network = module.get_submodule("network")
    if rollout.network_part and hasattr(network, rollout.network_part):
        network = network.get_submodule(rollout.network_part)
    was_training = module.training
    module.eval()
    try:
        return rollout(window_generator(module, network, guidance, generator, on_step), Canvas(noise, condition))
    finally:
        module.train(was_training)
