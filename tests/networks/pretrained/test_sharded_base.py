"""Adapters upon a frozen base in pieces: two processes learn what one learns, and keep what was learnt alone."""

import pytest
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH
from tiny_runs import config, run_in_turn, together, weights
from tiny_wan import tiny_wan

from longtake.cli.training import train
from longtake.releases.pieces import join_pieces

pytestmark = pytest.mark.slow


def upon_wan():
    """VIN upon a tiny Wan."""
    return (
        "backbone=wan",
        f"backbone.pretrained={tiny_wan()}",
        "backbone.dtype=float32",
        f"backbone.width={WIDTH}",
        f"backbone.num_heads={HEADS}",
        "backbone.lora_rank=4",
        f"codec.channels={CHANNELS}",
        f"text.features={TEXT}",
        "interface=narrow",
        "interface.num_tokens=4",
        "interface.depth=1",
        "interface.width=32",
        "interface.num_heads=2",
        "network.token_dropout=0",
        "lightning_module.text_dropout=0",
        "callbacks.samples=null",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "datamodule.num_frames=[9]",
        "lightning_module.validation_times=[0.5]",
    )


@pytest.mark.timeout(300)
def test_pieces_upon_a_frozen_base_hold_what_was_learnt_alone_and_go_on(videos, tmp_path):
    own = ("backbone.", "interface.")  # what runs on our own DiT are told
    settings = (*upon_wan(), "clips_per_device=2")
    train(config(videos, tmp_path / "one", *settings, drop=own))
    pieces = tmp_path / "pieces"
    one_step = ("trainer.max_steps=1", "trainer.val_check_interval=1", "scheduler.total_steps=2")
    last = pieces / "checkpoints" / "last.ckpt"
    run_in_turn(
        2,
        together(2, videos, pieces, "trainer=fsdp2_cpu", *settings, *one_step, drop=own),
        together(2, videos, pieces, "trainer=fsdp2_cpu", *settings, f"resume={last}", drop=own),
    )
    one, two = weights(tmp_path / "one"), join_pieces(last)
    assert one.keys() == two.keys()
    assert any("lora_B" in name for name in two)
    assert not any("base_layer" in name for name in two)
    for name, value in one.items():
        # Adam makes steps of 1e-4 of whatever gradient there is; the smallest ones are rounding, which differs by CPU.
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=4e-5, msg=name)
