"""Gated and joined attention after equal training, rehearsed."""

import json
import sys

import pytest
import torch

from benchmarks import context_attention


@pytest.mark.slow
def test_both_kinds_are_trained_alike_from_one_base(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["context_attention.py", "--quick", "--output", str(tmp_path)])
    context_attention.main()
    found = json.loads((tmp_path / "context_attention.json").read_text())
    for kind in context_attention.KINDS:
        assert [[*losses] for losses in found["losses"][kind]] == [["0", "2"]] * 2
    assert all(losses["0"] == found["base"] for losses in found["losses"]["gated"])  # begins as the base
    assert all(losses["0"] != found["base"] for losses in found["losses"]["joined"])
    assert "| steps | gated | joined |" in (tmp_path / "context_attention.md").read_text()


def test_videos_have_a_pattern_of_their_own_that_stays():
    video = context_attention.videos_of(16, 24, torch.Generator().manual_seed(0))
    mean = video.mean(dim=2)
    assert video.shape == (16, context_attention.CHANNELS, 24, context_attention.SIDE, context_attention.SIDE)
    assert 0.5 < video.std() < 1.5
    assert mean.var(dim=0).mean() > 3 * (video - mean.unsqueeze(2)).var(dim=2).mean()
