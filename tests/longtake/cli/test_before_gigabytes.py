"""What does not go together is refused before a base or a text encoder of gigabytes is read."""

import pytest
from composing import ROOT
from tiny_runs import config, generate_config

from longtake.cli.generate import make
from longtake.cli.training import train
from longtake.cli.weights import patches_of
from longtake.releases.bases import look_at_bases
from networks.text import NullText
from networks.vin import VideoInterfaceNetwork

VIN = ROOT / "weights" / "vin_freedoom_64"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def never(*_, **__):
    raise AssertionError("it was read")


def test_a_size_of_train_py(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(NullText, "__init__", never)
    with pytest.raises(ValueError, match=r"datamodule\.height=40 must be a multiple of 16 .*: use 32"):
        train(config(videos, tmp_path / "run", "datamodule.height=40"))


@pytest.mark.parametrize(("change", "sentence"), [("height=40", "height=40 must"), ("num_frames=18", "num_frames=18 ")])
def test_a_size_of_generate_py(tmp_path, monkeypatch, change, sentence):
    monkeypatch.setattr(VideoInterfaceNetwork, "__init__", never)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        make(generate_config(VIN, tmp_path / "videos", change))
    assert not (tmp_path / "videos").exists()


@pytest.mark.parametrize("part", ["text", "codec", "backbone"])
@pytest.mark.parametrize("folder", ["subfolder", "tokenizer_subfolder"])
def test_broken_files_of_any_part(tmp_path, part, folder):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "model.safetensors").write_text(POINTER)
    node = {"pretrained": str(tmp_path), folder: "inner"}
    tree = {"network": {"window": {"backbone": node}}} if part == "backbone" else {part: node}
    with pytest.raises(ValueError, match=r"model\.safetensors is a pointer of git-lfs"):
        look_at_bases(tree)
    look_at_bases({part: {"pretrained": "someone/wan", folder: "inner"}})


def test_patches_are_found_in_any_network():
    backbone = {"patch": 1, "frame_patch": 2}
    for network in (backbone, {"backbone": backbone}, {"window": {"backbone": backbone}, "compressor": {"patch": 2}}):
        assert patches_of(network) == (1, 2)
    assert patches_of({"backbone": {"width": 32}}) == (2, 1)
