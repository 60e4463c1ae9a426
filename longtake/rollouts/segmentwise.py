"""Long videos segment by segment, each with the compressed memory of finished ones."""

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
        after: the same behind it.
        overlap_frames: latent frames at each side.
    """
    first, last = min(before, overlap_frames), min(after, overlap_frames)
    end = overlap_frames + frames
    known = consecutive(overlap_frames - first, overlap_frames) + consecutive(end, end + last)
    empty = consecutive(0, overlap_frames - first) + consecutive(end + last, end + overlap_frames)
    return CanvasPlan(consecutive(start - overlap_frames, start + frames + overlap_frames), known, empty)


class Segmentwise(Rollout):
    """`rollout=segmentwise`: forwards from nothing, every segment predicted from those before it.

    Everything stays in latents. Memory is bounded: a fixed number of segments is remembered, at rates that may grow
    with distance. Source: LoViC §5.
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
        rate: Rate,
        rate_growth: Rate,
        max_rate: Rate,
        memory_level: Time,
    ) -> None:
        """Sizes in latent frames; max_context: segments remembered at once; rate: of the nearest one.

        rate_growth: factor from each remembered segment to the one before it, up to max_rate.

        Raises:
            ValueError: for sizes without room, rates below 1, or a rate above max_rate.
        """
        if segment_frames < 1 or window_frames < 0:
            raise ValueError(
                f"rollout.segment_frames={segment_frames} must be at least 1 and rollout.window_frames={window_frames} "
                "at least 0"
            )
        self.segment_frames = segment_frames
        self.overlap_frames = window_frames
        self.memory = MemoryPolicy(max_context, rate, rate_growth, max_rate, memory_level)

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
