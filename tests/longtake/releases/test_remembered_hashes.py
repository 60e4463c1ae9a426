"""A hash of large weights is made once, and anew whenever what it is of may have changed."""

import os
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from longtake.releases import remembered
from longtake.releases.reading import weights_hash
from longtake.releases.remembered import WeightFiles, cache_folder
from networks.pretrained.learnt import HASH

CONFIG = {"network": {"width": 3}, "objective": None}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A release folder of one tensor, written a minute ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "LARGE", 0)
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", -1.0)
    folder = tmp_path / "release"
    (folder / "network").mkdir(parents=True)
    write(folder, 1.0)
    return folder


def write(folder, value):
    file = folder / "network" / "diffusion_pytorch_model.safetensors"
    save_file({"weight": torch.full((2, 3), value), "bias": torch.zeros(2)}, file)


@pytest.fixture
def hashed(monkeypatch):
    """Modules that were really hashed."""
    made = []
    monkeypatch.setattr(remembered, "weights_hash", lambda module: made.append(module) or weights_hash(module))
    return made


def hash_of(folder, config=CONFIG, base=None):
    files, module = WeightFiles(folder), nn.Linear(3, 2)
    module.load_state_dict(load_file(folder / "network" / "diffusion_pytorch_model.safetensors"))
    if base is not None:
        module.register_buffer(HASH, torch.tensor(base, dtype=torch.uint8))
    found = files.hash_of(module, config)
    assert found == weights_hash(module)
    return found


def test_the_same_files_are_hashed_once(weights, hashed):
    assert hash_of(weights) == hash_of(weights)
    assert len(hashed) == 1


def test_other_weights_settings_and_bases_are_hashed_anew(weights, hashed):
    first = hash_of(weights)
    times = os.stat(weights / "network" / "diffusion_pytorch_model.safetensors")
    time.sleep(0.02)  # a tick of the disk's clock
    write(weights, 2.0)  # of the same size, and as if of the same time
    os.utime(weights / "network" / "diffusion_pytorch_model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hash_of(weights) != first
    hash_of(weights, {**CONFIG, "network": {"width": 4}})
    hash_of(weights, base=[1] * 8)
    hash_of(weights, base=[2] * 8)
    assert len(hashed) == 5
    hash_of(weights, base=[2] * 8)
    assert len(hashed) == 5


def test_small_weights_and_fresh_files_leave_nothing_behind(weights, hashed, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", 60.0)
    hash_of(weights)
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", -1.0)
    monkeypatch.setattr(remembered, "LARGE", 10**6)
    hash_of(weights)
    assert len(hashed) == 2
    assert not cache_folder().exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"123456789abc and more"])
def test_a_broken_note_is_written_anew(weights, hashed, content):
    hash_of(weights)
    (note,) = cache_folder().iterdir()
    note.write_bytes(content)
    hash_of(weights)
    hash_of(weights)
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_is_none(weights, hashed, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder would be")
    hash_of(weights)
    hash_of(weights)
    assert len(hashed) == 2
