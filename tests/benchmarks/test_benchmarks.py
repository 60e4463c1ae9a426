"""The benchmarks count what they say, take turns, and leave whole files."""

import json
import sys

import pytest
import torch

from benchmarks import clock, probes, report, sheets, vin_cost
from benchmarks.setups import PAPER, SMALL, build_network, count_flops, example, num_latents
from longtake.compat.torch import flop_counter


@pytest.mark.slow
def test_full_attention_costs_what_the_formula_says():
    d, depth, frames, text = 192, 6, num_latents(65), 1 + SMALL.text_tokens
    n, times = frames * 16, 1  # one for all frames
    flops = count_flops(SMALL, "dit", 65)
    assert flops.attention == depth * 4 * d * n * (n + text)
    places = (frames + 4 + 4) * 64 * d  # of frames, rows and columns
    once = n * d * (64 + 64) + places + times * (256 * d + d * d + 6 * d * d) + (text - 1) * (384 * d + d * d)
    block = n * (4 + 8 + 2) * d * d + text * 2 * d * d
    assert flops.total - flops.attention == 2 * (once + depth * block)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vin", "dit"])
def test_counts_on_meta_are_those_of_the_kernels_that_run(network):
    module = build_network(SMALL, network, "cpu")
    with torch.no_grad(), flop_counter() as counter:
        module(*example(SMALL, 65, "cpu"))
    assert count_flops(SMALL, network, 65).total == counter.get_total_flops()


@pytest.mark.slow
def test_vin_scales_with_length_and_full_attention_faster():
    vin = [count_flops(SMALL, "vin", n).total for n in (317, 637)]
    full = [count_flops(SMALL, "dit", n).total for n in (317, 637)]
    assert vin[1] / vin[0] == pytest.approx(2, rel=0.02)
    assert full[1] / full[0] > 2.5


@pytest.mark.slow
def test_the_papers_setting_is_the_papers():
    module = build_network(PAPER, "vin", "meta")
    assert (module.backbone.width, len(module.backbone.blocks), module.chunk_frames) == (1152, 28, 20)
    assert module.interface.tokens.shape == (512, 4096)
    assert module.interface.keyframes(21, torch.device("cpu")).tolist() == [0, 5, 10, 15, 20]
    assert PAPER.height * PAPER.width == 240 * 4
    assert next(module.parameters()).is_meta


def test_turns_alternate(monkeypatch):
    monkeypatch.setattr(clock, "LEAST_SECONDS", 0.0)
    calls = []
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = clock.in_turns(steps, repeats=3, most=9, device="cpu")
    assert calls == ["a", "b"] * 4
    assert [len(times[name]) for name in "ab"] == [3, 3]


def test_short_steps_are_repeated_up_to_the_most():
    times = clock.in_turns({"a": lambda: None}, repeats=2, most=5, device="cpu")
    assert len(times["a"]) == 5


def test_time_is_split_by_kind():
    x, layer = torch.randn(64, 64), torch.nn.Linear(64, 64)
    spent = clock.where_time_goes(lambda: torch.relu(layer(x)), "cpu")
    assert spent.linear > 0
    assert spent.other > 0
    assert spent.attention == 0


@pytest.mark.slow
@pytest.mark.skipif(not probes.CLEAR_REFS.exists(), reason="the high-water mark can be set back on Linux only")
def test_peak_sees_what_was_freed():
    before = torch.ones(40 * probes.MIB)  # 160 MiB: a higher mark, from before
    del before
    peak = probes.Peak("cpu")
    held = torch.ones(16 * probes.MIB)
    del held
    assert peak.result()["above_mib"] == pytest.approx(64, abs=6)


@pytest.mark.slow
def test_memory_of_a_step_holds_its_widest_layer():
    peak = probes.in_fresh_process("step", "dit_tiny", "dit", 257, "cpu")
    assert peak["above_mib"] > 65 * 16 * 768 * 4 / probes.MIB  # the MLP's hidden features, in float32


@pytest.mark.slow
def test_the_program_measures_and_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(vin_cost, "MOST_TURNS", 1)
    arguments = ["--parts", "steps", "split", "--presets", "dit_tiny", "--frames", "5", "65", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["vin_cost.py", *arguments, "--output", str(tmp_path)])
    vin_cost.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vin_cost_cpu.json", "vin_cost_cpu.md"]
    short, long = json.loads((tmp_path / "vin_cost_cpu.json").read_text())["steps"]
    assert (short["frames"], short["latents"], long["latents"]) == (5, 2, 17)
    assert long["flops_ratio"] == pytest.approx(1.81, abs=0.05)
    assert "VIN costs more FLOPs than full attention at 5, 65 frames" in (tmp_path / "vin_cost_cpu.md").read_text()


@pytest.mark.slow
def test_steps_take_one_thread_and_cores_all_of_them_and_medium_other_products(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: taken[-1])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: taken.append(count))
    monkeypatch.setattr(vin_cost, "time_steps", lambda *_: [(taken[-1], torch.get_float32_matmul_precision())])
    monkeypatch.setattr(vin_cost, "save", lambda *arguments: saved.append(arguments))
    monkeypatch.setattr(vin_cost, "show", lambda *_: None)
    monkeypatch.setattr(sheets, "SHEETS", {part: lambda records, hardware: hardware for part in sheets.SHEETS})
    monkeypatch.setattr(sys, "argv", ["vin_cost.py", "--parts", "steps", "cores", "medium", "--presets", "dit_tiny"])
    one, medium = "CPU, 1 thread(s)", "CPU, {} thread(s), matmul_precision=medium"
    for cores, titles in ((3, [one, "CPU, 3 thread(s)", medium.format(3)]), (1, [one, medium.format(1)])):
        taken, saved = [cores], []
        vin_cost.main()
        ((_, _, results, tables),) = saved
        assert results["steps"] == [(1, "highest")]
        assert results.get("cores", [(3, "highest")]) == [(3, "highest")]
        assert results["medium"] == [(cores, "medium")]
        assert (tables, taken[-1], torch.get_float32_matmul_precision()) == (titles, cores, "highest")


@pytest.mark.slow
def test_lengths_that_break_the_codecs_rule_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vin_cost.py", "--frames", "66"])
    with pytest.raises(SystemExit):
        vin_cost.main()
    assert "4n + 1: use 65" in capsys.readouterr().err


@pytest.mark.slow
def test_verdicts_follow_the_limits():
    records = {"mib": [100, 126], "above_mib": [10, 36], "ratio": 1.26, "above_ratio": 3.6, "frames": [257, 1025]}
    assert "NOT met" in report.markdown(sheets.sampling(records, "CPU"))
    assert "NOT" not in report.markdown(sheets.sampling({**records, "ratio": 1.2}, "CPU"))
