"""`longtake cache`: the cache of a training and nothing else, by one process or many."""

import os
from pathlib import Path

import forked
import pytest
import torch
from omegaconf import OmegaConf
from test_configs import composed
from tiny_runs import config

from longtake.cli.composed import check_settings
from longtake.cli.schemas import CacheSettings
from longtake.cli.training import cache_command, train

ROOT = Path(__file__).parents[3]
SMALL = ["datamodule=folder", "text=null_text", "datamodule.num_frames=[5]", "datamodule.hop_frames=5"]


def cache(folder, *arguments, **environment):
    own = {"OMP_NUM_THREADS": "1", "LONGTAKE_DATA": str(folder / "data"), **environment}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = ["-m", "longtake", "cache", *SMALL, *arguments]
    return forked.run(words, cwd=folder, env={**os.environ, **own, "PYTHONPATH": path})


@pytest.mark.slow
def test_its_settings_are_those_of_training_and_its_own():
    cfg = composed("cache", "paths.root_dir=ROOT")
    assert set(OmegaConf.to_container(cfg, resolve=False)) <= set(CacheSettings.__annotations__)
    check_settings(cfg, CacheSettings)
    check_settings(composed("cache", "paths.root_dir=ROOT", "experiment=lovic_freedoom"), CacheSettings)
    wrong = composed("cache", "paths.root_dir=ROOT", "engine=dask")
    with pytest.raises(ValueError, match="engine=dask"):
        check_settings(wrong, CacheSettings)


@pytest.mark.slow
def test_shares_of_a_launcher_make_the_whole_and_leave_nothing_else(videos, tmp_path):
    root = f"datamodule.root={videos}"
    ended = [cache(tmp_path, root, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank)) for rank in range(2)]
    assert [each.returncode for each in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    assert "are left to others" in ended[0].stdout
    assert " films are cached\nnext: train.py with the same arguments" in ended[1].stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    again = cache(tmp_path, root, "datamodule.num_frames=[5,9]")
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


@pytest.mark.slow
def test_a_fault_is_one_sentence(tmp_path):
    for arguments, words in (
        (["datamodule.root=nowhere"], "datamodule.root=nowhere is not a folder"),
        (["datamodule.root=.", "engine=dask"], "engine=dask"),
        (["datamodule.root=.", "codec=causal"], "is untrained"),
    ):
        ended = cache(tmp_path, *arguments)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_training_on_several_machines_names_the_command(videos, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.Trainer.num_nodes", property(lambda _: 2))
    with pytest.raises(ValueError, match=r"are not cached yet, and 2 machines .* by `longtake cache"):
        train(config(videos, tmp_path / "run", f"datamodule.cache_dir={tmp_path / 'cache'}"))
    assert not (tmp_path / "cache").exists()
    monkeypatch.undo()
    train(config(videos, tmp_path / "one", f"datamodule.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1"))
    monkeypatch.setattr("lightning.Trainer.num_nodes", property(lambda _: 2))
    train(config(videos, tmp_path / "two", f"datamodule.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1"))
    assert torch.load(tmp_path / "two/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1
    assert cache_command() == "longtake cache"
