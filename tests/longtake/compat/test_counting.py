"""FLOPs are counted alike on every supported PyTorch: by hand, for each way in which attention can run."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from longtake.compat.torch import flop_counter

BATCH, HEADS, QUERIES, KEYS, WIDTH, VALUES = 2, 3, 5, 7, 8, 16
PRODUCT = 2 * BATCH * HEADS * QUERIES * KEYS


def inputs(device: str = "cpu", *, values: int = WIDTH, gradient: bool = False) -> tuple[torch.Tensor, ...]:
    sizes = ((QUERIES, WIDTH), (KEYS, WIDTH), (KEYS, values))
    return tuple(torch.randn(BATCH, HEADS, *size, device=device, requires_grad=gradient) for size in sizes)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_two_products(backend, masked):
    mask = torch.ones(QUERIES, KEYS, dtype=torch.bool) if masked else None
    with sdpa_kernel(backend), flop_counter() as counter:
        F.scaled_dot_product_attention(*inputs(), attn_mask=mask)
    assert counter.get_total_flops() == PRODUCT * (WIDTH + WIDTH)


def test_values_may_be_wider_than_keys():
    with flop_counter() as counter:
        F.scaled_dot_product_attention(*inputs(values=VALUES))
    assert counter.get_total_flops() == PRODUCT * (WIDTH + VALUES)


def test_on_meta_it_is_the_same():
    with flop_counter() as counter:
        F.scaled_dot_product_attention(*inputs("meta"))
    assert counter.get_total_flops() == PRODUCT * 2 * WIDTH


def test_half_precision_is_counted_too():
    with flop_counter() as counter:
        F.scaled_dot_product_attention(*(each.bfloat16() for each in inputs()))
    assert counter.get_total_flops() == PRODUCT * 2 * WIDTH


def test_a_fused_backward_pass_is_five_products():
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), flop_counter() as counter:
        F.scaled_dot_product_attention(*inputs(gradient=True)).sum().backward()
    assert counter.get_total_flops() == PRODUCT * (2 + 5) * WIDTH


def test_linear_layers_and_convolutions_are_counted_once():
    with torch.no_grad(), flop_counter() as counter:
        nn.Linear(WIDTH, VALUES)(torch.randn(BATCH, QUERIES, WIDTH))
        nn.Conv2d(3, 4, 3, padding=1)(torch.randn(BATCH, 3, 6, 6))
    assert counter.get_total_flops() == 2 * BATCH * (QUERIES * WIDTH * VALUES + 4 * 3 * 9 * 36)
