"""train.py upon a base of few bits with moments of 8 bits: stopped and gone on with, and on two processes."""

from importlib.util import find_spec

import pytest
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH
from tiny_runs import config, run_in_turn, together, weights
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
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "callbacks.samples=null",
        "datamodule.num_frames=[9]",
        "lightning_module.validation_times=[0.5]",
    )


ONE_STEP = ("trainer.max_steps=1", "trainer.val_check_interval=1", "scheduler.total_steps=2")
OURS = ("backbone.", "interface.")
"""What runs on our own DiT are told, and these are not."""


def moments(run):
    """The optimizer's state, tensor by tensor, as bitsandbytes keeps it in a checkpoint."""
    (state,) = weights(run, "optimizer_states")
    kept = {index: each["__bnb_optimizer_quant_state__"] for index, each in state["state"].items()}
    return {(index, name): x for index, each in kept.items() for name, x in each.items()}


@pytest.fixture(scope="module")
def whole(request, videos, tmp_path_factory):
    """Two steps without a stop."""
    run = tmp_path_factory.mktemp("runs") / request.param
    train(config(videos, run, *upon_wan(request.param), drop=OURS))
    return request.param, run


@pytest.mark.parametrize("whole", [*FEW_BITS, "bfloat16"], indirect=True)
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(videos, whole, tmp_path):
    dtype, unbroken = whole
    train(config(videos, tmp_path / "run", *upon_wan(dtype), *ONE_STEP, drop=OURS))
    train(config(videos, tmp_path / "run", *upon_wan(dtype), f"resume={tmp_path / 'run'}", drop=OURS))
    assert weights(tmp_path / "run", "global_step") == 2
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


@pytest.fixture(scope="module")
def by_two(videos, tmp_path_factory):
    """Runs of two processes upon nf4: with AdamW, and with moments of 8 bits without a stop and with one."""
    folder = tmp_path_factory.mktemp("by_two")

    def of_two(name, *changes):
        return together(2, videos, folder / name, "trainer=ddp_cpu", *upon_wan("nf4"), *changes, drop=OURS)

    run_in_turn(
        2,
        of_two("adamw", "optimizer=adamw"),
        of_two("whole"),
        of_two("run", *ONE_STEP),
        of_two("run", f"resume={folder / 'run'}"),
    )
    return folder


def test_two_processes_equal_one_upon_nf4(videos, by_two, tmp_path):
    """Moments of 8 bits differ by a whole step of their grid where gradients differ in the last bit: AdamW alone."""
    settings = (*upon_wan("nf4"), "optimizer=adamw", "clips_per_device=2")
    train(config(videos, tmp_path / "one", *settings, drop=OURS))
    one, two = weights(tmp_path / "one"), weights(by_two / "adamw")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_two_processes_hold_the_same_moments_of_8_bits(by_two):
    for key in ("state_dict", "current_model_state"):
        expected, found = weights(by_two / "whole", key), weights(by_two / "run", key)
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name
