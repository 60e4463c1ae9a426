"""What LoViC's cost is measured on: a step with memory made before it, and a joint one that makes it."""

import argparse
import json
import sys

import pytest

from benchmarks import lovic_cost

SMALL = argparse.Namespace(device="cpu", backbone="dit_tiny", depth=1, side=4)


@pytest.fixture(scope="module")
def network():
    return lovic_cost.build(SMALL)


def test_only_a_joint_step_trains_the_compressor(network):
    for name, trains in (("full", False), ("window", False), ("8", False), (f"{lovic_cost.JOINT}8", True)):
        network.zero_grad(set_to_none=True)
        # Fresh blocks are gated to nothing, so gradients are zero: what matters is which are computed.
        lovic_cost.step_of(network, name, 3, SMALL)().square().mean().backward()
        encoder = [p for n, p in network.compressor.named_parameters() if not n.startswith("decoder.")]
        assert {p.grad is not None for p in encoder} == {trains}, name
        assert (network.adapter[1].weight.grad is not None) == trains


@pytest.mark.slow
def test_the_program_measures_and_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(lovic_cost, "peak_mib", lambda name, count, kind: 1.0)  # fresh processes take seconds each
    monkeypatch.setattr("benchmarks.clock.LEAST_SECONDS", 0.0)
    sizes = ["--backbone", "dit_tiny", "--depth", "1", "--side", "4", "--segments", "1", "2", "--rates", "4", "8"]
    monkeypatch.setattr(sys, "argv", ["lovic_cost.py", *sizes, "--repeats", "1", "--output", str(tmp_path)])
    lovic_cost.main()
    steps = json.loads((tmp_path / "lovic_cost_cpu.json").read_text())["steps"]
    ways = {n: [r["way"] for r in steps if (r["segments"], r["kind"]) == (n, "backward")] for n in (1, 2)}
    assert ways[1] == ["full", "4", "8", "window"]
    assert ways[2] == ["full", "4", "8", "joint 4", "joint 8", "window"]
    assert [r["way"] for r in steps if r["kind"] == "forward"] == 2 * ["full", "4", "8", "window"]
    table = (tmp_path / "lovic_cost_cpu.md").read_text()
    assert "| 2 | backward | memory, r = 8, with its making |" in table
    assert "which adds the compressor's own loss" in table
