"""Operators that are not run again cost and give what they would have: beside PyTorch's own counter and live bytes."""

import pytest
import torch
from builders import awake, example, tiny_dit, tiny_vin
from torch import nn
from torch.nn import functional as F

from longtake.compat import sizes
from longtake.compat.live import LiveBytes
from longtake.compat.sizes import CountedSizes
from longtake.compat.torch import flop_counter


@pytest.fixture(autouse=True)
def forgotten():
    sizes._remembered.clear()
    yield
    sizes._remembered.clear()


def convolved():
    layers = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.SiLU(), nn.Conv3d(6, 2, 1, stride=2))
    return layers, lambda: layers(torch.empty(2, 2, 5, 8, 8, device="meta"))


def recurrent():
    """Views, changes in place, sums over axes, several outputs, and one output that a type alone decides."""
    layer = nn.Linear(8, 12)

    def step():
        x = layer(torch.empty(3, 4, 8, device="meta"))
        first, second = x.split([4, 8], dim=-1)
        x = torch.cat([first.expand(3, 4, 4), second.transpose(0, 1).reshape(3, 4, 8)], dim=-1)
        x = x * torch.ones(12, device="meta").mul_(2)
        values, places = x.topk(3, dim=-1)
        return values + torch.where(places > 1, 1, 2) / 2 + F.layer_norm(x, (12,))[..., :3]

    return layer, step


def denoised(make):
    network = awake(make()).train()
    noisy, time, condition = example(10)
    inputs = [noisy.to("meta"), time.to("meta")]
    condition = condition._replace(
        frame_index=condition.frame_index.to("meta"), text=condition.text.to("meta"), text_mask=None
    )
    return network, lambda: network(*inputs, condition)


CASES = {
    "convolutions": convolved,
    "views": recurrent,
    "dit": lambda: denoised(tiny_dit),
    "vin": lambda: denoised(lambda: tiny_vin(plan=True, context_loss_rate=0.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "with gradients"])
@pytest.mark.parametrize("name", CASES)
def test_flops_and_live_bytes_are_those_of_running_each_operator(name, backward):
    network, step = CASES[name]()
    network.to("meta").requires_grad_(backward)

    def run():
        with torch.set_grad_enabled(backward):
            out = step()
            if backward:
                out.float().square().mean().backward()
            network.zero_grad()
            return tuple(out.shape), out.stride(), out.dtype

    known = [*network.parameters(), *network.buffers()]
    with LiveBytes(known) as live, flop_counter() as counter:
        expected = run()
    for _ in range(2):  # what was run, and what is remembered of it
        with CountedSizes(known) as counted:
            assert run() == expected
        assert (counted.flops, counted.peak) == (counter.get_total_flops(), live.peak)
        assert counted.now == live.now


def test_an_operator_runs_once_for_its_sizes(monkeypatch):
    runs = []
    first = CountedSizes._first
    monkeypatch.setattr(CountedSizes, "_first", lambda self, *given: runs.append(given[2]) or first(self, *given))
    x = torch.empty(3, 4, device="meta")
    for width, expected in ((5, 1), (5, 1), (6, 2)):
        other = torch.empty(4, width, device="meta")
        with CountedSizes([x, other]) as counted:
            assert (x @ other).shape == (3, width)
        assert counted.flops == 2 * 3 * 4 * width
        assert runs.count(torch.ops.aten.mm.default) == expected


def test_equal_numbers_of_other_types_are_told_apart():
    with CountedSizes():
        x = torch.empty(3, dtype=torch.int64, device="meta")
        assert [(x + other).dtype for other in (1, 1.0, 1, True)] == [
            *(torch.int64, torch.float32),
            *(torch.int64, torch.int64),
        ]
        assert torch.empty(3, device="meta").sum().dtype == torch.float32
        torch.set_default_dtype(torch.float64)
        try:
            assert (x + 1.0).dtype == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)


def test_what_has_values_is_run_and_keeps_them():
    with CountedSizes():
        for number in (1.0, 2.0):
            assert float(torch.full((2,), number).sum()) == 2 * number
        x = torch.empty(3, device="meta")
        view = x.view(3, 1)
        assert view.untyped_storage()._cdata == x.untyped_storage()._cdata
        assert x.add_(1) is x
        with pytest.raises(RuntimeError, match="meta"):
            bool(x.any())


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(sizes, "MOST_REMEMBERED", 5)
    with CountedSizes():
        for size in range(1, 30):
            assert (torch.empty(size, device="meta") + 1).shape == (size,)
            assert len(sizes._remembered) <= 5
