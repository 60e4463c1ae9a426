"""What FlexFormer is compared with, behind the same contract and with the same decoder.

Axes: b batch, c channels, f frames, h height, w width (latents); m context tokens, l text tokens, d width.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from networks.batches import on_device
from networks.flexformer import ContextCompressor, SegmentEmbedding, decoder_of, encode_with, sizes_of
from networks.flexformer_blocks import Block, blocks_of
from networks.interfaces import ContextTokens, VideoBatch
from networks.interpolated_rope import axis_places, cell_weights, num_queries, query_grid, shares_of
from networks.ranges import Count, NotNegative, Positive, Size
from networks.rope import RotaryEmbedding3D
from networks.video_network import PATCH


class MeanPool(ContextCompressor):
    """`compressor=mean_pool`: patches averaged over the cells of the grid that FlexFormer's queries would stand on.

    Source: FramePack's larger patches, as averages so that any rate is possible; the text's mean is added (ours).
    """

    def __init__(
        self,
        *,
        channels: Size,
        width: Size,
        decoder_depth: Count,
        num_heads: Size,
        text_features: Size,
        block: Block,
        strategy: str | Sequence[NotNegative],
        qk_gain: Positive,
        rope_theta: Positive,
        patch: Size = PATCH,
    ) -> None:
        """Builds the layers with random weights.

        Args:
            channels: channels of the latents.
            width: features of every token, a multiple of num_heads.
            decoder_depth: number of blocks of the decoder, which is FlexFormer's; 0: no decoder.
            num_heads: heads of every block's attention; a divisor of the width.
            text_features: features that the text encoder gives each token.
            block: kind of the decoder's blocks; see blocks_of.
            strategy: how the grid shares out frames, rows and columns; see interpolated_rope.
            qk_gain: initial gain of normalised queries and keys.
            rope_theta: base of the rotations' frequencies.
            patch: side of a video token in latents, the backbone's.

        Raises:
            ValueError: for an unknown strategy or block.
        """
        super().__init__()
        shares_of(strategy)
        self.width, self.patch = width, patch
        self.strategy = strategy
        self.embed = SegmentEmbedding(channels=channels, width=width, text_features=text_features, patch=patch)
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width, elementwise_affine=False))
        self.decoder = decoder_of(
            channels=channels,
            width=width,
            depth=decoder_depth,
            num_heads=num_heads,
            text_features=text_features,
            block=block,
            qk_gain=qk_gain,
            rope_theta=rope_theta,
            patch=patch,
        )

    def encode(self, segment: VideoBatch, level: Tensor, rate: float) -> ContextTokens:
        """Context tokens b m d and their places b m 3."""
        video, text = self.embed(segment, level)
        sizes = sizes_of(video)
        grid = query_grid(sizes, rate, strategy=self.strategy, rule="centre", device=video.device)
        weights = [
            on_device(cell_weights(s, m), video.device).to(video.dtype) for s, m in zip(sizes, grid.counts, strict=True)
        ]
        pooled = torch.einsum("nfhwd,af,bh,cw->nabcd", video, *weights)
        known = torch.ones_like(text[..., :1])
        if segment.text_mask is not None:
            known = segment.text_mask.unsqueeze(-1).to(text.dtype)
        mean = (text * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
        tokens = self.out(rearrange(pooled, "n a b c d -> n (a b c) d") + mean)
        return ContextTokens(tokens, repeat(grid.positions, "m p -> b m p", b=len(video)))


class FixedQueries(ContextCompressor):
    """`compressor=fixed_queries`: a fixed number of learned queries at fractional places, whatever the rate.

    Source: TokensGen's resampler.
    """

    def __init__(
        self,
        *,
        channels: Size,
        width: Size,
        encoder_depth: Size,
        decoder_depth: Count,
        num_heads: Size,
        text_features: Size,
        block: Block,
        grid: Sequence[Size],
        qk_gain: Positive,
        rope_theta: Positive,
        patch: Size = PATCH,
    ) -> None:
        """Builds the layers with random weights.

        Args:
            channels: channels of the latents.
            width: features of every token, a multiple of num_heads.
            encoder_depth: number of blocks in which the queries read video and text.
            decoder_depth: number of blocks of the decoder, which is FlexFormer's; 0: no decoder.
            num_heads: heads of every block's attention; a divisor of the width.
            text_features: features that the text encoder gives each token.
            block: kind of the blocks; see blocks_of.
            grid: number of queries along frames, rows and columns, each at least 1.
            qk_gain: initial gain of normalised queries and keys.
            rope_theta: base of the rotations' frequencies.
            patch: side of a video token in latents, the backbone's.

        Raises:
            ValueError: unless the grid is three counts of at least 1, or for an unknown block.
        """
        super().__init__()
        if len(grid) != 3 or min(grid) < 1:
            raise ValueError(f"compressor.grid={list(grid)} must be three counts of at least 1, such as [5, 2, 2]")
        self.width, self.patch = width, patch
        self.grid = (grid[0], grid[1], grid[2])
        self.queries = nn.Parameter(0.02 * torch.randn(math.prod(grid), width))
        self.embed = SegmentEmbedding(channels=channels, width=width, text_features=text_features, patch=patch)
        self.rope = RotaryEmbedding3D(head_width=width // num_heads, theta=rope_theta)
        self.blocks = blocks_of(block, encoder_depth, width, num_heads, qk_gain)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.decoder = decoder_of(
            channels=channels,
            width=width,
            depth=decoder_depth,
            num_heads=num_heads,
            text_features=text_features,
            block=block,
            qk_gain=qk_gain,
            rope_theta=rope_theta,
            patch=patch,
        )

    def encode(self, segment: VideoBatch, level: Tensor, rate: float) -> ContextTokens:
        """Context tokens b m d and their places b m 3; the rate must be one that a segment has, and changes nothing."""
        video, text = self.embed(segment, level)
        sizes = sizes_of(video)
        num_queries(math.prod(sizes), rate)
        places = [axis_places(s, m, "centre") for s, m in zip(sizes, self.grid, strict=True)]
        positions = repeat(on_device(torch.cartesian_prod(*places), video.device), "m p -> b m p", b=len(video))
        queries = repeat(self.queries, "m d -> b m d", b=len(video))
        tokens = encode_with(self.blocks, self.rope, queries, self.rope(positions), video, text, segment.text_mask)
        return ContextTokens(self.norm(tokens), positions)
