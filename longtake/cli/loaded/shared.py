"""What weights with and without a memory share in the studio."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longtake.arguments import argument, command
from longtake.cli.request import Request
from longtake.cli.stopped import typed
from longtake.cli.storyboard import size_of
from longtake.cli.weights import Take
from longtake.cost.counting import on_meta
from longtake.cost.sampling import TEXT_TOKENS, VideoSize
from longtake.cost.speed import measure_speed
from longtake.generation import part_of
from longtake.studio.attention import token_attention
from longtake.studio.weights import Attention

PAGE_KEYS = (
    *("weights", "output", "storyboard", "prompt", "seed", "num_frames", "host", "port", "browser", "given"),
    *("given_end", "given_frames", "dry_run"),
)
"""Settings that are no part of the command that makes a take without the page, or that it states itself."""


class Weights:
    """What both kinds share."""

    has_memory = False

    def __init__(self, request: Request, take: Take) -> None:
        self.request, self.take, self.name = request, take, request.weights
        self.fps, self.output = float(take.fps), request.output
        self.has_global_tokens = hasattr(take.network, "attention_map")
        self._decoding = threading.Lock()

    @property
    def about(self) -> str:
        """Size, rate and parameters."""
        take, count = self.take, sum(each.numel() for each in self.take.network.parameters())
        kind = "storyboards of several segments" if self.has_memory else "one video, of one card"
        steps: Any = take.module.sampler
        return (
            f"{count / 1e6:.3g} M parameters on {take.device}, {take.height} × {take.width} pixels at {take.fps:g} "
            f"frames a second, {steps.num_inference_steps} denoising steps; makes {kind}"
        )

    def speed(self) -> float:
        """As in LoadedWeights."""
        take = self.take
        network = part_of(take.network, take.rollout)
        latents = take.rollout.segment_frames if self.has_memory else take.num_latents
        video = VideoSize(latents or 1, *size_of(take), TEXT_TOKENS, take.text_encoder.features)
        found = measure_speed(on_meta(network), video, dtype=torch.float32, device=str(take.device))
        assert found.tflops is not None
        return found.tflops

    def attention(self, video: Path, prompt: str, time: float) -> Attention:
        """As in LoadedWeights."""
        with self._decoding:
            return token_attention(self.take.pipeline, video, prompt, time=time)

    def _command(self, own: Sequence[str]) -> str:
        places = [argument("weights", self.name), *own, argument("output", self.output)]
        settings = [text for text in typed() if text.lstrip("'+").partition("=")[0] not in PAGE_KEYS]
        return command("generate.py", [*places, *settings])
