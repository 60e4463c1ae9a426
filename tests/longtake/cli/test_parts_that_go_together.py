"""Settings that are right one by one and wrong together are answered in one sentence, before any work."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from builders import tiny_dit, tiny_lovic, tiny_vin
from composing import ROOT, composed
from omegaconf import OmegaConf

from longtake.cli.checks import check_parts, check_sizes
from longtake.cli.take import prompts_of
from longtake.rollouts.checks import check_backbone

RULES = SimpleNamespace(time_factor=4, space_factor=8)
FULL = {"_target_": "longtake.rollouts.whole.Whole", "network_part": "backbone"}
AUTOREGRESSIVE = {"_target_": "longtake.rollouts.autoregressive.Autoregressive"}


def test_the_backbone_over_every_frame_is_refused_where_it_would_be_the_whole_network():
    check_backbone("backbone", None, tiny_vin(), FULL)
    check_backbone("backbone", None, tiny_dit(), FULL)
    check_backbone("backbone", None, tiny_lovic(), FULL)
    hybrid = tiny_lovic(window=tiny_vin())
    check_backbone("", "early", hybrid, {**FULL, "network_part": ""})
    check_backbone("backbone", None, hybrid, AUTOREGRESSIVE)
    with pytest.raises(ValueError, match=r"rollout=full runs the DiT alone, which in the hybrid .*: use rollout=whole"):
        check_backbone("backbone", None, hybrid, FULL)


def test_fusion_is_refused_where_there_are_no_chunks():
    check_backbone("", "early", tiny_vin(), {**FULL, "network_part": ""})
    with pytest.raises(ValueError, match=r"network\.fusion=early joins VIN's chunks, and rollout=autoregressive makes"):
        check_backbone("backbone", "early", tiny_vin(), AUTOREGRESSIVE)


@pytest.mark.parametrize("network", ["lovic", "vin_lovic"])
def test_a_network_with_memory_is_trained_on_rows_of_segments(network):
    with pytest.raises(
        ValueError, match=r"use experiment=lovic_freedoom or vin_lovic_freedoom, or add lightning_module="
    ):
        check_parts(composed("train", f"network={network}"), RULES)
    sharded = ("experiment=vin_wan", "trainer=fsdp", "callbacks=fsdp", "trainer.gradient_clip_val=null")
    with pytest.raises(ValueError, match=r"backbone\.dtype=bfloat16 beside float32 cannot be: add backbone\.dtype"):
        check_parts(composed("train", *sharded), RULES)
    check_parts(composed("train", *sharded, "backbone.dtype=float32"), RULES)
    check_parts(composed("train", "experiment=lovic_freedoom", "compressor=none"), RULES)
    check_parts(composed("train", "experiment=flexformer_freedoom"), RULES)


def test_a_rate_that_does_not_fit_the_backbone_is_said(caplog):
    caplog.set_level("WARNING", logger="longtake")
    check_parts(composed("train"), RULES)
    check_parts(composed("train", "datamodule.fps=16", "backbone.latent_fps=4"), RULES)
    assert not caplog.records
    check_parts(composed("train", "datamodule.fps=16"), RULES)
    assert "wrongly without backbone.latent_fps=4" in caplog.text


def test_lengths_are_a_list():
    with pytest.raises(ValueError, match=r"datamodule.num_frames=101 must be a list of lengths, such as \[37, 77\]"):
        check_sizes(composed("train", "datamodule.num_frames=101").datamodule, RULES)


def test_no_video_is_not_a_success():
    with pytest.raises(ValueError, match="num_videos=0 must be at least 1"):
        prompts_of(OmegaConf.create({"prompt": "a", "num_videos": 0}), OmegaConf.create({"prompts": []}))


@pytest.mark.slow
def test_a_dry_run_is_of_a_storyboard(tmp_path):
    command = [sys.executable, "generate.py", "dry_run=true", f"output={tmp_path / 'out'}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "dry_run=true prints the plan of a storyboard: add storyboard=FILE.yaml" in ended.stderr
    assert not list(tmp_path.glob("out/*.mp4"))
