"""Where the copies of FlexFormer's one query stand: Interpolated-RoPE's fractional places on a segment's patch grid.

Axes: m queries; places are (frame, row, column) of patches, counted from 0. The paper's own rule is not known to us;
"left", "centre" and "pooled" are those of public code (TokensGen, PFP, FramePack), the others are ours.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from networks.batches import on_device
from networks.rope import RotaryEmbedding3D, Rotation

Rule = Literal["centre", "left", "inclusive", "flattened", "pooled"]
RULES: tuple[Rule, ...] = ("centre", "left", "inclusive", "flattened", "pooled")
STRATEGIES: dict[str, tuple[float, float, float]] = {
    "uniform": (1 / 3, 1 / 3, 1 / 3),
    "temporal": (1.0, 0.0, 0.0),
    "spatial": (0.0, 0.5, 0.5),
    "keep_frames": (0.2, 0.4, 0.4),
}
"""Share of frames, rows and columns in a rate: an axis of size S keeps about S / rate^share places."""
TOLERANCE = 0.03
"""How far the number of queries may lie from N / rate, where whole numbers on each axis allow it."""


class QueryGrid(NamedTuple):
    """positions: m 3; counts: queries along each axis, (m, 1, 1) for the flattened rule; rate: the effective one."""

    positions: Tensor
    counts: tuple[int, int, int]
    rate: float


def shares_of(strategy: str | Sequence[float]) -> tuple[float, float, float]:
    """Shares of frames, rows and columns, summing to 1, of a strategy's name or of three numbers.

    Args:
        strategy: a name in STRATEGIES, or three numbers.

    Returns:
        Three numbers of at least 0.

    Raises:
        ValueError: for an unknown name, or numbers that are no shares.
    """
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy={strategy} is unknown: use {', '.join(STRATEGIES)}, or three shares")
        return STRATEGIES[strategy]
    total = sum(strategy)
    if len(strategy) != 3 or min(strategy) < 0 or not total > 0:
        raise ValueError(f"strategy={list(strategy)} must be shares of frames, rows and columns, none below 0")
    return strategy[0] / total, strategy[1] / total, strategy[2] / total


def check_rule(rule: str) -> None:
    """Raises ValueError for an unknown rule."""
    if rule not in RULES:
        raise ValueError(f"rule={rule} is unknown: use {', '.join(RULES)}")


def num_queries(num_tokens: int, rate: float) -> int:
    """M = N / r, rounded up: the number of queries that is aimed at. It does not depend on the text.

    Args:
        num_tokens: N, video tokens of a segment.
        rate: r, video tokens a context token.

    Returns:
        M, at least 1.

    Raises:
        ValueError: if the rate is below 1, or leaves no token.
    """
    if not rate >= 1:
        raise ValueError(f"rate={rate:g} must be at least 1: one context token for each video token")
    if rate > num_tokens:
        raise ValueError(f"rate={rate:g} leaves no token of a segment of {num_tokens}; use at most {num_tokens}")
    return math.ceil(num_tokens / rate)


@lru_cache(maxsize=1024)
def axis_counts(sizes: tuple[int, int, int], rate: float, shares: tuple[float, float, float]) -> tuple[int, int, int]:
    """Queries along each axis: their product within 3 % of N / rate, their strides as the shares say.

    Source: our choice: of the triples near enough, the evenest, measured by logarithms of strides.
    """
    aim = num_queries(math.prod(sizes), rate)
    exact = math.prod(sizes) / rate

    def unevenness(counts: tuple[int, ...]) -> float:
        wanted = (share * math.log(rate) for share in shares)
        return sum((math.log(s / m) - w) ** 2 for s, m, w in zip(sizes, counts, wanted, strict=True))

    def distance(counts: tuple[int, ...]) -> float:
        return abs(math.prod(counts) / exact - 1)

    triples = list(product(*(range(1, min(size, aim + 1) + 1) for size in sizes)))
    nearest = min(map(distance, triples))
    allowed = [counts for counts in triples if distance(counts) <= max(TOLERANCE, nearest + 1e-9)]
    best = min(allowed, key=lambda counts: (round(unevenness(counts), 9), distance(counts)))
    return best[0], best[1], best[2]


def axis_places(size: int, count: int, rule: Rule) -> Tensor:
    """Places of `count` queries on an axis of `size` cells; at count = size the integers, exactly."""
    steps = torch.arange(count, dtype=torch.float64)
    if rule == "left":
        return (steps * size / count).float()
    if rule == "inclusive":
        return (steps * (size - 1) / (count - 1) if count > 1 else steps + (size - 1) / 2).float()
    return ((steps + 0.5) * size / count - 0.5).float()


def query_grid(
    sizes: tuple[int, int, int],
    rate: float,
    *,
    strategy: str | Sequence[float],
    rule: Rule,
    device: torch.device | None = None,
) -> QueryGrid:
    """Places of a segment's queries.

    Args:
        sizes: patches of the segment along frames, rows and columns.
        rate: video tokens a context token.
        strategy: a name in STRATEGIES, or three shares.
        rule: how places between patches are found.
        device: device of the result; None: PyTorch's default.

    Returns:
        How many queries stand along each side, and their places.

    Raises:
        ValueError: for a rate without tokens, or an unknown strategy or rule.
    """
    shares = shares_of(strategy)
    check_rule(rule)
    total = math.prod(sizes)
    if rule == "flattened":
        positions = _flattened(sizes, num_queries(total, rate))
        counts = (len(positions), 1, 1)
    else:
        counts = axis_counts(sizes, rate, shares)
        places = [axis_places(size, count, rule) for size, count in zip(sizes, counts, strict=True)]
        positions = torch.cartesian_prod(*places)
    there = positions if device is None else on_device(positions, device)
    return QueryGrid(there, counts, total / len(positions))


def _flattened(sizes: tuple[int, int, int], count: int) -> Tensor:
    """Query j at raster index (j + 1/2) N / M - 1/2, its place mixed linearly from the two cells beside it."""
    grid = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float64) for size in sizes))
    index = ((torch.arange(count, dtype=torch.float64) + 0.5) * len(grid) / count - 0.5).clamp(0, len(grid) - 1)
    low = index.floor().long()
    high = (low + 1).clamp(max=len(grid) - 1)
    return torch.lerp(grid[low], grid[high], (index - low).unsqueeze(1)).float()


def cell_weights(size: int, count: int) -> Tensor:
    """How much of each of `size` cells each of `count` equal stretches covers, rows summing to 1: count size."""
    edges = torch.arange(count + 1, dtype=torch.float64) * size / count
    cells = torch.arange(size, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    covered = covered.clamp(min=0)
    return (covered / covered.sum(dim=1, keepdim=True)).float()


def pooled_rotation(rope: RotaryEmbedding3D, sizes: tuple[int, int, int], counts: tuple[int, int, int]) -> Rotation:
    """cos and sin averaged over the cells that a query covers, as FramePack does; at counts = sizes nothing changes."""
    device = rope.frequencies.device
    grid = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float32, device=device) for size in sizes))
    whole = rope(grid.unsqueeze(0))
    weights = [on_device(cell_weights(size, count), device) for size, count in zip(sizes, counts, strict=True)]

    def pool(values: Tensor) -> Tensor:
        values = values.view(*sizes, -1)
        return torch.einsum("fhwd,af,bh,cw->abcd", values, *weights).reshape(1, 1, math.prod(counts), -1)

    return Rotation(pool(whole.cos), pool(whole.sin))


def text_positions(length: int, device: torch.device | None = None) -> Tensor:
    """Places of text tokens, (p, p, p) with p = -1 - i: distinct, and never on the video's grid. l 3.

    Source: our choice, after M-RoPE (arXiv 2409.12191): text must stand somewhere, and not on a frame.
    """
    return (-1.0 - torch.arange(length, device=device, dtype=torch.float32)).unsqueeze(1).expand(-1, 3)
