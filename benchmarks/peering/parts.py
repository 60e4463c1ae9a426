"""The parts of one block of our DiT, each beside the matrix products that it cannot go without."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.peering.sizes import FRAMES, Sizes
from benchmarks.peering.transformers import Products
from networks.blocks import DiTBlock, Layout, add_gated, by_group, modulated
from networks.rope import RotaryEmbedding3D


class Part(NamedTuple):
    """What a block does in one place, and its products alone; None where it has none."""

    run: Callable[[], Tensor]
    products: Callable[[], Tensor] | None


def parts(sizes: Sizes) -> dict[str, Part]:
    """By name, with fresh weights and inputs that take gradients."""
    torch.manual_seed(0)
    block = DiTBlock(width=sizes.width, num_heads=sizes.heads, mlp_ratio=sizes.mlp_ratio)
    dtype = getattr(torch, sizes.dtype)
    block = block.to(sizes.device, dtype)
    floor = Products(sizes).to(sizes.device, dtype)
    x, y = (sizes.empty(1, sizes.tokens, sizes.width).requires_grad_() for _ in range(2))
    text = sizes.empty(1, sizes.text_tokens, sizes.width)
    rope = RotaryEmbedding3D(head_width=sizes.width // sizes.heads, theta=100.0).to(sizes.device)
    rotation = rope.of_grid(torch.arange(FRAMES, device=sizes.device).unsqueeze(0), sizes.side, sizes.side)
    layout = Layout(FRAMES, sizes.side**2)

    def modulation(groups: int) -> Callable[[], Tensor]:
        shift, scale, gate = (sizes.empty(1, groups, sizes.width).requires_grad_() for _ in range(3))

        def run() -> Tensor:
            """Once; a block does it twice."""
            told = modulated(block.norm, x, layout, shift, scale)
            return by_group(layout, add_gated, (told, y), (gate,))

        return run

    return {
        "self-attention with RoPE and QK-norm": Part(
            lambda: block.attention(x, x, None, rotation), lambda: floor.self_attention(x)
        ),
        "text attention": Part(
            lambda: block.text_attention.ask(block.text_norm(x), text, None), lambda: floor.text_attention(x, text)
        ),
        "feed-forward": Part(lambda: block.mlp(x), lambda: floor.feed_forward(x)),
        "adaLN and gate, one time for all": Part(modulation(1), None),
        "adaLN and gate, a time for each frame": Part(modulation(FRAMES), None),
    }
