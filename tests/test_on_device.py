"""Networks on the device that there is beside a CPU: on a machine with a GPU, what other machines cannot show.

Without a GPU the device is the CPU itself, so that these tests are known to run before one is at hand.
"""

import copy
from typing import get_args

import pytest
import torch
from builders import awake, context, example, tiny_dit, tiny_lovic, tiny_vin
from composing import ROOT
from torch import Tensor

from longtake.pipeline import Pipeline
from longtake.running import AttentionKernel, Precision, Running

CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NETWORKS = {
    "dit": tiny_dit,
    "vin": lambda: tiny_vin(fusion="all"),
    "lovic": lambda: tiny_lovic(low_resolution=True),
    "vin_lovic": lambda: tiny_lovic(tiny_vin(fusion="late")),
}
ALL = pytest.mark.parametrize("name", NETWORKS)


def inputs(name):
    """Noisy latents, one time for all frames, and a condition, with two segments for networks with memory."""
    noisy, _, condition = example(10, batch=1)
    condition = condition._replace(text_mask=None)
    if "lovic" in name:
        before = context([-8, -4], batch=1)._replace(complete=True)
        condition = condition._replace(context=(before,), shot=torch.zeros(1, dtype=torch.long))
    return noisy, torch.tensor([[0.5]]), condition


def there(value):
    """The same on the device, at any depth of tuples."""
    if isinstance(value, Tensor):
        return value.to(DEVICE)
    if isinstance(value, tuple):
        moved = [there(each) for each in value]
        return type(value)(*moved) if hasattr(value, "_fields") else tuple(moved)
    return value


@ALL
def test_a_call_and_its_gradients_are_those_of_a_cpu(name):
    network = awake(NETWORKS[name]()).eval()
    moved = copy.deepcopy(network).to(DEVICE)
    given = inputs(name)
    expected, found = network(*given), moved(*there(given))
    assert found.device.type == DEVICE.type
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-3)
    for made in (expected, found):
        made.square().mean().backward()
    for (key, one), other in zip(network.named_parameters(), moved.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad.cpu(), one.grad, atol=1e-4, rtol=1e-3, msg=key)


def refusal(running):
    """What the device says against a way of computing, None where it takes it."""
    try:
        running.check(DEVICE)
    except ValueError as error:
        return str(error)
    return None


@ALL
def test_each_precision_and_kernel_works_or_is_refused_in_a_sentence(name):
    network, given = awake(NETWORKS[name]()).eval(), inputs(name)
    with torch.inference_mode():
        expected = network(*given)
    ways = [{"precision": each} for each in get_args(Precision)] + [
        {"precision": precision, "attention": each}
        for each in get_args(AttentionKernel)
        for precision in ("32-true", "bf16-true")
    ]
    for way in ways:
        running = Running(**way)
        if said := refusal(running):
            assert f"{DEVICE.type} has no" in said
            continue
        moved = copy.deepcopy(network).to(DEVICE)
        running.prepare(moved)
        with torch.inference_mode(), running(DEVICE):
            found = moved(*there(given)).float().cpu()
        assert float((found - expected).norm() / expected.norm()) < 0.03, way


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == CPU, reason="test_running.py compiles for a CPU")
@ALL
def test_compiled_blocks_make_what_others_make(name):
    network, given = awake(NETWORKS[name]()).eval().to(DEVICE), there(inputs(name))
    compiled = copy.deepcopy(network)
    Running(compile="blocks").prepare(compiled)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(*given), network(*given), atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_parts_that_take_turns_make_the_video_of_parts_that_stay():
    made = []
    for offload in (False, True):
        pipe = Pipeline.from_pretrained(ROOT / "weights" / "vin_freedoom_64", num_inference_steps=1, offload=offload)
        made.append(pipe.latents(["a cave"], num_frames=17, seed=1).cpu())
        held = {part.device.type for part in pipe.module.network.parameters()}
        assert held == {DEVICE.type}
    torch.testing.assert_close(*made, atol=1e-5, rtol=1e-4)
