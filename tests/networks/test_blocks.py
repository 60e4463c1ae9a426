"""The DiT's block and its parts: the same with gradients and without, compiled, and at every precision."""

from unittest.mock import patch

import pytest
import torch
from builders import awake
from torch.nn import functional as F

from networks.attention import scaled_dot_product
from networks.blocks import DiTBlock, Layout, by_group
from networks.rope import RotaryEmbedding3D

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("extra", [0, 3, 4])
def test_a_block_without_gradients_is_the_one_of_training_and_leaves_its_input_alone(extra):
    block = awake(DiTBlock(width=16, num_heads=2, mlp_ratio=2.0))
    tokens, text = torch.randn(2, 8 + extra, 16), torch.randn(2, 3, 16)
    rotation = RotaryEmbedding3D(head_width=8, theta=256.0)(torch.randn(2, 8 + extra, 3))
    rest = (Layout(2, 4), torch.randn(2, 3 if extra else 2, 6, 16), rotation, None, text, torch.ones(2, 3) > 0)
    before = tokens.clone()
    with torch.no_grad():
        sampled = block(tokens, *rest)
    torch.testing.assert_close(tokens, before, rtol=0, atol=0)
    torch.testing.assert_close(sampled, block(tokens, *rest), **CLOSE)


@pytest.mark.slow
def test_a_block_compiles_in_one_graph():
    block = awake(DiTBlock(width=16, num_heads=2, mlp_ratio=2.0))
    rotation = RotaryEmbedding3D(head_width=8, theta=256.0)(torch.randn(2, 8, 3))
    rest = (Layout(2, 4), torch.randn(2, 2, 6, 16), rotation, None, torch.randn(2, 3, 16), torch.ones(2, 3) > 0)
    tokens = torch.randn(2, 8, 16)
    made = torch.compile(block, fullgraph=True, backend="eager")(tokens, *rest)
    torch.testing.assert_close(made, block(tokens, *rest), **CLOSE)


def fusing():
    return patch("networks.attention.F.scaled_dot_product_attention", wraps=F.scaled_dot_product_attention)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_that_is_written_out_in_training_is_the_fused_one(masked):
    query, key, value = (torch.randn(2, 3, n, 8) for n in (5, 9, 9))
    mask = (torch.arange(9) < 6).expand(2, 1, 1, 9) if masked else None
    with torch.no_grad(), fusing() as made:
        fused = scaled_dot_product(query, key, value, mask)
    assert made.call_count == 1
    with fusing() as made:
        torch.testing.assert_close(scaled_dot_product(query, key, value, mask), fused)
    assert made.call_count == 0
    other = value.index_fill(2, torch.arange(6, 9), 7.0)  # of the keys that a mask hides
    unchanged = torch.equal(scaled_dot_product(query, key, other, mask), scaled_dot_product(query, key, value, mask))
    assert unchanged == masked


@pytest.mark.parametrize("extra", [3, 4, 8])
def test_tokens_without_a_place_share_one_value_however_they_are_grouped(extra):
    layout, seeded = Layout(num_frames=2, per_frame=4), torch.Generator().manual_seed(0)
    tokens, values = torch.randn(2, 8 + extra, 5, generator=seeded), torch.randn(2, 3, 5, generator=seeded)
    expected = tokens * torch.cat([values[:, :2].repeat_interleave(4, dim=1), values[:, 2:].expand(-1, extra, -1)], 1)
    groups = [values] if extra % 4 else [values, torch.cat([values[:, :2], *[values[:, 2:]] * (extra // 4)], dim=1)]
    for each in groups:
        assert torch.equal(by_group(layout, torch.mul, (tokens,), (each,)), expected)
    alone = by_group(layout, torch.mul, (tokens[:, :8],), (groups[-1],))
    assert torch.equal(alone, expected[:, :8])
