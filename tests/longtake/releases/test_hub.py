"""Weights by their name on the hub, from a cache in the hub's own layout; nothing is downloaded."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from longtake.releases.reading import load_run, network_state, read_run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A repository as huggingface_hub keeps it: `weights/` of two releases, downloaded before."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--takes"
    for name in ("flexformer_freedoom_64", "codec_freedoom_64"):
        shutil.copytree(ROOT / "weights" / name, repository / "snapshots" / revision / name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def test_a_release_comes_with_the_codec_beside_it(cached):
    config, folder = read_run("hub:someone/takes/flexformer_freedoom_64")
    assert folder == cached / "flexformer_freedoom_64" / "network"
    assert Path(config["codec"]["folder"]) == (cached / "codec_freedoom_64").resolve()
    there = network_state("hub:someone/takes/flexformer_freedoom_64", "pretrained.compressor")
    here = network_state(ROOT / "weights" / "flexformer_freedoom_64", "pretrained.compressor")
    assert there.keys() == here.keys()
    assert all((there[name] == here[name]).all() for name in here)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hub:someone", "weights=hub:someone: write hub:USER/REPO, or hub:USER/REPO/FOLDER"),
        ("hub:someone/else", r"weights=hub:someone/else: the hub gave no someone/else \(LocalEntryNotFoundError\)"),
        ("hub:a b/c", r"the hub gave no a b/c \(HFValidationError\)"),
        ("hub:someone/takes/nowhere", "weights=hub:someone/takes/nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(cached, name, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_run(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["torch.hub.load", "networks.saving.importlib.import_module"])
def test_a_stranger_s_config_calls_nothing_but_this_project(cached, target):
    load_run("hub:someone/takes/flexformer_freedoom_64")
    path = cached / "flexformer_freedoom_64" / "config.yaml"
    config = OmegaConf.load(path)
    config.text = {"_target_": target, "name": "x"}
    OmegaConf.save(config, path)
    with pytest.raises(ValueError, match=rf"since text in its config would call {target}, which is no part"):
        load_run("hub:someone/takes/flexformer_freedoom_64")


@pytest.mark.parametrize("folder", ["/etc", "../../codec_freedoom_64", "../../../../../../etc"])
def test_a_codec_is_looked_for_within_the_repository_alone(cached, folder):
    path = cached / "flexformer_freedoom_64" / "config.yaml"
    config = OmegaConf.load(path)
    config.codec.folder = folder
    OmegaConf.save(config, path)
    with pytest.raises(ValueError, match="leads out of the repository"):
        read_run("hub:someone/takes/flexformer_freedoom_64")


def test_a_name_cannot_lead_out_of_the_repository_either(cached):
    with pytest.raises(ValueError, match="write hub:USER/REPO"):
        read_run("hub:someone/takes/../../../elsewhere")
