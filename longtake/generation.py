"""Sampling with a trained module: network, guidance, sampler and rollout put together.

Axes: b batch, c channels, f frames, m context frames, h height, w width (latents).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from longtake.finite import NOT_FINITE, check_finite
from longtake.rollouts.interfaces import Canvas, Generate, Given, Predict, Wrap, unwrapped
from longtake.rollouts.rollout import Rollout
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import Denoise, OnStep
from networks.interfaces import Condition, Estimate, VideoNetwork


def _denoiser(module: Any, network: Predict, condition: Condition) -> Denoise:
    """What a sampler sees: network, condition and objective behind one call."""

    def denoise(noisy: Tensor, time: Tensor, level: float) -> Estimate:
        estimate: Estimate = module.objective.estimate(network(noisy, time, condition), noisy, time)
        return estimate

    return denoise


def window_generator(
    module: Any,
    network: VideoNetwork,
    guidance: Guidance,
    generator: torch.Generator | None,
    on_step: OnStep | None,
    without: Sequence[str] = (),
) -> Generate:
    """Binds everything but the window: what a rollout calls.

    without: names that every condition goes without, see Condition.without. What is made of the context is made once,
    for all steps and, as it holds no prompt, for guidance's passes.

    It raises ValueError where what it makes holds NaN or infinity.
    """

    def generate(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        condition = network.encode_context(condition.without(*without))

        def denoise_without(*names: str) -> Denoise:
            return _denoiser(module, wrap(network), condition.without(*names))

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


def part_of(network: VideoNetwork, rollout: Rollout) -> VideoNetwork:
    """What a rollout calls: the whole network, or the one that it runs on windows of its own."""
    return network.over_windows if rollout.network_part else network


@torch.inference_mode()
def generate(
    module: Any,
    noise: Tensor,
    condition: Condition,
    *,
    rollout: Rollout,
    guidance: Guidance,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
    keep: Callable[[Generate], Generate] | None = None,
    without: Sequence[str] = (),
) -> Tensor:
    """Makes a video of the noise's size, in evaluation mode: latents b c f h w.

    noise: b c f h w, standard normal; condition: of the whole canvas; rollout: how the canvas is filled; keep: see
    WindowCache. without: names that every condition goes without, see Condition.without.

    Raises:
        ValueError: if the video would hold NaN or infinity.
    """
    network = part_of(module.network, rollout)
    was_training = module.training
    module.eval()
    try:
        window = window_generator(module, network, guidance, generator, on_step, without)
        return rollout(window if keep is None else keep(window), Canvas(noise, condition))
    finally:
        module.train(was_training)
