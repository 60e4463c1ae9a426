"""Sampling with a trained module: network, guidance, sampler and rollout put together.

Axes: b batch, c channels, f frames, m context frames, h height, w width (latents).
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from longtake.finite import NOT_FINITE, check_finite
from longtake.rollouts.interfaces import Canvas, Generate, Given, Rollout, Wrap, unwrapped
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import Denoise, OnStep
from networks.interfaces import Condition, Estimate


def _denoiser(module: Any, network: Any, wrap: Wrap, condition: Condition, ablations: tuple[str, ...]) -> Denoise:
    """What a sampler sees: network, condition and objective behind one call."""

    def denoise(noisy: Tensor, time: Tensor, level: float) -> Estimate:
        with ExitStack() as stack:
            for ablation in set(ablations) & set(network.ablations):
                stack.enter_context(network.without(ablation))
            prediction = wrap(network)(noisy, time, condition)
        estimate: Estimate = module.objective.estimate(prediction, noisy, time)
        return estimate

    return denoise


def _without(condition: Condition, names: tuple[str, ...]) -> Condition:
    """A condition that lacks its text or its context, where these are named."""
    if "text" in names:
        condition = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
    if "memory" in names:
        condition = condition._replace(context=(), memory=None)
    return condition


def window_generator(
    module: Any,
    network: Any,
    guidance: Guidance,
    generator: torch.Generator | None,
    on_step: OnStep | None,
) -> Generate:
    """Binds everything but the window: what a rollout calls.

    It raises ValueError where what it makes holds NaN or infinity.
    """

    def generate(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        if hasattr(network, "remember"):  # once for all steps and, as it holds no prompt, for guidance's passes
            condition = condition._replace(memory=network.remember(condition))

        def denoise_without(*names: str) -> Denoise:
            parts = tuple(name for name in names if name not in ("text", "memory"))
            return _denoiser(module, network, wrap, _without(condition, names), parts)

        known = {} if given is None else {"context_mask": given.mask, "context": given.video}
        video: Tensor = module.sampler(
            guidance(denoise_without),
            noise,
            path=module.objective.path,
            generator=generator,
            on_step=on_step,
            **known,
        )
        check_finite(video, "what was sampled", NOT_FINITE)  # here, so that no window of it is kept
        return video

    return generate


@torch.inference_mode()
def generate(
    module: LightningModule,
    noise: Tensor,
    condition: Condition,
    *,
    rollout: Rollout,
    guidance: Guidance,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
    keep: Callable[[Generate], Generate] | None = None,
) -> Tensor:
    """Makes a video of the noise's size, in evaluation mode: latents b c f h w.

    noise: b c f h w, standard normal; condition: of the whole canvas; rollout: how the canvas is filled; keep: see
    KeptWindows.

    A rollout that asks for the backbone gets the network itself where it has no such part: network=dit is one.

    Raises:
        ValueError: if the video would hold NaN or infinity.
    """
    network = module.get_submodule("network")
    if rollout.network_part and hasattr(network, rollout.network_part):
        network = network.get_submodule(rollout.network_part)
    was_training = module.training
    module.eval()
    try:
        window = window_generator(module, network, guidance, generator, on_step)
        return rollout(window if keep is None else keep(window), Canvas(noise, condition))
    finally:
        module.train(was_training)
