"""FlexFormer's blocks: queries that read other tokens, each at its own place.

Axes: b batch, m queries, n other tokens, d width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from networks.attention import Attention
from networks.blocks import feed_forward
from networks.rope import Rotation

Block = Literal["joint", "qformer"]


def concat_rotations(first: Rotation, second: Rotation) -> Rotation:
    """Rotations of tokens that stand in a row; one of a single row holds for all."""
    batch = max(len(first.cos), len(second.cos))
    pairs = zip(first, second, strict=True)
    return Rotation(*(torch.cat([x.expand(batch, -1, -1, -1) for x in pair], dim=2) for pair in pairs))


class JointBlock(nn.Module):
    """One attention over [queries; others], in which all are refined.

    Source: our reading of LoViC, as TiTok's (arXiv 2406.07550) encoder; it needs fewer parameters than QFormerBlock.
    """

    def __init__(self, *, width: int, num_heads: int, qk_gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, num_heads=num_heads, qk_gain=qk_gain)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = feed_forward(width, 4 * width, nn.GELU())

    def forward(
        self, queries: Tensor, others: Tensor, query_at: Rotation, other_at: Rotation, mask: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor]:
        """queries: b m d; others: b n d; mask: b n, None for all.

        Returns both, refined; in the last block the queries alone.
        """
        count = queries.shape[1]
        x = torch.cat([queries, others], dim=1)
        keys, key_at = self.norm(x), concat_rotations(query_at, other_at)
        if mask is not None:
            mask = nn.functional.pad(mask, (count, 0), value=True)
        if last:
            x = queries + self.attention(keys[:, :count], keys, mask, query_at, key_at)
            return x + self.mlp(self.mlp_norm(x)), others
        x = x + self.attention(keys, keys, mask, key_at)
        x = x + self.mlp(self.mlp_norm(x))
        return x[:, :count], x[:, count:]


class QFormerBlock(nn.Module):
    """Self-attention among queries, cross-attention to the others, feed-forward.

    Source: BLIP-2's Q-Former (arXiv 2301.12597), in whose line LoViC puts its compressor.
    """

    def __init__(self, *, width: int, num_heads: int, qk_gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, num_heads=num_heads, qk_gain=qk_gain)
        self.cross_norm = nn.LayerNorm(width)
        self.other_norm = nn.LayerNorm(width)
        self.cross = Attention(width=width, num_heads=num_heads, qk_gain=qk_gain)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = feed_forward(width, 4 * width, nn.GELU())

    def forward(
        self, queries: Tensor, others: Tensor, query_at: Rotation, other_at: Rotation, mask: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor]:
        """As JointBlock; the others come back as they were, in every block."""
        y = self.norm(queries)
        x = queries + self.attention(y, y, None, query_at)
        x = x + self.cross(self.cross_norm(x), self.other_norm(others), mask, query_at, other_at)
        return x + self.mlp(self.mlp_norm(x)), others


def blocks_of(block: Block, depth: int, width: int, num_heads: int, qk_gain: float) -> nn.ModuleList:
    """Blocks in a row.

    Args:
        block: "joint" or "qformer", two readings of the paper.
        depth: how many.
        width: features of a token.
        num_heads: heads of attention; a divisor of the width.
        qk_gain: initial gain of normalised queries and keys.

    Returns:
        The blocks, untrained.

    Raises:
        ValueError: for an unknown block.
    """
    kinds: dict[str, type[nn.Module]] = {"joint": JointBlock, "qformer": QFormerBlock}
    if block not in kinds:
        raise ValueError(f"compressor.block={block} is unknown: use {' or '.join(kinds)}")
    return nn.ModuleList(kinds[block](width=width, num_heads=num_heads, qk_gain=qk_gain) for _ in range(depth))


def run(
    blocks: nn.ModuleList, queries: Tensor, others: Tensor, query_at: Rotation, other_at: Rotation, mask: Tensor | None
) -> Tensor:
    """Queries b m d through blocks, reading others b n d where mask (b n, None for all) lets them."""
    for number, layer in enumerate(blocks, start=1):
        queries, others = layer(queries, others, query_at, other_at, mask, number == len(blocks))
    return queries
