"""Weights without a memory in the studio: one card, one video."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from longtake.arguments import argument
from longtake.cli.loaded.shared import Weights
from longtake.cli.making import make
from longtake.cli.manifests import Manifest
from longtake.cli.request import Request
from longtake.cli.storyboard import size_of
from longtake.cli.take import order_of
from longtake.cli.weights import Take
from longtake.cost.counting import on_meta
from longtake.cost.sampling import TEXT_TOKENS, VideoSize, canvas_costs
from longtake.cost.speed import TERA
from longtake.generation import part_of
from longtake.parallel import Mesh
from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.schema import ModelLimits, Segment, Storyboard, fail
from longtake.studio.weights import PlannedSegment, PlannedTake, Watch
from longtake.video import write_video
from networks.codecs.rules import nearest_num_frames
from networks.files import whole

ALONE = ("direction", "after", "before", "between", "gap", "memory")
"""What a card may only say where there are others."""


class OneVideo(Weights):
    """Weights without a memory, of VIN or a plain DiT: one card is one video."""

    def __init__(self, request: Request, take: Take) -> None:
        super().__init__(request, take)
        self.default_frames, self.most_frames = take.num_frames, 0
        most = 2**20  # latents: other formats' shots stay whole
        self._limits = ModelLimits("", most, 1, take.codec.time_factor, MemoryPolicy(0, 1, 1, 1))

    def read(self, file: Path) -> Storyboard:
        """As in LoadedWeights."""
        return read_storyboard(file, self._limits)

    def plan(self, file: Path) -> PlannedTake:
        """As in LoadedWeights."""
        segment, take = self._segment(file)
        video = VideoSize(take.num_latents, *size_of(take), TEXT_TOKENS, take.text_encoder.features)
        network = on_meta(part_of(take.network, take.rollout)).eval().requires_grad_(False)
        costs = canvas_costs(network, take.rollout, video, torch.float32, take.pipeline.without)
        calls = take.calls_per_canvas
        wanted = ("000.mp4", segment.prompt, segment.seed)
        planned = PlannedSegment(
            name=segment.name,
            task="whole video",
            shot=0,
            num_frames=take.num_frames,
            latents=take.num_latents,
            remembers=(),
            tflops=sum(calls * cost.step.flops + cost.memory.flops for cost in costs) / TERA,
            is_there=bool(Manifest(self.output, [wanted], take.settings).finished()),
            touches=(),
            key=take.fingerprint(take.settings, segment.prompt, segment.seed),
        )
        told = {"prompt": segment.prompt, "num_frames": take.num_frames, "seed": segment.seed}
        sampler: Any = take.module.sampler
        return PlannedTake(
            segments=(planned,),
            timeline=(segment.name,),
            total=0 if planned.is_there else sampler.num_inference_steps * len(costs),
            command=self._command([argument(key, value) for key, value in told.items()]),
        )

    def work(self, file: Path) -> Callable[[Watch], Path]:
        """As in LoadedWeights."""
        segment, take = self._segment(file)
        own = replace(self.request, prompt=segment.prompt, seed=segment.seed, num_frames=take.num_frames)

        def work(watch: Watch) -> Path:
            path = make(take, order_of(own, take), write_video, Mesh(), watch.step)[0]
            watch.segment(segment.name)
            return path

        return work

    def preview(self, segment: PlannedSegment, before: PlannedSegment | None, path: Path) -> None:
        """As in LoadedWeights: the video itself."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            shutil.copyfile(self.output / "000.mp4", part)

    def _segment(self, file: Path) -> tuple[Segment, Take]:
        """The one card, and the weights at its length.

        Args:
            file: the storyboard.

        Returns:
            The card, and the take at its length.

        Raises:
            ValueError: naming the line of what these weights cannot make.
        """
        board = self.read(file)
        why = f"{self.name} has no memory: it makes one video of one card"
        other = "load weights of lovic or vin_lovic"
        for video in board.videos:
            fail(board.file, video.line, f"{why}, and cannot go on from a video: remove it, or {other}")
        for segment in board.segments[1:]:
            fail(board.file, segment.line, f"{why}, and {segment.name} is one more: remove it, or {other}")
        segment = board.segments[0]
        for key in ALONE:
            if key in segment.lines and (key, segment.memory) != ("memory", None):
                fail(board.file, segment.line_of(key), f"{key} is about other cards, and there are none: take it out")
        factor, frames = self.take.codec.time_factor, segment.num_frames
        if segment.latents is not None and frames is None:
            frames = (segment.latents - 1) * factor + 1
        frames = self.default_frames if frames is None else frames
        if (frames - 1) % factor:
            near = " or ".join(str(each) for each in nearest_num_frames(frames, factor))
            fail(
                board.file,
                segment.line_of("num_frames"),
                f"num_frames={frames}: a video has {factor}n + 1 frames: use {near}",
            )
        return segment, self.take.of_length(frames)
