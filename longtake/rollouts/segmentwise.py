"""Long videos segment by segment, each with the compressed memory of finished ones.

Axes: c channels, f frames, h height, w width (latents).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from longtake.rollouts.rollout import Rollout
from networks.ranges import Count, Rate, Size, Time


def segment_canvas(start: int, frames: int, *, before: int, after: int, overlap_frames: int) -> CanvasPlan:
    """The canvas of one segment, with room on both sides as in training.

    Args:
        start: its first latent frame.
        frames: its latent frames.
        before: clean latent frames that directly adjoin it in front, of which the last overlap_frames are known.
        after: clean latent frames that directly adjoin it behind, of which the first overlap_frames are known.
        overlap_frames: latent frames at each side.

    Returns:
        The canvas, which remembers nothing yet.
    """
    first, last = min(before, overlap_frames), min(after, overlap_frames)
    end = overlap_frames + frames
    known = consecutive(overlap_frames - first, overlap_frames) + consecutive(end, end + last)
    empty = consecutive(0, overlap_frames - first) + consecutive(end + last, end + overlap_frames)
    return CanvasPlan(consecutive(start - overlap_frames, start + frames + overlap_frames), known, empty)


class KnownSegment(NamedTuple):
    """A finished segment, as the one that is to be made beside it sees it.

    latents: 1 c f h w, of unit variance; prompt: its text; start: its first latent frame, counted from the first one of
    the new segment; cuts: between the two, negative where it is seen before the new one, 0 within one shot.
    """

    latents: Tensor
    prompt: str
    start: int
    cuts: int = 0


class Beside(NamedTuple):
    """The canvas of a segment beside others: its plan, clean frames 1 c f h w or None, and who is remembered."""

    plan: CanvasPlan
    clean: Tensor | None
    remembered: list[KnownSegment]


def canvas_beside(rollout: Rollout, known: Sequence[KnownSegment], num_latents: int) -> Beside:
    """Plans one segment beside finished ones, in any order.

    Args:
        rollout: a rollout with a memory, whose policy says which segments are remembered, and at which ratio.
        known: finished segments; those that adjoin without a cut are also known by their nearest latent frames.
        num_latents: latent frames of the new segment.

    Returns:
        The canvas, counted from the new segment's first frame.
    """
    assert rollout.memory is not None
    room, ends = rollout.overlap_frames, [each.start + each.latents.shape[2] for each in known]
    before = [x.latents for x, end in zip(known, ends, strict=True) if not x.cuts and end == 0]
    after = [x.latents for x in known if not x.cuts and x.start == num_latents]
    clean = [x[:, :, max(x.shape[2] - room, 0) :] for x in before[:1]] + [x[:, :, :room] for x in after[:1]]
    canvas = segment_canvas(
        0,
        num_latents,
        before=before[0].shape[2] if before else 0,
        after=after[0].shape[2] if after else 0,
        overlap_frames=room,
    )
    distances = [abs(each.start) for each in known]
    picked = rollout.memory.select(distances, first=None)
    ratios = rollout.memory.ratios([distances[i] for i in picked])
    remembered = [known[i] for i in picked]
    plans = (RememberedSegment(x.start, x.latents.shape[2], r, x.cuts) for x, r in zip(remembered, ratios, strict=True))
    return Beside(
        canvas._replace(remembered=tuple(plans)), torch.cat(clean, dim=2) if clean and room else None, remembered
    )


class Segmentwise(Rollout):
    """`rollout=segmentwise`: forwards from nothing, every segment predicted from those before it.

    Everything stays in latents. Memory is bounded: a fixed number of segments is remembered, at ratios that may grow
    with distance. Source: LoViC (arXiv 2507.12952) for segments one by one; the bounds are our choice.
    """

    network_part = ""
    memory: MemoryPolicy
    segment_frames: int

    def __init__(
        self,
        *,
        segment_frames: Size,
        window_frames: Count,
        max_context: Count,
        compression_ratio: Rate,
        ratio_growth: Rate,
        max_compression_ratio: Rate,
        memory_level: Time,
    ) -> None:
        """Sizes in latent frames.

        Args:
            segment_frames: latent frames of a segment, which are made at once.
            window_frames: last latent frames of the segment before, which stand clean in the canvas.
            max_context: most segments that are remembered at once.
            compression_ratio: video tokens a context token of the nearest segment, at least 1.
            ratio_growth: factor from each remembered segment to the one before it.
            max_compression_ratio: ratio above which it does not grow.
            memory_level: time in [0, 1] of the noise on what is remembered.

        Raises:
            ValueError: for sizes without room, ratios below 1, or a ratio above max_compression_ratio.
        """
        if segment_frames < 1 or window_frames < 0:
            raise ValueError(
                f"rollout.segment_frames={segment_frames} must be at least 1 and rollout.window_frames={window_frames} "
                "at least 0"
            )
        self.segment_frames = segment_frames
        self.overlap_frames = window_frames
        self.memory = MemoryPolicy(max_context, compression_ratio, ratio_growth, max_compression_ratio, memory_level)

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """Segments, each with the last frames of the one before it and what the policy remembers."""
        size, starts = self.segment_frames, range(0, num_latents, self.segment_frames)
        canvases = []
        for number, start in enumerate(starts):
            distances = [start - other for other in starts[:number]]
            picked = self.memory.select(distances, first=0)
            ratios = self.memory.ratios([distances[other] for other in picked])
            segments = (RememberedSegment(starts[i], size, ratio) for i, ratio in zip(picked, ratios, strict=True))
            canvas = segment_canvas(
                start,
                min(size, num_latents - start),
                before=size if number else 0,
                after=0,
                overlap_frames=self.overlap_frames,
            )
            canvases.append(canvas._replace(remembered=tuple(segments)))
        return tuple(canvases)
