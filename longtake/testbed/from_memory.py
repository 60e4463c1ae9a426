"""Answers of weights with a memory: without it, with it at any ratio, and with wrong ones.

Axes: b is 1, c channels, f latent frames, h height, w width; F pixel frames, n numbers of a pixel frame.
"""

from collections.abc import Sequence
from functools import partial
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
from longtake.testbed.memory_shapes import Shape, alike, ladder, pyramid
from longtake.testbed.questions import Question
from networks.control import NAME as CONTROL


class Method(NamedTuple):
    """One way to answer.

    name: of its folder; memory: whose history is remembered; ratio: video tokens a memory token, over all of the
    memory; shape: where the memory's tokens are spent, on all segments alike or more on the newest.
    """

    name: str
    memory: Memory
    ratio: float
    shape: Shape = alike

    def remembered(self, tokens: Sequence[int]) -> list[tuple[int, float]]:
        """Segments, counted from the oldest, each with its compression ratio; one may be remembered at several.

        tokens: video tokens of each segment. No ratio is below 1 or leaves less than one token of a segment, even where
        the memory gets fewer or more tokens by that.
        """
        return [(k, min(max(ratio, 1.0), tokens[k])) for k, ratio in self.shape(tokens, self.ratio)]


def methods_of(ratios: Sequence[float], ladders: Sequence[float] = (), pyramids: Sequence[float] = ()) -> list[Method]:
    """The floor, the ceiling, memory at every compression ratio, and full context with the wrong history.

    Args:
        ratios: compression ratios of memories that are compressed alike everywhere.
        ladders: compression ratios, over all, of memories whose segments form a `ladder`.
        pyramids: compression ratios, over all, of memories whose segments form a `pyramid`.

    Returns:
        One method for each name in the table.
    """
    found = [Method("window", "none", 1.0), Method("full_context", "own", 1.0)]
    for name, shape, over_all in (
        ("memory", alike, ratios),
        ("ladder", ladder, ladders),
        ("pyramid", pyramid, pyramids),
    ):
        found += [Method(f"{name}_{ratio:g}", "own", ratio, shape) for ratio in over_all]
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

    def ways(
        self, ratios: Sequence[float], ladders: Sequence[float] = (), pyramids: Sequence[float] = ()
    ) -> dict[str, Maker]:
        """As Answerer's: one for each of `methods_of`."""
        methods = methods_of(ratios, ladders, pyramids)
        return {method.name: partial(self.answer, method=method) for method in methods}

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
        return PastSegment(latents[:, :, start:end], *self.text(), {CONTROL: control[:, start:end]})

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
        condition = self.condition(control)
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
            tokens = [piece.past.video[0, 0].numel() // self.network.patch**2 for piece, _ in known]
            remembered = [(*known[k], ratio) for k, ratio in method.remembered(tokens)]
            segments = (RememberedSegment(p.start, p.past.video.shape[2], ratio, cuts) for p, cuts, ratio in remembered)
            plan = plan._replace(remembered=tuple(segments))
            generator = torch.Generator().manual_seed(question.seed + start)
            noise = torch.randn((1, video.shape[1], count, *video.shape[3:]), generator=generator).to(video)
            clean = take(video, [plan.frames[slot] for slot in plan.known]) if plan.known else None
            past = [piece.past for piece, _, _ in remembered]
            opened = open_canvas(plan, noise=noise, condition=condition, known=clean, past=past)
            made = denoise(sample, opened, plan)
            video = torch.cat([video, made.to(video)], dim=2)
            if method.memory != "none":
                known.append((Piece(start, self.past(video, control, start, start + count)), 0))
        return video
