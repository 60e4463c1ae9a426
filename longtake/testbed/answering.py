"""Answer a test set with weights that have a memory: without it, with it at any ratio, and with wrong ones.

Axes: b is 1, c channels, f latent frames, h height, w width; F pixel frames, n numbers of a pixel frame.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import mul
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longtake.control import read_numbers
from longtake.generation import part_of, window_generator
from longtake.pipeline import Pipeline
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas, take
from longtake.rollouts.checks import unfit
from longtake.rollouts.plan import RememberedSegment
from longtake.rollouts.segmentwise import segment_canvas
from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.questions import Question, Span
from networks.control import NAME as CONTROL
from networks.control import to_latent_frames
from networks.interfaces import Condition

Maker = Callable[[Question], np.ndarray]
"""Frames f h w 3 that answer a question."""

Memory = Literal["none", "own", "other_maze", "shuffled", "unvisited"]


class Method(NamedTuple):
    """One way to answer.

    name: of its folder; memory: whose history is remembered; ratio: video tokens a memory token, over all of the
    memory; growth: factor from the ratio of each segment to that of the one before it, 1 for the same ratio everywhere.
    """

    name: str
    memory: Memory
    ratio: float
    growth: float = 1.0

    def ratios(self, tokens: Sequence[int]) -> list[float]:
        """Compression ratios of segments, the oldest first, which come to as many memory tokens as the one ratio does.

        tokens: video tokens of each. On a ladder no ratio is below 1 or leaves less than one token of a segment, even
        where the memory gets fewer or more tokens by that.
        """
        if self.growth == 1:
            return [self.ratio] * len(tokens)
        weights = [self.growth**-age for age in reversed(range(len(tokens)))]
        nearest = self.ratio * sum(map(mul, tokens, weights)) / max(sum(tokens), 1)
        return [min(max(nearest / weight, 1.0), held) for weight, held in zip(weights, tokens, strict=True)]


def methods_of(ratios: Sequence[float], ladders: Sequence[float] = ()) -> list[Method]:
    """The floor, the ceiling, memory at every compression ratio, and full context with the wrong history.

    Args:
        ratios: compression ratios of memories that are compressed alike everywhere.
        ladders: compression ratios of memories that are compressed twice as much from each segment to the one before
            it, with equally many tokens in all. Source: FramePack (arXiv 2504.12626), whose ladder is geometric.

    Returns:
        One method for each name in the table.
    """
    found = [Method("window", "none", 1.0), Method("full_context", "own", 1.0)]
    found += [Method(f"memory_{ratio:g}", "own", ratio) for ratio in ratios]
    found += [Method(f"ladder_{ratio:g}", "own", ratio, growth=2.0) for ratio in ladders]
    wrong: tuple[Memory, ...] = ("other_maze", "shuffled", "unvisited")
    return [*found, *(Method(f"full_context.{memory}", memory, 1.0) for memory in wrong)]


def among(makers: Mapping[str, Maker], names: Sequence[str] | None) -> dict[str, Maker]:
    """Those ways to answer that are asked for.

    Args:
        makers: all ways by their names.
        names: of those that are asked for, None for all.

    Returns:
        The ways that are asked for, by their names.

    Raises:
        ValueError: there is none of a name.
    """
    unknown = [name for name in names or () if name not in makers]
    if unknown:
        raise ValueError(f"methods: there is no {', '.join(unknown)} among {', '.join(makers)}")
    return {name: maker for name, maker in makers.items() if names is None or name in names}


class Walk(NamedTuple):
    """What is known of a walk: latents 1 c f h w, and the pose of every pixel frame, F n, as the weights take them."""

    latents: Tensor
    poses: Tensor


class Piece(NamedTuple):
    """A segment that is remembered: its first latent frame, counted as the canvas's are, and what it holds."""

    start: int
    past: PastSegment


