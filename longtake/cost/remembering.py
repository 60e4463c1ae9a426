"""FLOPs of LoViC's memory: segments compressed, and their keys and values; once a canvas, not once a step."""

import math
from collections.abc import Sequence
from typing import cast

from longtake.cost.flops import PLACE, attention_layer, linear, mlp, modulation, time_embedding
from longtake.cost.sizes import PATCH, CompressorSize, DiTSize, NetworkSize, VideoSize
from networks.interpolated_rope import Rule, num_queries, query_grid

Sizes = tuple[int, int, int]
"""Patches of a segment, or queries, along frames, rows and columns."""
Segment = tuple[int, float]
"""A remembered segment: latent frames, and its rate."""


def patches_of(frames: int, video: VideoSize) -> Sizes:
    """Of a segment of so many latent frames."""
    return frames, video.height // PATCH, video.width // PATCH


def context_grid(compressor: CompressorSize, sizes: Sizes, rate: float) -> Sizes:
    """Context tokens of one segment along each axis: M is their product.

    Raises:
        ValueError: for a rate that the segment cannot have.
    """
    if compressor.kind == "fixed_queries":
        num_queries(math.prod(sizes), rate)
        return cast(Sizes, compressor.grid)
    rule = "centre" if compressor.kind == "mean_pool" else cast(Rule, compressor.rule)
    return query_grid(sizes, rate, strategy=compressor.strategy, rule=rule).counts


def num_memory_keys(network: NetworkSize, segments: Sequence[Segment], video: VideoSize) -> int:
    """Keys of the memory in each layer: the null token and every segment's context tokens."""
    if not network.remembers:
        return 0
    compressor = network.compressor
    if compressor is None:
        return 1
    grids = (context_grid(compressor, patches_of(frames, video), rate) for frames, rate in segments)
    return 1 + sum(math.prod(grid) for grid in grids)


def encoder_flops(compressor: CompressorSize, channels: int, sizes: Sizes, grid: Sizes, text: int) -> int:
    """One segment of these patches, compressed into a grid of context tokens; text: tokens of its caption."""
    width, tokens, queries = compressor.width, math.prod(sizes), math.prod(grid)
    flops = linear(tokens, channels * PATCH**2, width) + time_embedding(1, width)
    flops += linear(text, compressor.text_features, width)
    if compressor.kind == "mean_pool":
        return flops + _averages(sizes, grid, width) + linear(queries, width, width)
    others, every = tokens + text, queries + tokens + text
    for place in range(1, compressor.depth + 1):
        if compressor.block == "qformer":
            mixed = attention_layer(queries, queries, width) + attention_layer(queries, others, width)
            flops += mixed + mlp(queries, width, 4 * width)
        else:  # the last block refines the queries alone
            kept = queries if place == compressor.depth else every
            flops += attention_layer(kept, every, width) + mlp(kept, width, 4 * width)
    return flops


def _averages(sizes: Sizes, grid: Sizes, width: int) -> int:
    """Patches averaged axis by axis."""
    flops, left = 0, list(sizes)
    for axis, count in enumerate(grid):
        flops += 2 * count * math.prod(left) * width
        left[axis] = count
    return flops


def key_value_flops(dit: DiTSize, tokens: int) -> int:
    """`VideoDiT.key_values` of one row of context tokens."""
    block = attention_layer(tokens, tokens, dit.width) + mlp(tokens, dit.width, dit.hidden)
    return modulation(dit, 1) + dit.depth * block


def remember_flops(network: NetworkSize, segments: Sequence[Segment], video: VideoSize) -> int:
    """Memory made once: the null token, and each segment compressed and passed through the DiT."""
    dit, compressor = network.dit, network.compressor
    flops = key_value_flops(dit, 1)
    if compressor is None:
        return flops
    for frames, rate in segments:
        sizes = patches_of(frames, video)
        grid = context_grid(compressor, sizes, rate)
        tokens = math.prod(grid)
        flops += encoder_flops(compressor, dit.channels, sizes, grid, video.text_tokens)
        flops += linear(tokens, compressor.width, dit.width) + key_value_flops(dit, tokens)
        flops += _low_resolution(dit, math.prod(sizes), tokens) if network.low_resolution else 0
    return flops


def _low_resolution(dit: DiTSize, patches: int, tokens: int) -> int:
    """Distances of patches and context tokens, means of the patches, and both embeddings of the means."""
    features = dit.channels * PATCH**2
    means = linear(tokens, patches, features) + linear(patches, 5, tokens)
    return means + linear(tokens, features, dit.width) + linear(tokens, PLACE, dit.width)
