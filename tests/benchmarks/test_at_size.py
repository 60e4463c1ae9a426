"""The chain from a pretrained folder to diffusers, as one program: at a tiny size, and at the real one where asked."""

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from benchmarks import at_size

CHANGES = ["backbone.dtype=nf4", "optimizer=adamw_8bit"] if find_spec("bitsandbytes") else []
"""What the tiny one is trained with, so that these are run through all programs too."""


def run(monkeypatch, output, *arguments):
    monkeypatch.setattr(sys, "argv", ["at_size.py", "--output", str(output), "--scratch", str(output), *arguments])
    at_size.main()
    return json.loads((output / "at_size.json").read_text())


LIBRARIES = [
    *("diffusers.pipelines.wan.pipeline_wan", "transformers.models.umt5.modeling_umt5", "peft"),
    *("longtake.cli.training", "longtake.cli.take", *(["bitsandbytes"] if CHANGES else [])),
]


@pytest.fixture
def loaded():
    """What the steps, which are forked from this process, would load one by one."""
    for name in LIBRARIES:
        import_module(name)


@pytest.mark.slow
@pytest.mark.usefixtures("loaded")
def test_the_whole_chain_runs_on_a_tiny_model(monkeypatch, tmp_path):
    """Eight programs, each a process of its own."""
    found = run(monkeypatch, tmp_path, "--size", "tiny", "--change", *CHANGES)
    assert found["changes"] == CHANGES
    assert [*found["steps"]] == [*at_size.steps_of(at_size.SIZES["tiny"], tmp_path, ())]
    assert found["peak_gib"] == max(step["peak_gib"] for step in found["steps"].values()) < 4
    assert found["steps"]["diffusers"]["merged_from_adapters"] < 0.05  # rounding in bfloat16
    assert found["bytes_on_disk"]["adapters"] < found["bytes_on_disk"]["release"]
    assert [path.name for path in tmp_path.iterdir()] == ["at_size.json"]


def test_a_step_that_fails_says_why(tmp_path):
    def fails():
        raise ValueError("no such thing")

    with pytest.raises(RuntimeError, match="the step failed:"):
        at_size.in_own_process(fails, tmp_path / "log")
    found = at_size.in_own_process(lambda: {"made": 3.0}, tmp_path / "log")
    assert found["made"] == 3.0
    assert found["peak_gib"] > 0


@pytest.mark.slow
@pytest.mark.skipif("LONGTAKE_AT_SIZE" not in os.environ, reason="takes 10 GB and half an hour: LONGTAKE_AT_SIZE=1")
def test_the_whole_chain_runs_at_the_real_size_in_10_gib(monkeypatch, tmp_path):
    found = run(monkeypatch, tmp_path)
    assert found["steps"]["write the base"]["parameters"] > 1.4e9
    assert found["peak_gib"] < 10
    assert found["bytes_on_disk"]["checkpoint"] < found["bytes_on_disk"]["base"]
