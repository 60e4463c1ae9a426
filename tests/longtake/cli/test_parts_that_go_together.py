"""Settings that are right one by one and wrong together are answered in one sentence, before any work."""

from types import SimpleNamespace

import pytest
from builders import tiny_dit, tiny_lovic, tiny_vin
from composing import composed
from omegaconf import OmegaConf

from longtake.cli.checks import check_parts, check_sizes, refuse_sharded, refuse_shared_types
from longtake.cli.take import prompts_of
from longtake.cli.training import train
from longtake.cli.user_errors import sentence
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.checks import check_network
from longtake.rollouts.free_noise import FreeNoise
from longtake.rollouts.single_pass import SinglePass

RULES = SimpleNamespace(time_factor=4, space_factor=8)
FULL, SINGLE_PASS = SinglePass(network_part="backbone"), SinglePass(network_part="")
AUTOREGRESSIVE = Autoregressive(window_frames=10, context_frames=6)
FREE_NOISE = FreeNoise(window_frames=10, stride_frames=2)


def checked(rollout, network, fusion=None):
    check_network(rollout, network, weights="w", fusion=fusion, trained_segments=None)


def test_the_backbone_over_every_frame_is_refused_where_it_would_be_the_whole_network():
    hybrid = tiny_lovic(window=tiny_vin())
    for network in (tiny_vin(), tiny_dit(), tiny_lovic()):
        checked(FULL, network)
    checked(SINGLE_PASS, hybrid, "early")
    checked(AUTOREGRESSIVE, hybrid)
    with pytest.raises(ValueError, match=r"runs the DiT alone, which in the hybrid .*: use rollout="):
        checked(FULL, hybrid)


def test_attention_of_its_own_has_no_place_for_memory():
    checked(FREE_NOISE, tiny_vin())
    with pytest.raises(ValueError, match=r"rollout=free_noise needs a network without memory, network=vin or dit"):
        checked(FREE_NOISE, tiny_lovic())


def test_fusion_is_refused_where_there_are_no_chunks():
    checked(SINGLE_PASS, tiny_vin(), "early")
    with pytest.raises(ValueError, match=r"network\.fusion=early joins VIN's chunks, and rollout=autoregressive makes"):
        checked(AUTOREGRESSIVE, tiny_vin(), "early")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lovic", "vin_lovic"])
def test_a_network_with_memory_is_trained_on_rows_of_segments(network):
    with pytest.raises(
        ValueError, match=r"use experiment=lovic_freedoom or vin_lovic_freedoom, or add lightning_module="
    ):
        check_parts(composed("train", f"network={network}"), RULES)
    sharded = ("experiment=vin_wan", "trainer=fsdp", "callbacks=fsdp", "trainer.gradient_clip_val=null")
    with pytest.raises(ValueError, match=r"backbone\.dtype=bfloat16 is another than float32: add backbone\.dtype"):
        refuse_shared_types(composed("train", *sharded))
    refuse_shared_types(composed("train", *sharded, "backbone.dtype=float32"))
    check_parts(composed("train", "experiment=lovic_freedoom", "compressor=none"), RULES)
    check_parts(composed("train", "experiment=flexformer_freedoom"), RULES)


@pytest.mark.slow
def test_a_base_of_few_bits_and_moments_of_8_are_not_shared_out():
    base = ("experiment=vin_wan", "callbacks=fsdp", "trainer.gradient_clip_val=null")
    for trainer in ("fsdp", "fsdp2"):
        with pytest.raises(ValueError, match=r"dtype=nf4 keeps weights in few bits, which cannot lie in pieces"):
            refuse_shared_types(composed("train", *base, f"trainer={trainer}", "backbone.dtype=nf4"))
        cfg = composed("train", *base, f"trainer={trainer}", "optimizer=adamw_8bit")
        with pytest.raises(ValueError, match=rf"trainer={trainer} shards the optimizer's state, .* needs whole: use"):
            refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    with pytest.raises(ValueError, match=r"int8 works on one device, .*: use backbone\.dtype=nf4, or trainer=gpu"):
        refuse_shared_types(composed("train", "experiment=vin_wan", "trainer=ddp", "backbone.dtype=int8"))
    for fits in (["trainer=ddp", "backbone.dtype=nf4"], ["backbone.dtype=int8"]):
        refuse_shared_types(composed("train", "experiment=vin_wan", "optimizer=adamw_8bit", *fits))


def test_a_base_of_few_bits_is_refused_on_several_devices_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("longtake.cli.training.instantiate", None)
    base = ("experiment=vin_wan", "callbacks=fsdp", "trainer.gradient_clip_val=null", f"paths.run_dir={tmp_path}/run")
    for change in ("trainer=ddp_cpu", "trainer=chunks_cpu", "trainer=fsdp2_cpu"):
        with pytest.raises(ValueError, match=r"dtype=int8 (works on one device|keeps weights in few bits)"):
            train(composed("train", *base, change, "backbone.dtype=int8"))


def test_a_network_without_memory_is_refused_by_name_before_any_data_are_made(tmp_path):
    groups = ("lightning_module=memory", "network=dit", "datamodule=freedoom_segments", "rollout=single_pass")
    places = (f"paths.run_dir={tmp_path / 'run'}", f"paths.data_dir={tmp_path / 'data'}", "logger=csv")
    with pytest.raises(Exception, match="lightning_module=memory") as caught:
        train(composed("train", *groups, *places))
    said = sentence(caught.value)
    assert said is not None
    assert "network is a VideoDiT: use network=lovic or vin_lovic" in said
    assert not (tmp_path / "data").exists()


def test_a_rate_that_does_not_fit_the_backbone_is_said(caplog):
    caplog.set_level("WARNING", logger="longtake")
    check_parts(composed("train"), RULES)
    check_parts(composed("train", "datamodule.fps=16", "backbone.latent_fps=4"), RULES)
    assert not caplog.records
    check_parts(composed("train", "datamodule.fps=16"), RULES)
    assert "wrong: set backbone.latent_fps=4" in caplog.text


def test_lengths_are_a_list():
    with pytest.raises(ValueError, match=r"datamodule.num_frames=101 must be a list of lengths, such as \[37, 77\]"):
        check_sizes(composed("train", "datamodule.num_frames=101").datamodule, RULES, 2)


def test_no_video_is_not_a_success():
    with pytest.raises(ValueError, match="num_videos=0 must be at least 1"):
        prompts_of(OmegaConf.create({"prompt": "a", "num_videos": 0}), OmegaConf.create({"prompts": []}))
