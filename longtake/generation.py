"""Sampling with a trained module: network, guidance, sampler and rollout put together.

Axes: b batch, c channels, f frames, m context frames, h height, w width (latents).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtake.finite import NOT_FINITE, check_finite
from longtake.rollouts.interfaces import Canvas, Generate, Given, Predict, Wrap, unwrapped
from longtake.rollouts.rollout import Rollout
from longtake.running import AS_WRITTEN, Running
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import Denoise, OnStep
from networks.batches import mask_of
from networks.interfaces import Condition, Estimate, TextEncoder, VideoNetwork
from networks.parts import Parts


class NegativeText(NamedTuple):
    """The text that guidance leads away from: text 1 l e, mask 1 l or None where all of it is real."""

    text: Tensor
    mask: Tensor | None

    @classmethod
    def encoded(cls, prompt: str | None, encoder: TextEncoder, device: torch.device) -> "NegativeText | None":
        """A negative prompt's features; None where there is none."""
        if prompt is None:
            return None
        text, known = encoder.encode([prompt])
        mask = mask_of(known)
        return cls(text.to(device), None if mask is None else mask.to(device))

    def of(self, condition: Condition) -> Condition:
        """The condition with this text in place of its own."""
        rows = len(condition.frame_index)
        mask = None if self.mask is None else self.mask.expand(rows, -1)
        return condition._replace(text=self.text.expand(rows, -1, -1), text_mask=mask)


def told(condition: Condition, prompts: Sequence[str]) -> Condition:
    """The condition, without a text where no prompt says anything: the host knows that, and need not ask a device."""
    return condition if any(prompt.strip() for prompt in prompts) else condition.without("text")


def _denoiser(module: Any, network: Predict, condition: Condition, running: Running) -> Denoise:
    """What a sampler sees: network, condition and objective behind one call."""

    def denoise(noisy: Tensor, time: Tensor, level: float) -> Estimate:
        with running(noisy.device):
            prediction = network(noisy, time, condition)
        estimate: Estimate = module.objective.estimate(prediction, noisy, time)
        return estimate

    return denoise


def window_generator(
    module: Any,
    network: VideoNetwork,
    guidance: Guidance,
    generator: torch.Generator | None,
    on_step: OnStep | None,
    without: Sequence[str] = (),
    negative: NegativeText | None = None,
    running: Running = AS_WRITTEN,
    parts_of: Callable[[int], Parts | None] | None = None,
) -> Generate:
    """Binds everything but the window: what a rollout calls.

    parts_of: which frames of a canvas of so many each process holds, where they share out its windows; None: the
    network says so. Where sampler or guidance look at more than a frame, or frames are given, each holds all.
    without: names that every condition goes without, see Condition.without. negative: what guidance leads away from,
    in place of no text. running: how the network is computed. What is made of the context is made once,
    for all steps and, as it holds no prompt, for guidance's passes.

    It raises ValueError where what it makes holds NaN or infinity.
    """

    def generate(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        with running(noise.device):
            condition = network.encode_context(condition.without(*without))
        parts = None
        if given is None and all(getattr(each, "frame_by_frame", False) for each in (module.sampler, guidance)):
            parts = (parts_of or network.frame_parts)(noise.shape[2])
        if parts is not None:
            noise, condition = noise[:, :, slice(*parts.own)], condition.held(parts)

        @cache
        def lacks(name: str) -> bool:
            return condition.lacks(name) and not (name == "text" and negative is not None)

        @cache
        def without_those(names: frozenset[str]) -> Denoise:
            left = condition.without(*names)
            left = left if negative is None or "text" not in names else negative.of(left)
            with running(noise.device):
                left = network.encode_text(left)
            return _denoiser(module, wrap(network), left, running)

        def denoise_without(*names: str) -> Denoise:
            return without_those(frozenset(name for name in names if not lacks(name)))

        known = {} if given is None else {"context_mask": given.mask, "context": given.video}
        video: Tensor = module.sampler(
            guidance(denoise_without),
            noise,
            path=module.objective.path,
            generator=generator,
            on_step=on_step,
            **known,
        )
        video = video if parts is None else parts.join(video)
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
    negative: NegativeText | None = None,
    running: Running = AS_WRITTEN,
) -> Tensor:
    """Makes a video of the noise's size, in evaluation mode: latents b c f h w.

    Args:
        module: trained module with `network`, `objective` and `sampler`.
        noise: b c f h w, standard normal.
        condition: condition of the whole canvas.
        rollout: how the canvas is filled.
        guidance: how conditions weigh.
        generator: for samplers that draw fresh noise.
        on_step: called after every step, with the estimate of the frames that this process holds.
        keep: see WindowCache.
        without: names that every condition goes without, see Condition.without.
        negative: the text that guidance leads away from, in place of none.
        running: how the network is computed.

    Returns:
        The video.

    Raises:
        ValueError: if the video would hold NaN or infinity.
    """
    network = part_of(module.network, rollout)
    was_training = module.training
    module.eval()
    try:
        parts_of = partial(rollout.frame_parts, network)
        window = window_generator(module, network, guidance, generator, on_step, without, negative, running, parts_of)
        return rollout(window if keep is None else keep(window), Canvas(noise, condition))
    finally:
        module.train(was_training)
