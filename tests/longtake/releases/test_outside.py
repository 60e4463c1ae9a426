"""Configs that come with weights build parts of this project and nothing else; broken downloads get one sentence."""

import os
import re
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.hostile import configs
from longtake.releases.bases import rename_base
from longtake.releases.checkpoints import RESTORED, refuse_incomplete
from longtake.releases.outside import CONF, PARTS, WITHOUT_A_FILE, allowed, checked_config, read_config_file
from longtake.releases.parts import sampling_parts
from longtake.releases.reading import load_run, read_run, state_of
from networks.model_folder import check_pretrained
from networks.reading import load_tensors, read_json, tensor_shapes
from networks.saving import build, own_network

ROOT = Path(__file__).parents[3]
RELEASES = [path.parent for path in sorted((ROOT / "weights").glob("*/config.yaml"))]


def shipped():
    return yaml.safe_load((ROOT / "weights" / "vin_freedoom_64" / "config.yaml").read_text())


@pytest.mark.slow
def test_releases_are_read_as_before():
    assert len(RELEASES) == 5
    for folder in RELEASES:
        config, _ = read_run(folder)
        written = yaml.safe_load((folder / "config.yaml").read_text())
        assert {key: config[key] for key in ("name", "seed")} == {key: written[key] for key in ("name", "seed")}
        assert config["network"] == written["network"]
        if "lightning_module" in written:  # releases of today have no training settings
            assert config["lightning_module"]["network"] == written["network"]
        assert config["prompts"] == written["prompts"]


def numbered(pairs):
    return {f"{name} ({number})": config for number, (name, config) in enumerate(pairs)}


def answer(config):
    """What is said of a config; None if it passes."""
    try:
        checked_config(config, "weights=evil")
    except ValueError as error:
        return str(error)
    return None


def test_no_config_calls_what_is_not_a_part():
    """Training's own settings and foreign groups are left out unread."""
    calls = numbered(configs.calls(shipped(), "{evil}"))
    unread = {name: config for name, config in calls.items() if name.startswith("as a")}
    assert [name for name, each in unread.items() if "os.system" in str(checked_config(each, "weights=evil"))] == []
    said = {name: answer(config) for name, config in calls.items() if name not in unread}
    assert {name: each for name, each in said.items() if not (each and re.match(r"weights=evil: .*\Z", each))} == {}
    assert len(said) > 100


def test_no_config_reads_the_environment():
    """The secret itself as a prompt is a text like any other, until it is written: see test_disclosure."""
    readings = numbered(configs.readings(shipped()))
    said = {name: answer(each) for name, each in readings.items() if "the secret itself as a prompt" not in name}
    refused = re.compile(r"reads a setting or the environment|which no release has")
    assert {name: each for name, each in said.items() if not (each and refused.search(each))} == {}
    assert len(said) > 30


def test_what_conf_names_is_allowed_and_little_else():
    assert "networks.dit.VideoDiT" in allowed()
    assert "longtake.rollouts.single_pass.SinglePass" in allowed()
    for name in ("lightning.Trainer", "torch.optim.AdamW", "hydra.utils.get_method", "timm.optim.Muon", "os.system"):
        assert name not in allowed()
    for name in WITHOUT_A_FILE:
        module, _, kind = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[kind]), kind)
    assert all((CONF / part).is_dir() for part in PARTS)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "networks.dit.nn.Linear",
            "networks.saving.save_file",
            "networks.text.find_spec",
            "os.system",
            "networks",
            "",
        ),
        *("networks.saving.build", "networks.dit.VideoDiT.__init__", "networks.codecs.causal.cast", "networks..dit.X"),
        *("networks.interfaces.VideoBatch", "torch.nn.Linear", "networks.dit.full_attention.__globals__"),
    ],
)
def test_only_networks_are_networks(name):
    assert own_network(name) is None
    with pytest.raises(ValueError, match="no network class of this project"):
        build({"_class_name": name})


