"""Makes a storyboard's segments with trained weights.

Axes: c channels, f frames, h height, w width (latents).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longtake.generation import NegativeText, told, window_generator
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas
from longtake.running import AS_WRITTEN, Running
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import OnStep
from longtake.storyboard.schema import FinishedSegment, PlanStep
from networks.batches import mask_of
from networks.control import NAME as CONTROL
from networks.interfaces import Condition, TextEncoder


class SegmentMaker:
    """One segment from noise, its prompt, the frames that adjoin it, and the compressed memory of the others."""

    def __init__(
        self,
        *,
        module: nn.Module,
        guidance: Guidance,
        text_encoder: TextEncoder,
        size: tuple[int, int, int],
        noise_level: float,
        on_step: OnStep | None,
        without: Sequence[str] = (),
        negative_prompt: str | None = None,
        running: Running = AS_WRITTEN,
    ) -> None:
        """size: c h w of the latents; noise_level: time of the noise on what is remembered.

        without: names that every condition goes without, see Condition.without. running: how the network is computed.
        """
        self.running = running
        self.module = module.eval()
        self.device = next(module.parameters()).device
        self.without = without
        self.negative_prompt = negative_prompt
        self.guidance = guidance
        self.text_encoder = text_encoder
        self.size = size
        self.noise_level = noise_level
        self.on_step = on_step

    @torch.no_grad()
    def __call__(self, step: PlanStep, context: Sequence[FinishedSegment]) -> Tensor:
        """context: the finished segments of step.sources, in their order; returns latents 1 c f h w."""
        device = self.device
        channels, height, width = self.size
        noise = torch.randn(
            (1, channels, step.latents, height, width), generator=torch.Generator().manual_seed(step.seed)
        )
        text, mask = self._encode(step.prompt)
        finished = {segment.step.name: segment.latents.to(device) for segment in context}
        index = torch.arange(step.latents, device=device, dtype=torch.float32).unsqueeze(0)
        opened = open_canvas(
            step.canvas,
            noise=noise.to(device),
            condition=told(Condition(index, text, mask), [step.prompt]),
            known=self._known(step, finished),
            past=[
                PastSegment(finished[each.step.name], *self._encode(each.step.prompt), per_frame=self._held(each.step))
                for each in context
            ],
            noise_level=self.noise_level,
        )
        if step.control is not None:  # the frames that adjoin it have their own
            control = self._control(step, {segment.step.name: segment.step for segment in context})
            opened = opened._replace(condition=opened.condition._replace(per_frame={CONTROL: control}))
        network: Any = self.module.get_submodule("network")
        negative = NegativeText.encoded(self.negative_prompt, self.text_encoder, device)
        generate = window_generator(
            self.module, network, self.guidance, None, self.on_step, self.without, negative, self.running
        )
        return denoise(generate, opened, step.canvas)

    def _held(self, step: PlanStep) -> dict[str, Tensor]:
        """Further inputs of a finished segment's frames, 1 f d."""
        return {} if step.control is None else {CONTROL: step.control[None].to(self.device)}

    def _control(self, step: PlanStep, finished: Mapping[str, PlanStep]) -> Tensor:
        """Control of the canvas's slots, 1 j (p n); a slot that holds no frame has that of the nearest one."""
        parts = [None if end is None else finished[end].control for end in (step.before, step.after)]
        parts.insert(1, step.control)
        held = torch.cat([part for part in parts if part is not None])
        first = 0 if parts[0] is None else len(parts[0])
        places = [min(max(first + frame, 0), len(held) - 1) for frame in step.canvas.frames]
        return held[places][None].to(self.device)

    @staticmethod
    def _known(step: PlanStep, finished: Mapping[str, Tensor]) -> Tensor | None:
        """The clean frames of the canvas: the last ones of what lies before it, then the first ones of what follows."""
        slots, frames = step.canvas.known, step.canvas.frames
        first = sum(frames[slot] < 0 for slot in slots)
        parts = []
        if step.before is not None and first:
            parts.append(finished[step.before][:, :, -first:])
        if step.after is not None and len(slots) > first:
            parts.append(finished[step.after][:, :, : len(slots) - first])
        return torch.cat(parts, dim=2) if parts else None

    def _encode(self, prompt: str) -> tuple[Tensor, Tensor | None]:
        text, known = self.text_encoder.encode([prompt])
        mask = mask_of(known)
        return text.to(self.device), None if mask is None else mask.to(self.device)
