"""Where a memory spends its tokens: on all segments alike, or more on the newest, as other methods do.

Each takes the video tokens of segments, the oldest first, and a compression ratio over all of the memory, and says
which segments are remembered, each with its own ratio. All of them come to equally many memory tokens.
"""

from collections.abc import Callable, Sequence
from operator import mul

Shape = Callable[[Sequence[int], float], list[tuple[int, float]]]


def alike(tokens: Sequence[int], ratio: float) -> list[tuple[int, float]]:
    """The same ratio everywhere. Source: LoViC (arXiv 2507.12952)."""
    return [(k, ratio) for k in range(len(tokens))]


def ladder(tokens: Sequence[int], ratio: float) -> list[tuple[int, float]]:
    """Compressed twice as much from each segment to the one before it. Source: FramePack (arXiv 2504.12626)."""
    shares = [2.0**-age for age in reversed(range(len(tokens)))]
    nearest = ratio * sum(map(mul, tokens, shares)) / max(sum(tokens), 1)
    return [(k, nearest / share) for k, share in enumerate(shares)]


def pyramid(tokens: Sequence[int], ratio: float) -> list[tuple[int, float]]:
    """Levels of equally many tokens: the newest segment, the newest four, sixteen, and so on to all of them.

    The newest are remembered on every level, each time coarser. Source: MilliVid (arXiv 2606.09056), whose levels span
    3, 12, 48 and 192 frames; there each is a token level of the autoencoder, here a ratio of the same compressor.
    """
    spans = [1]
    while spans[-1] < len(tokens):
        spans.append(min(4 * spans[-1], len(tokens)))
    budget = sum(tokens) / ratio / len(spans)
    first = [len(tokens) - span for span in reversed(spans)]  # the coarsest level is the oldest
    return [(k, sum(tokens[start:]) / budget) for start in first for k in range(start, len(tokens))] if tokens else []
