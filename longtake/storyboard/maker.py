"""Makes a storyboard's segments with trained weights.

Axes: c channels, f frames, h height, w width (latents).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from longtake.compat.torch import flop_counter
from longtake.generation import window_generator
from longtake.rollouts.segmentwise import Piece, denoise_window, open_window
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import OnStep
from longtake.storyboard.schema import FinishedSegment, PlanStep
from networks.batches import mask_of
from networks.interfaces import Condition, ContextCache, TextEncoder

NUM_TEXT = 20
"""Tokens of a prompt whose cost is asked for before it is encoded."""


class SegmentMaker:
    """One segment from noise, its prompt, the frames that adjoin it, and the compressed memory of the others."""

    def __init__(
        self,
        *,
        module: LightningModule,
        guidance: Guidance,
        text_encoder: TextEncoder,
        size: tuple[int, int, int],
        window_frames: int,
        memory_level: float,
        on_step: OnStep | None,
        without: Sequence[str] = (),
    ) -> None:
        """size: c h w of the latents; window_frames, memory_level: as in rollout=segmentwise.

        without: names that every condition goes without, see Condition.without.
        """
        self.module = module.eval()
        self.without = without
        self.guidance = guidance
        self.text_encoder = text_encoder
        self.size = size
        self.window_frames = window_frames
        self.memory_level = memory_level
        self.on_step = on_step

    @torch.no_grad()
    def __call__(self, step: PlanStep, context: Sequence[FinishedSegment]) -> Tensor:
        """context: the finished segments of step.sources, in their order; returns latents 1 c f h w."""
        device = self.module.device
        channels, height, width = self.size
        noise = torch.randn(
            (1, channels, step.latents, height, width), generator=torch.Generator().manual_seed(step.seed)
        )
        text, mask = self._encode(step.prompt)
        finished = {segment.step.name: segment.latents.to(device) for segment in context}
        window = open_window(
            noise.to(device),
            start=0,
            text=text,
            text_mask=mask,
            shot=0,
            memory=[self._piece(*pair) for pair in zip(step.sources, context, strict=True)],
            before=None if step.before is None else finished[step.before],
            after=None if step.after is None else finished[step.after],
            window_frames=self.window_frames,
            memory_level=self.memory_level,
        )
        network: Any = self.module.get_submodule("network")
        generate = window_generator(self.module, network, self.guidance, None, self.on_step, self.without)
        return denoise_window(generate, window)

    def _encode(self, prompt: str) -> tuple[Tensor, Tensor | None]:
        text, known = self.text_encoder.encode([prompt])
        mask = mask_of(known)
        return text.to(self.module.device), None if mask is None else mask.to(self.module.device)

    def _piece(self, source: Any, segment: FinishedSegment) -> Piece:
        text, mask = self._encode(segment.step.prompt)
        latents = segment.latents.to(self.module.device)
        return Piece(latents, source.distance, text, mask, source.cuts, source.rate)


class StepFlops:
    """FLOPs of a whole segment, counted on the `meta` device, where nothing is computed."""

    def __init__(self, module: LightningModule, size: tuple[int, int, int], window_frames: int, num_calls: int) -> None:
        """size: c h w of the latents; num_calls: of the network for one segment, steps times guidance's passes."""
        network = copy.deepcopy(module.get_submodule("network")).to("meta", torch.float32)
        self.network: Any = network.requires_grad_(False)  # parameters with gradients upset the counter
        self.size = size
        self.window_frames = window_frames
        self.num_calls = num_calls

    @torch.no_grad()
    def __call__(self, step: PlanStep, tokens: int, context_tokens: int) -> float:
        """Of all calls of the network; what making the memory costs, once a segment, is not in it."""
        channels, height, width = self.size
        frames = step.latents + 2 * self.window_frames
        dit = self.network.backbone
        shape = (1, dit.num_heads, 1 + context_tokens, dit.width // dit.num_heads)
        layers = tuple((torch.empty(shape, device="meta"), torch.empty(shape, device="meta")) for _ in range(dit.depth))
        known = torch.ones(1, 1 + context_tokens, dtype=torch.bool, device="meta")
        condition = Condition(
            torch.zeros(1, frames, device="meta"),
            torch.empty(1, NUM_TEXT, dit.text_features, device="meta"),
            torch.ones(1, NUM_TEXT, dtype=torch.bool, device="meta"),
            memory=ContextCache(layers, known),
        )
        noisy = torch.empty(1, channels, frames, height, width, device="meta")
        with flop_counter() as counter:
            self.network(noisy, torch.zeros(1, frames, device="meta"), condition)
        return float(counter.get_total_flops() * self.num_calls)
