"""Answers of weights with a memory: without it, with it at any ratio, and with wrong ones.

Axes: b is 1, c channels, f latent frames, h height, w width; F pixel frames, n numbers of a pixel frame.
"""

from collections.abc import Sequence
from functools import partial
from operator import mul
from typing import NamedTuple

import torch
from torch import Tensor

from longtake.generation import window_generator
from longtake.pipeline import Pipeline
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas, take
from longtake.rollouts.checks import unfit
from longtake.rollouts.plan import RememberedSegment
from longtake.rollouts.segmentwise import segment_canvas
from longtake.testbed.answering import WRONG, Answerer, Maker, Memory, Walk
from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.questions import Question
from networks.control import NAME as CONTROL
from networks.interfaces import Condition


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
    return [*found, *(Method(f"full_context.{memory}", memory, 1.0) for memory in WRONG)]


class Piece(NamedTuple):
    """A segment that is remembered: its first latent frame, counted as the canvas's are, and what it holds."""

    start: int
    past: PastSegment


class FromMemory(Answerer):
    """Weights that make a target segment by segment, and remember the context through their compressor."""

    def __init__(self, pipeline: Pipeline, testbed: Testbed) -> None:
        """Check that they fit.

        Args:
            pipeline: pipeline of weights with a memory, whose network takes poses.
            testbed: test set whose questions are answered.

        Raises:
            ValueError: the network has no memory, takes no pose, or is of another size than the videos.
        """
        super().__init__(pipeline, testbed)
        if reason := unfit(pipeline.rollout, self.network):
            raise ValueError(f"questions are answered from memory, and these weights cannot: {reason}")

    def ways(self, ratios: Sequence[float], ladders: Sequence[float]) -> dict[str, Maker]:
        """As Answerer's: one for each of `methods_of`."""
        return {method.name: partial(self.answer, method=method) for method in methods_of(ratios, ladders)}

    @torch.inference_mode()
    def answer(self, question: Question, method: Method) -> Pictures:
        """The frames of a question's target, f h w 3.

        question: one of the test set's; where it has no unvisited part, the memory of that control is empty.
        """
        own = self.walk(question.context)
        asked = torch.cat([own.poses, self.poses(question.target)])
        memory = [] if method.memory == "none" else self.pieces(self.history(question, method.memory, own))
        return self.shown(self.continued(own, asked, memory, question, method), len(question.target))

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
