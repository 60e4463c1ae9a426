"""The cost model's benchmark compares what it says, and leaves whole files."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import clock, cost_model


def test_the_benchmark_sets_predictions_beside_measurements(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(cost_model, "in_fresh_process", lambda *_: {"above_mib": 4.0})
    arguments = ["--presets", "dit_tiny", "--frames", "9", "--reference", "5", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["cost_model.py", *arguments, "--output", str(tmp_path)])
    cost_model.main()
    steps = json.loads((tmp_path / "cost_model_cpu.json").read_text())["steps"]
    assert [(step["network"], step["frames"]) for step in steps] == [("vin", 5), ("vin", 9), ("dit", 5), ("dit", 9)]
    assert all(abs(step["flops_error"]) < 0.02 for step in steps)
    assert steps[0]["seconds_error"] == pytest.approx(0)
    assert all(step["measured"]["live_mib"] == 4.0 for step in steps)
    assert "Furthest off: FLOPs 0.0%" in (tmp_path / "cost_model_cpu.md").read_text()
