"""Weights as the studio asks for them: `generate.py` with and without a storyboard, a call at a time."""

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from longtake.arguments import argument, command
from longtake.cli.making import make
from longtake.cli.manifests import Manifest
from longtake.cli.request import Request, request_of
from longtake.cli.stopped import typed
from longtake.cli.storyboard import calls_of, costs_of, limits_of, make_take, plan_board, size_of
from longtake.cli.take import Take, order_of
from longtake.cost.counting import on_meta
from longtake.cost.sampling import TEXT_TOKENS, VideoSize, canvas_costs
from longtake.cost.speed import TERA, measure_speed
from longtake.generation import part_of
from longtake.parallel import Mesh
from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import CanvasPlan
from longtake.rollouts.store import LatentStore
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants
from longtake.storyboard.schema import ModelLimits, Plan, Segment, Storyboard, fail
from longtake.storyboard.store import SegmentStore
from longtake.studio.attention import token_attention
from longtake.studio.session import Score
from longtake.studio.weights import Attention, LoadedWeights, PlannedSegment, PlannedTake, Watch
from longtake.video import read_frames, write_video
from networks.codecs.rules import nearest_num_frames
from networks.files import whole

PAGE_KEYS = (
    *("weights", "output", "storyboard", "prompt", "seed", "num_frames", "host", "port", "browser", "given"),
    "dry_run",
)
"""Settings that are no part of the command that makes a take without the page, or that it states itself."""
LEAD_LATENTS = 2
"""Of the segment before, from which a causal codec decodes a preview. Source: our choice."""
ALONE = ("direction", "after", "before", "between", "gap", "memory")
"""What a card may only say where there are others."""


def open_weights(cfg: DictConfig, name: str, output: Path) -> LoadedWeights:
    """Weights for the studio whose settings cfg holds; with a memory they make storyboards, else one video a card.

    Args:
        cfg: settings of the studio.
        name: of the weights, or their folder.
        output: folder of the studio.

    Returns:
        The weights, as the studio asks for them.

    Raises:
        ValueError: if they cannot be loaded, or make no videos.
    """
    request = request_of(cfg)
    changes = request.changes._replace(weights=name)
    own = replace(request, weights=name, changes=changes, output=output, storyboard=str(output / "storyboard.yaml"))
    take = Take(own)
    if take.network.takes_segments and take.rollout.memory is not None:
        return Segments(own, take)
    return OneVideo(replace(own, storyboard=None, num_videos=1), take)


def score_videos(videos: Path, output: Path) -> list[Score]:
    """The means of a folder's report card, which `longtake.score` writes.

    Args:
        videos: the folder.
        output: folder of the report.

    Returns:
        A line for each metric that has a score.

    Raises:
        ValueError: if nothing can be scored.
    """
    from longtake.cli.evaluate import score

    card = score(videos, output=output)
    found = []
    for name, figures in card.summary.items():
        mean = figures["mean"]
        if isinstance(mean, float):
            better = figures["higher_is_better"]
            found.append(Score(name, mean, None if better is None else bool(better)))
    return found


class _Weights:
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


class Segments(_Weights):
    """Weights with a memory: a card is a segment."""

    has_memory = True

    def __init__(self, request: Request, take: Take) -> None:
        """Asks the weights what they can do.

        Args:
            request: of a call of generate.py with a storyboard.
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
                touches=tuple(
                    each.name for each in made.steps if each.name in dependants(made, step.name) - {step.name}
                ),
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
            calls = calls_of(self.take)
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


class OneVideo(_Weights):
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
        calls = calls_of(take)
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
