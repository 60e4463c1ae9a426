"""Weights out of a checkpoint in pieces: joined, and without running code from it."""

import os
import pickle

import pytest
import torch
from torch.distributed import checkpoint as pieces

from longtake.releases.pieces import holds, join_pieces, read_pieces

STATE = {"network.a": torch.arange(6.0).view(2, 3), "network.b": torch.ones(4, dtype=torch.bfloat16)}


class Code:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def written(folder, key="state_dict", **more):
    pieces.save({key: STATE, **more}, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_pieces_are_joined(key, tmp_path):
    found = join_pieces(written(tmp_path, key, optimizer_0={"lr": 0.1}))
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        assert torch.equal(found[name], value)
    assert holds(tmp_path, key)
    assert not holds(tmp_path, "current_model_state")


def test_the_average_is_taken_and_not_what_is_trained(tmp_path):
    trained = {name: value + 1 for name, value in STATE.items()}
    found = join_pieces(written(tmp_path, current_model_state=trained))
    assert torch.equal(found["network.a"], STATE["network.a"])


def test_a_list_of_pieces_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "one")
    (tmp_path / "one" / ".metadata").write_bytes(pickle.dumps(Code()))
    with pytest.raises(ValueError, match=r"names .*mkdir, which is none of its parts: it is not read"):
        join_pieces(tmp_path / "one")
    (tmp_path / "one" / ".metadata").write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="whose list of them cannot be read"):
        join_pieces(tmp_path / "one")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_tensor_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pieces.save({"optimizer_0": {"lr": Code()}}, checkpoint_id=tmp_path / "one", no_dist=True)
    (tmp_path / "ran").rmdir() if (tmp_path / "ran").exists() else None
    with pytest.raises(ValueError, match=r"one, a checkpoint in pieces, cannot be read \(Weights only load failed"):
        read_pieces({"optimizer_0": {"lr": None}}, tmp_path / "one", no_dist=True)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_without_weights_says_so(tmp_path):
    pieces.save({"optimizer_0": {"lr": 0.1}}, checkpoint_id=tmp_path, no_dist=True)
    with pytest.raises(ValueError, match="is a checkpoint in pieces without weights"):
        join_pieces(tmp_path)
