"""Attention under autocast: gains of normalised queries and keys are float32, what they are multiplied with is not."""

import warnings

import pytest
import torch

from networks.attention import Attention, HeadNorm


@pytest.fixture
def every_warning():
    """Torch warns once in a process, unless it is told to warn always."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(before)


def test_nothing_keeps_fused_kernels_from_normalising_heads(every_warning):
    attention = Attention(width=32, num_heads=2)
    tokens = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    plain = attention(tokens, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention(tokens, tokens)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), plain, atol=0.02, rtol=0.05)
    mixed.float().sum().backward()
    assert attention.query_norm.weight.grad.dtype == torch.float32


def test_a_head_is_normalised_as_torch_s_own():
    own, theirs = HeadNorm(8, eps=1e-6), torch.nn.RMSNorm(8, eps=1e-6)
    torch.nn.init.normal_(own.weight, generator=torch.Generator().manual_seed(0))
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(own(x), theirs(x))
