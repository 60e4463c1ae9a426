"""The cost model's benchmark compares what it says, and leaves whole files."""

import json
import sys

import pytest
import torch

from benchmarks import clock, cost_cases, cost_model

pytestmark = pytest.mark.slow


def test_the_benchmark_sets_predictions_beside_measurements(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(cost_model, "in_process", lambda jobs, *_: [4.0] * len(jobs))
    monkeypatch.setattr(cost_model, "VIDEOS", (("vin", "free_noise"), ("lovic", "segmentwise")))
    arguments = ["--presets", "dit_tiny", "--frames", "9", "--reference", "5", "--repeats", "1", "--video-frames", "45"]
    monkeypatch.setattr(sys, "argv", ["cost_model.py", *arguments, "--output", str(tmp_path)])
    cost_model.main()
    results = json.loads((tmp_path / "cost_model_cpu.json").read_text())
    steps, videos = results["steps"], results["videos"]
    lengths = [("vin", 5), ("vin", 9), ("dit", 5), ("dit", 9), ("dit", 37), ("lovic", 53), ("hybrid", 93)]
    assert [(step["case"], step["frames"]) for step in steps] == lengths
    assert [video["rollout"] for video in videos] == ["free_noise", "segmentwise"]
    assert all(abs(row["flops_error"]) < 0.02 for row in [*steps, *videos])
    assert steps[0]["seconds_error"] == pytest.approx(0)
    assert all(row["measured"]["live_mib"] == 4.0 for row in [*steps, *videos])
    assert "Furthest off: FLOPs 0.0%" in (tmp_path / "cost_model_cpu.md").read_text()


def test_steps_remember_five_segments():
    job = cost_cases.Job("dit_tiny", "lovic", 53, "")
    step = cost_cases.prepare(job, "cpu")
    prediction = step()
    assert prediction.shape == (1, 16, 14, 8, 8)
    assert torch.isfinite(prediction).all()
    without = cost_cases.predicted(job._replace(case="dit"))
    assert cost_cases.predicted(job)["flops"] > without["flops"]


def test_peaks_come_from_one_process_for_all(monkeypatch):
    asked = {}

    def run(command, **settings):
        asked.update(settings, jobs=json.loads(command[-1]))
        return type("Done", (), {"stdout": "noise\n[1.5, 2.5]\n"})

    monkeypatch.setattr(cost_cases.subprocess, "run", run)
    jobs = [cost_cases.Job("dit_tiny", "vin", 9, ""), cost_cases.Job("dit_tiny", "vin", 9, "single_pass")]
    assert cost_cases.in_process(jobs, "cpu", {"A": "1"}) == [1.5, 2.5]
    assert asked["env"] == {"A": "1"}
    assert [cost_cases.Job(*job) for job in asked["jobs"]] == jobs
