"""Which finished segments are remembered, and how coarsely: one rule for rollouts and storyboards."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class MemoryPolicy:
    """What the memory of one canvas may hold.

    max_segments: remembered at once. compression_ratio: video tokens a context token, of the nearest segment. growth:
    factor from a remembered segment to the next one that is further away, up to max_ratio. noise_level: time in [0, 1]
    of the small noise on what is remembered, which keeps errors from adding up.
    Source: our choice; a ratio that grows with distance is FramePack's (arXiv 2504.12626) idea.
    """

    max_segments: int
    compression_ratio: float
    growth: float
    max_ratio: float
    noise_level: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: for a negative number of segments, ratios below 1, or a ratio above max_ratio.
        """
        if self.max_segments < 0:
            raise ValueError(f"rollout.max_context={self.max_segments} must be at least 0")
        if min(self.compression_ratio, self.growth, self.max_ratio) < 1:
            raise ValueError(
                f"rollout.compression_ratio={self.compression_ratio}, ratio_growth={self.growth} and "
                f"max_compression_ratio={self.max_ratio} must be at least 1"
            )
        if self.compression_ratio > self.max_ratio:
            raise ValueError(
                f"rollout.compression_ratio={self.compression_ratio:g} is above "
                f"rollout.max_compression_ratio={self.max_ratio:g}: lower it or raise max_compression_ratio"
            )

    def at(self, ratio: float) -> "MemoryPolicy":
        """The same policy with another compression ratio of the nearest segment.

        Args:
            ratio: video tokens a context token.

        Returns:
            The other policy.

        Raises:
            ValueError: unless it is from 1 to max_ratio.
        """
        if not 1 <= ratio <= self.max_ratio:
            raise ValueError(
                f"compression_ratio={ratio:g} must be a number from 1 to {self.max_ratio:g}, which is "
                "rollout.max_compression_ratio"
            )
        return replace(self, compression_ratio=ratio)

    def select(self, distances: Sequence[int], *, first: int | None, needed: Collection[int] = ()) -> list[int]:
        """Which finished segments a canvas remembers, by their numbers, in order.

        The first one holds what the video is about, the nearest ones what is going on. Source: our choice.

        Args:
            distances: distance of each segment from the canvas, in latent frames.
            first: the number of the one that the video or the shot began with.
            needed: numbers of those that are kept before all others.

        Returns:
            At most max_segments of them.
        """

        def rank(number: int) -> tuple[bool, bool, int, int]:
            return number not in needed, number != first, distances[number], number

        return sorted(sorted(range(len(distances)), key=rank)[: self.max_segments])

    def ratios(self, distances: Sequence[int], own: Sequence[float] | None = None) -> list[float]:
        """The compression ratio of each remembered segment: coarser the further away it is.

        Args:
            distances: distance of each segment in latent frames; the ratio grows once for every segment that is
                strictly nearer.
            own: ratio that each segment's growth begins at; None: compression_ratio for all.

        Returns:
            One for each, none above max_ratio.
        """
        begin = [self.compression_ratio] * len(distances) if own is None else own
        nearer = [sum(other < distance for other in distances) for distance in distances]
        return [min(ratio * self.growth**age, self.max_ratio) for ratio, age in zip(begin, nearer, strict=True)]
