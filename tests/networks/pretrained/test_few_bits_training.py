"""train.py upon a base of few bits with moments of 8 bits: stopped and gone on with, and on two processes."""

from importlib.util import find_spec

import pytest
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH
from tiny_runs import config, run_together, weights
from tiny_wan import tiny_wan

from longtake.cli.training import train
from networks.pretrained.quantized import LIBRARIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not here"),
]
FEW_BITS = [
    pytest.param(dtype, marks=pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not here"))
    for dtype, library in LIBRARIES.items()
]


def upon_wan(dtype):
    """VIN upon a tiny Wan, with an interface whose matrices are large enough for moments of 8 bits."""
    return (
        "backbone=wan",
        f"backbone.pretrained={tiny_wan()}",
        f"backbone.dtype={dtype}",
        f"backbone.width={WIDTH}",
        f"backbone.num_heads={HEADS}",
        "backbone.lora_rank=4",
        f"codec.channels={CHANNELS}",
        f"text.features={TEXT}",
        "interface=narrow",
        "interface.num_tokens=4",
        "interface.depth=1",
        "interface.width=64",
        "interface.num_heads=2",
        "optimizer=adamw_8bit",
        "optimizer.lr=0.001",
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "callbacks.samples=null",
    )


OURS = ("backbone.", "interface.")
"""What runs on our own DiT are told, and these are not."""


def moments(run):
    """The optimizer's state, tensor by tensor, as bitsandbytes keeps it in a checkpoint."""
    (state,) = weights(run, "optimizer_states")
    kept = {index: each["__bnb_optimizer_quant_state__"] for index, each in state["state"].items()}
    return {(index, name): x for index, each in kept.items() for name, x in each.items()}


@pytest.fixture(scope="module")
def whole(request, videos, tmp_path_factory):
    """Four steps without a stop."""
    run = tmp_path_factory.mktemp("runs") / request.param
    train(config(videos, run, *upon_wan(request.param), drop=OURS))
    return request.param, run


@pytest.mark.parametrize("whole", [*FEW_BITS, "bfloat16"], indirect=True)
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(videos, whole, tmp_path):
    dtype, unbroken = whole
    train(
        config(videos, tmp_path / "run", *upon_wan(dtype), "trainer.max_steps=2", "scheduler.total_steps=4", drop=OURS)
    )
    train(config(videos, tmp_path / "run", *upon_wan(dtype), f"resume={tmp_path / 'run'}", drop=OURS))
    assert weights(tmp_path / "run", "global_step") == 4
    for key in ("state_dict", "current_model_state"):
        expected, found = weights(unbroken, key), weights(tmp_path / "run", key)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name
    expected, found = moments(unbroken), moments(tmp_path / "run")
    assert {x.dtype for x in expected.values()} == {torch.uint8, torch.float32}
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_two_processes_equal_one_upon_nf4(videos, tmp_path):
    """Moments of 8 bits differ by a whole step of their grid where gradients differ in the last bit: AdamW alone."""
    settings = (*upon_wan("nf4"), "optimizer=adamw")
    train(config(videos, tmp_path / "one", *settings, "clips_per_device=2", drop=OURS))
    run_together(2, videos, tmp_path / "two", "trainer=ddp_cpu", *settings, drop=OURS)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_two_processes_hold_the_same_moments_of_8_bits(videos, tmp_path):
    settings = ("trainer=ddp_cpu", *upon_wan("nf4"))
    run_together(2, videos, tmp_path / "whole", *settings, drop=OURS)
    run_together(2, videos, tmp_path / "run", *settings, "trainer.max_steps=2", "scheduler.total_steps=4", drop=OURS)
    run_together(2, videos, tmp_path / "run", *settings, f"resume={tmp_path / 'run'}", drop=OURS)
    for key in ("state_dict", "current_model_state"):
        expected, found = weights(tmp_path / "whole", key), weights(tmp_path / "run", key)
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name