class Answerer:
    """Weights that answer the questions of one test set."""

    def __init__(self, pipeline: Pipeline, testbed: Testbed) -> None:
        """Check that they fit.

        Args:
            pipeline: pipeline of weights with a memory, whose network takes poses.
            testbed: test set whose questions are answered.

        Raises:
            ValueError: the weights have no memory, take no pose, or are of another size than the videos.
        """
        self.pipeline, self.testbed = pipeline, testbed
        self.network = part_of(pipeline.module.network, pipeline.rollout)
        reason = unfit(pipeline.rollout, self.network)
        if pipeline.rollout.memory is None:
            reason = f"rollout={pipeline.rollout.name} remembers nothing; train network=lovic or vin_lovic"
        if reason:
            raise ValueError(f"questions are answered from memory, and these weights cannot: {reason}")
        control = self.network.backbone.control if CONTROL in self.network.ablations else None
        if control is None:
            raise ValueError("questions are poses, and these weights take none: train with control=pose")
        self.walk = lru_cache(maxsize=4)(self._walk)
        """Frames and poses of a span, of which the first are left out that make no whole latent frame."""
        self.columns, self.frames_per_latent = control.columns, control.frames_per_latent
        size = testbed.info["settings"]["size"]
        if (pipeline.height, pipeline.width) != (size, size):
            raise ValueError(
                f"these weights make {pipeline.height}x{pipeline.width} pixels, the test set has {size}x{size}: make "
                f"one with size={pipeline.height}"
            )

    @torch.inference_mode()
    def answer(self, question: Question, method: Method) -> Pictures:
        """The frames of a question's target, f h w 3.

        question: one of the test set's; where it has no unvisited part, the memory of that control is empty.
        """
        own = self.walk(question.context)
        asked = torch.cat([own.poses, self.poses(question.target)])
        memory = [] if method.memory == "none" else self.pieces(self.history(question, method.memory, own))
        return self.shown(self.continued(own, asked, memory, question, method), len(question.target))

    @torch.inference_mode()
    def reconstruct(self, question: Question) -> Pictures:
        """The real frames through the codec: no weights that use it come nearer."""
        both = np.concatenate([self.testbed.frames(question.context), self.testbed.frames(question.target)])
        return self.shown(self.encoded(both), len(question.target))

    def history(self, question: Question, memory: Memory, own: Walk) -> Walk | None:
        """What is remembered; None where a question has nothing of the kind."""
        if memory == "other_maze":
            others = [each for each in self.testbed.questions if each.id == question.other]
            return self.walk(others[0].context) if others else None
        if memory == "unvisited":
            return None if question.unvisited is None else self.walk(question.unvisited)
        if memory == "shuffled":  # every frame with the pose of another
            order = torch.randperm(own.latents.shape[2], generator=torch.Generator().manual_seed(question.seed))
            return own._replace(latents=own.latents[:, :, order.to(own.latents.device)])
        return own

    def _walk(self, span: Span) -> Walk:
        time = self.pipeline.codec.time_factor
        whole = span.model_copy(update={"start": span.start + (len(span) - 1) % time})
        return Walk(self.encoded(self.testbed.frames(whole)), self.poses(whole))

    def poses(self, span: Span) -> Tensor:
        """What the weights take of a span's poses, F n."""
        path = self.testbed.root / "poses" / f"{span.video}.csv"
        return read_numbers(path, self.columns, where=str(path))[span.start : span.end]

    def encoded(self, frames: Pictures) -> Tensor:
        """Latents of pixel frames F h w 3."""
        pixels = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2).float() / 127.5 - 1
        device = self.pipeline.device
        made: Tensor = self.pipeline.codec.to(device).encode(pixels[None].to(device))
        return made

    def pieces(self, walk: Walk | None) -> list[Piece]:
        """A walk in segments as long as the rollout's; less than half of one, at its beginning, is left out.

        What is left out adjoins the next, which begins as it ended.
        """
        if walk is None:
            return []
        count, size = walk.latents.shape[2], self.pipeline.rollout.segment_frames
        assert size is not None
        control = self.control(walk.poses)
        ends = range(count, 0, -size)
        spans = [(max(end - size, 0), end) for end in ends if end >= size / 2]
        return [Piece(start - count, self.past(walk.latents, control, start, end)) for start, end in reversed(spans)]

    def past(self, latents: Tensor, control: Tensor, start: int, end: int) -> PastSegment:
        """Latent frames start to end - 1, without a text."""
        text, _ = self.text()
        return PastSegment(latents[:, :, start:end], text, None, {CONTROL: control[:, start:end]})

    def control(self, poses: Tensor) -> Tensor:
        """Poses F n as a condition holds them: 1 f (p n)."""
        return to_latent_frames(poses, self.frames_per_latent)[None].to(self.pipeline.device)

    def text(self) -> tuple[Tensor, None]:
        """The null text, which no question names more than."""
        text, _ = self.pipeline.text_encoder.encode([""])
        return text.to(self.pipeline.device), None

    def continued(
        self, own: Walk, asked: Tensor, memory: Sequence[Piece], question: Question, method: Method
    ) -> Tensor:
        """Make the target behind the context, segment by segment.

        Args:
            own: the context.
            asked: poses of context and target, F n.
            memory: memory of the context, whose places count from the target's first frame.
            question: says how long the target is, whether it adjoins the context, and the seed.
            method: says how coarsely is remembered, and whether at all.

        Returns:
            Latents of both, 1 c f h w.
        """
        rollout, pipeline = self.pipeline.rollout, self.pipeline
        size = rollout.segment_frames
        assert size is not None
        begin, adjoins = own.latents.shape[2], question.target.video == question.context.video
        control = self.control(asked)
        total = control.shape[1]
        index = torch.arange(total, device=pipeline.device, dtype=torch.float32)[None]
        condition = Condition(index, *self.text(), per_frame={CONTROL: control})
        sample = window_generator(pipeline.module, self.network, pipeline.guidance, None, None, (), None)
        known = [(Piece(begin + start, past), 0 if adjoins else -1) for start, past in memory]
        video = own.latents
        for start in range(begin, total, size):
            count = min(size, total - start)
            plan = segment_canvas(
                start,
                count,
                before=start if adjoins or start > begin else 0,
                after=0,
                overlap_frames=rollout.overlap_frames,
            )
            segments = (
                RememberedSegment(piece.start, piece.past.video.shape[2], ratio, cuts)
                for (piece, cuts), ratio in zip(known, self.ratios(method, known), strict=True)
            )
            plan = plan._replace(remembered=tuple(segments))
            generator = torch.Generator().manual_seed(question.seed + start)
            noise = torch.randn((1, video.shape[1], count, *video.shape[3:]), generator=generator).to(video)
            clean = take(video, [plan.frames[slot] for slot in plan.known]) if plan.known else None
            past = [piece.past for piece, _ in known]
            opened = open_canvas(plan, noise=noise, condition=condition, known=clean, past=past)
            made = denoise(sample, opened, plan)
            video = torch.cat([video, made.to(video)], dim=2)
            if method.memory != "none":
                known.append((Piece(start, self.past(video, control, start, start + count)), 0))
        return video

    def ratios(self, method: Method, known: Sequence[tuple[Piece, int]]) -> list[float]:
        """Compression ratios of what is known, as a method has them."""
        return method.ratios([piece.past.video[0, 0].numel() // self.network.patch**2 for piece, _ in known])

    def shown(self, latents: Tensor, count: int) -> Pictures:
        """The last `count` pixel frames of latents, f h w 3."""
        pixels = torch.cat(list(self.pipeline.frames(latents)), dim=2)[0, :, -count:]
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
