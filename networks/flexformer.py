"""FlexFormer: an autoencoder of a segment's latents and text with a single learned query.

Axes: b batch, c channels, f frames, h height, w width (latents); n patch tokens, m context tokens, l text tokens.
Copies of one query differ by their places alone, so any number of them may be asked for, whatever the size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from networks.embeddings import TimeEmbedding
from networks.flexformer_blocks import Block, blocks_of, run
from networks.interfaces import ContextTokens, Reconstruction, VideoBatch
from networks.interpolated_rope import Rule, check_rule, pooled_rotation, query_grid, shares_of, text_positions
from networks.ranges import Count, NotNegative, Positive, Size
from networks.rope import RotaryEmbedding3D, Rotation
from networks.sequence import to_patches
from networks.video_network import PATCH


class SegmentEmbedding(nn.Module):
    """Patches of a segment, told how noisy they are, and its text, as tokens with places."""

    def __init__(self, *, channels: int, width: int, text_features: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.patches = nn.Linear(channels * patch**2, width)
        self.text = nn.Linear(text_features, width)
        self.time = TimeEmbedding(width=width)
        self.is_video = nn.Parameter(0.02 * torch.randn(width))
        self.is_text = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, segment: VideoBatch, level: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of a segment's video and of its text, before they are compressed.

        Args:
            segment: video b c f h w and text b l e.
            level: b in [0, 1], time of the noise in the video.

        Returns:
            Video tokens b f h/p w/p d, and text tokens b l d.

        Raises:
            ValueError: if the latents' sides are no multiples of the patch.
        """
        patches = to_patches(segment.video, self.patch)
        video = rearrange(patches, "b f (h w) d -> b f h w d", h=segment.video.shape[3] // self.patch)
        video = self.patches(video.to(self.is_video.dtype)) + rearrange(self.time(level), "b d -> b 1 1 1 d")
        return video + self.is_video, self.text(segment.text.to(self.is_text.dtype)) + self.is_text


class ContextDecoder(nn.Module):
    """Two learned queries, for video and for text, copied to the places of what is to be recovered."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        depth: int,
        num_heads: int,
        text_features: int,
        block: Block,
        qk_gain: float,
        rope_theta: float,
        patch: int,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.query_video = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.query_text = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.read = nn.Linear(width, width)
        self.rope = RotaryEmbedding3D(head_width=width // num_heads, theta=rope_theta)
        self.blocks = blocks_of(block, depth, width, num_heads, qk_gain)
        self.norm = nn.LayerNorm(width)
        self.to_video = nn.Linear(width, channels * patch**2)
        self.to_text = nn.Linear(width, text_features)

    def forward(
        self, context: ContextTokens, num_frames: int, height: int, width: int, num_text: int
    ) -> Reconstruction:
        """context: tokens b m d with places; sizes in latents. Returns b c f h w and b num_text e."""
        assert context.positions is not None
        batch = len(context.tokens)
        device = context.tokens.device
        sizes = (num_frames, height // self.patch, width // self.patch)
        grid = query_grid(sizes, 1.0, strategy="uniform", rule="centre", device=device).positions
        places = torch.cat([grid, text_positions(num_text, device)]).unsqueeze(0)
        copies = (repeat(query, "1 1 d -> b n d", b=batch, n=n) for query, n in self._copies(len(grid), num_text))
        queries, others = torch.cat(list(copies), dim=1), self.read(context.tokens)
        query_at, other_at = self.rope(places), self.rope(context.positions)
        queries = self.norm(run(self.blocks, queries, others, query_at, other_at, context.mask))
        video = rearrange(
            self.to_video(queries[:, : len(grid)]),
            "b (f h w) (c p q) -> b c f (h p) (w q)",
            f=sizes[0],
            h=sizes[1],
            p=self.patch,
            q=self.patch,
        )
        return Reconstruction(video, self.to_text(queries[:, len(grid) :]))

    def _copies(self, num_video: int, num_text: int) -> tuple[tuple[Tensor, int], tuple[Tensor, int]]:
        return (self.query_video, num_video), (self.query_text, num_text)


def decoder_of(*, depth: int, **settings: Any) -> ContextDecoder | None:
    """A decoder, or none at depth 0, as in weights that only generate."""
    return ContextDecoder(depth=depth, **settings) if depth else None


class ContextCompressor(nn.Module):
    """What every compressor is, with the half that recovers a segment from its context tokens alone."""

    width: int
    patch: int
    decoder: ContextDecoder | None

    def encode(self, segment: VideoBatch, level: Tensor, rate: float) -> ContextTokens:
        """Context tokens b m d and their places b m 3; see Compressor."""
        raise NotImplementedError

    def decode(self, context: ContextTokens, num_frames: int, height: int, width: int, num_text: int) -> Reconstruction:
        """Recovers a segment from its context tokens alone; see Compressor.

        Args:
            context: tokens b m d with their places.
            num_frames: latent frames of the segment.
            height: height of its latents.
            width: width of its latents.
            num_text: tokens of its text.

        Returns:
            Latents b c f h w and text features b num_text e.

        Raises:
            ValueError: if the weights came without a decoder.
        """
        if self.decoder is None:
            raise ValueError(
                "this compressor has no decoder (decoder_depth=0), which training and reconstruction need: give the "
                "weights of a FlexFormer alone, such as weights/flexformer_freedoom_64"
            )
        made: Reconstruction = self.decoder(context, num_frames, height, width, num_text)
        return made


class FlexFormer(ContextCompressor):
    """`compressor=flexformer`: one learned query, copied as often as the rate asks for.

    Source: LoViC (arXiv 2507.12952). Its blocks, sizes and rule of places are not known to us: each is an option here.
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
        strategy: str | Sequence[NotNegative],
        rule: Rule,
        qk_gain: Positive,
        rope_theta: Positive,
        patch: Size = PATCH,
    ) -> None:
        """Builds the blocks with random weights.

        Args:
            channels: channels of the latents.
            width: features of every token, a multiple of num_heads.
            encoder_depth: number of blocks that read video and text together with the queries.
            decoder_depth: number of blocks that recover a segment from its context tokens in training; 0: no decoder.
            num_heads: heads of every block's attention; a divisor of the width.
            text_features: features that the text encoder gives each token.
            block: kind of the blocks; see blocks_of.
            strategy: how the copies of the query share out frames, rows and columns; see interpolated_rope.
            rule: how places between tokens are found; see interpolated_rope.
            qk_gain: initial gain of normalised queries and keys.
            rope_theta: base of the rotations' frequencies.
            patch: side of a video token in latents, the backbone's.

        Raises:
            ValueError: for an unknown block, strategy or rule.
        """
        super().__init__()
        shares_of(strategy)
        check_rule(rule)
        self.width, self.patch = width, patch
        self.strategy = strategy
        self.rule: Rule = rule
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
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
        """Context tokens b m d and their places b m 3; see Compressor."""
        video, text = self.embed(segment, level)
        batch, sizes = len(video), sizes_of(video)
        grid = query_grid(sizes, rate, strategy=self.strategy, rule=self.rule, device=video.device)
        queries = repeat(self.query, "1 1 d -> b m d", b=batch, m=len(grid.positions))
        if self.rule == "pooled":
            query_at = pooled_rotation(self.rope, sizes, grid.counts)
        else:
            query_at = self.rope(grid.positions.unsqueeze(0))
        tokens = encode_with(self.blocks, self.rope, queries, query_at, video, text, segment.text_mask)
        return ContextTokens(self.norm(tokens), repeat(grid.positions, "m p -> b m p", b=batch))

    def forward(self, segment: VideoBatch, level: Tensor, rate: float) -> Reconstruction:
        """Encodes and decodes."""
        _, _, num_frames, height, width = segment.video.shape
        return self.decode(self.encode(segment, level, rate), num_frames, height, width, segment.text.shape[1])


def sizes_of(video: Tensor) -> tuple[int, int, int]:
    """Frames, rows and columns of video tokens b f h w d."""
    return video.shape[1], video.shape[2], video.shape[3]


def encode_with(
    blocks: nn.ModuleList,
    rope: RotaryEmbedding3D,
    queries: Tensor,
    query_at: Rotation,
    video: Tensor,
    text: Tensor,
    text_mask: Tensor | None,
) -> Tensor:
    """Runs queries b m d against [video; text] at their own places; padded text is not attended to. Returns b m d."""
    sizes = sizes_of(video)
    places = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float32, device=video.device) for size in sizes))
    places = torch.cat([places, text_positions(text.shape[1], video.device)]).unsqueeze(0)
    others = torch.cat([rearrange(video, "b f h w d -> b (f h w) d"), text], dim=1)
    mask = None if text_mask is None else nn.functional.pad(text_mask, (others.shape[1] - text.shape[1], 0), value=True)
    return run(blocks, queries, others, query_at, rope(places), mask)