def test_arguments_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"config\.json does not fit networks\.dit\.VideoDiT \(TypeError: "):
        build({"_class_name": "networks.dit.VideoDiT", "evil": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [1]\nb: *a\n", "an anchor or alias"),
        ("a: !!python/object/apply:os.system [x]\n", "the tag"),
        ("a: " + "[" * 5000 + "]" * 5000, "more than 24 levels"),
        ("a: " + "[" * 5000, "more than 24 levels"),
        ("a: [" + "1, " * 50_000 + "1]", "20,000 values"),
        ("x" * 2_000_000, "more than 1,048,576 bytes"),
        ("", "is empty: download it again"),
        ("version https://git-lfs.github.com/spec/v1\n", "pointer of git-lfs"),
        ("<!DOCTYPE html><html>", "is a web page"),
        ("- 1\n", "holds no mapping"),
        ("a: 1\na: 2\n", "no YAML that a release could hold"),
        ("a: {b\n", "no YAML that a release could hold"),
        ("5\n", "no YAML that a release could hold"),
    ],
)
def test_texts_that_are_no_configs(text, words, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_config_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", "."):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_config_file(tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{}", b"PK\x03\x04", b"<html>"])
def test_broken_tensors_are_told_with_their_file(data, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    for read in (tensor_shapes, load_tensors):
        with pytest.raises(ValueError, match=r"download it again") as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '"a"', "\ud800".encode("utf-8", "surrogatepass")])
def test_broken_json_is_told_with_its_file(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"config\.json (is no JSON|holds no mapping|is not a text)"):
        read_json(path)


def test_a_model_s_folder_is_looked_through(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    check_pretrained(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"tokenizer\.json is a pointer of git-lfs"):
        check_pretrained(str(tmp_path))


def test_sizes_far_beyond_the_weights_are_refused_before_they_fill_the_memory(tmp_path):
    config = configs.put(shipped(), "network.backbone.width", 3 * 40_000)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "network").symlink_to(ROOT / "weights" / "vin_freedoom_64" / "network")
    (tmp_path / "release" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"its config asks for .* weights, but its file holds 7,"):
        load_run(tmp_path / "release")


@pytest.mark.parametrize("config", [None, [1], "text", 5, {}, {"lightning_module": 1}, {"lightning_module": {}}])
def test_what_is_no_config_is_refused(config, tmp_path):
    torch.save({"longtake_config": config, "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt: its config"):
        read_run(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [{}, {"scale": 2}, False, 1.5, "unipc", [1]])
@pytest.mark.parametrize("part", ["guidance", "rollout", "text", "network"])
def test_a_part_that_says_nothing_to_build_is_refused(part, value):
    with pytest.raises(ValueError, match=f"W: {part} in its config is .* but must be a mapping whose _target_"):
        checked_config({**shipped(), part: value}, "W")


@pytest.mark.parametrize("part", ["guidance", "rollout", "text"])
def test_a_config_without_what_makes_a_video_is_refused(part):
    config, state = read_run("vin_freedoom_64")
    with pytest.raises(ValueError, match=f"W: the config has no {part}"):
        sampling_parts({**config, part: None}, state, "W")


@pytest.mark.parametrize("name", ["text", "codec", "backbone"])
def test_a_part_without_a_pretrained_model_has_no_other_one(name):
    with pytest.raises(ValueError, match=f"^{name}.pretrained=x/y: the {name} of these weights has no pretrained"):
        rename_base(shipped(), name, "x/y")


def test_a_pretrained_backbone_is_renamed_wherever_it_stands():
    wan = {"_target_": "networks.pretrained.wan.WanBackbone", "pretrained": "/home/me/wan", "channels": 16}
    config = {"backbone": dict(wan), "network": {"_target_": "a", "window": {"_target_": "b", "backbone": dict(wan)}}}
    rename_base(config, "backbone", "Wan-AI/x")
    assert config["backbone"]["pretrained"] == config["network"]["window"]["backbone"]["pretrained"] == "Wan-AI/x"


def test_a_config_that_holds_itself_ends():
    config = shipped()
    config["codec"]["codec"] = config["codec"]
    with pytest.raises(ValueError, match="more than 24 levels"):
        checked_config(config, "weights=a")


@pytest.mark.parametrize(
    "value",
    [
        torch.sparse_coo_tensor([[0]], [1.0], (2,)),
        torch.empty(2, device="meta"),
        torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
        1.0,
        [torch.ones(2)],
    ],
    ids=["sparse", "meta", "quantized", "number", "list"],
)
def test_a_state_of_other_things_than_plain_tensors_is_refused(value):
    with pytest.raises(ValueError, match=r"a\.ckpt holds no weights of a module"):
        state_of({"state_dict": {"network.a": value}}, "a.ckpt")


@pytest.mark.parametrize("key", RESTORED)
def test_only_the_state_of_a_run_is_gone_on_from(key):
    whole = {"global_step": 1, "loops": {}, "optimizer_states": [], "lr_schedulers": [], "callbacks": {}}
    refuse_incomplete(whole, Path("a.ckpt"))
    for wrong in ({name: value for name, value in whole.items() if name != key}, {**whole, key: "x"}):
        with pytest.raises(ValueError, match=rf"resume=a\.ckpt holds no {key} of a run"):
            refuse_incomplete(wrong, Path("a.ckpt"))
