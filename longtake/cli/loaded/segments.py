"""Weights with a memory in the studio: a card is a segment of a storyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from longtake.arguments import argument
from longtake.cli.loaded.shared import Weights
from longtake.cli.request import Request
from longtake.cli.storyboard import costs_of, limits_of, make_take, plan_board
from longtake.cli.weights import Take
from longtake.cost.speed import TERA
from longtake.rollouts.plan import CanvasPlan
from longtake.rollouts.store import LatentStore
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants
from longtake.storyboard.schema import Plan, Storyboard
from longtake.storyboard.store import SegmentStore
from longtake.studio.weights import PlannedSegment, PlannedTake, Watch
from longtake.video import read_frames, write_video

LEAD_LATENTS = 2
"""Of the segment before, from which a causal codec decodes a preview. Source: our choice."""


class Segments(Weights):
    """Weights with a memory: a card is a segment."""

    has_memory = True

    def __init__(self, request: Request, take: Take) -> None:
        """Asks the weights what they can do.

        Args:
            request: what a call of generate.py with a storyboard asks for.
            take: the weights, loaded as it says.

        Raises:
            ValueError: if the rollout makes no segments.
        """
        super().__init__(request, take)
        self.limits = limits_of(take, request)
        self.default_frames = self.most_frames = self.limits.max_latents * self.limits.time_factor
        self._store = SegmentStore(self.output / "segments")
        self._counted: dict[CanvasPlan, float] = {}

    def read(self, file: Path) -> Storyboard:
        """As in LoadedWeights."""
        return read_storyboard(file, self.limits)

    def plan(self, file: Path) -> PlannedTake:
        """As in LoadedWeights."""
        made = self._made(file)
        flops = self._flops(made)
        segments = [
            PlannedSegment(
                name=step.name,
                task=step.task,
                shot=step.shot,
                num_frames=step.num_frames,
                latents=step.latents,
                remembers=tuple((source.name, source.compression_ratio) for source in step.sources),
                tflops=0.0 if step.given is not None else flops[step.canvas] / TERA,
                is_there=self._store.has(step),
                touches=_touched(made, step.name),
                key=step.key,
            )
            for step in made.steps
        ]
        sampler: Any = self.take.module.sampler
        to_make = [step for step, each in zip(made.steps, segments, strict=True) if not each.is_there]
        return PlannedTake(
            segments=tuple(segments),
            timeline=made.timeline,
            total=sampler.num_inference_steps * sum(step.given is None for step in to_make),
            command=self._command([argument("storyboard", file)]),
        )

    def _made(self, file: Path) -> Plan:
        ratio = self.request.changes.compression_ratio
        return plan_board(self.read(file), self.take, self.limits, compression_ratio=ratio)

    def _flops(self, made: Plan) -> dict[CanvasPlan, float]:
        """Of making each canvas, without codec and text; a canvas that was counted before is not counted again."""
        if new := {step.canvas: step for step in made.steps if step.canvas not in self._counted}:
            costs = costs_of(self.take, made._replace(steps=tuple(new.values())))
            calls = self.take.calls_per_canvas
            for canvas, step in new.items():
                cost = costs[step.name].canvas
                self._counted[canvas] = calls * cost.step.flops + cost.memory.flops
        return self._counted

    def work(self, file: Path) -> Callable[[Watch], Path]:
        """As in LoadedWeights."""
        made = self._made(file)

        def work(watch: Watch) -> Path:
            return make_take(
                self.request,
                self.take,
                self.limits,
                made,
                write_video,
                read_frames,
                on_step=lambda *_: watch.step(),
                on_segment=lambda step: watch.segment(step.name),
            )

        return work

    def preview(self, segment: PlannedSegment, before: PlannedSegment | None, path: Path) -> None:
        """As in LoadedWeights.

        A causal codec decodes a segment after a little of what is seen before it, whose pixels are dropped.
        """
        latents, lead = self._latents(segment), 0
        if before is not None:
            ahead = self._latents(before)[:, :, -LEAD_LATENTS:]
            lead = 1 + (ahead.shape[2] - 1) * self.limits.time_factor
            latents = torch.cat([ahead, latents], dim=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._decoding:
            pixels = torch.cat(list(self.take.frames(latents.to(self.take.device))), dim=1)
            write_video(path, [pixels[:, lead:]], fps=self.fps)

    def _latents(self, segment: PlannedSegment) -> torch.Tensor:
        store = LatentStore(self.output / "segments")
        found = store.load(segment.key, num_frames=segment.latents, what=f"segment {segment.name}")
        if found is None:
            raise ValueError(f"segment {segment.name} is not there any more: make it again")
        return found


def _touched(made: Plan, name: str) -> tuple[str, ...]:
    """Other segments that are made again if one changes, in the order in which they are made."""
    again = dependants(made, name) - {name}
    return tuple(step.name for step in made.steps if step.name in again)
