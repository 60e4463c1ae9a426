"""Programs that are meant for accelerators and clusters, rehearsed at tiny sizes on a CPU."""

import json
import sys
import time
from pathlib import Path

import forked
import pytest

from benchmarks import accelerator, accelerator_programs, peers, planning
from benchmarks.accelerator_programs import called
from benchmarks.setups import SMALL


@pytest.mark.slow
def test_every_side_of_the_peers_multiplies_the_same_and_ours_is_no_exception(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.clock.LEAST_SECONDS", 0.0)
    small = ["--width", "64", "--depth", "2", "--heads", "2", "--tokens", "64", "--text-tokens", "8"]
    monkeypatch.setattr(sys, "argv", ["peers.py", *small, "--repeats", "2", "--output", str(tmp_path)])
    peers.main()
    found = json.loads((tmp_path / "peers_cpu.json").read_text())
    assert [(r["step"], r["side"]) for r in found["records"]] == [
        (step, side) for step in ("sampling", "training") for side in peers.SIDES
    ]
    flops = {record["side"]: record["gflops"] for record in found["records"]}
    floor = flops[peers.FLOOR]
    restated = {side for side in flops if side.endswith("restated")}
    for side in flops.keys() - restated:  # patches, time and head come on top, and are not small beside two tiny blocks
        assert floor <= flops[side] < 1.5 * floor, side
    tokens, width, depth = 64, 64, 2
    linear, attention = 2 * tokens * (6 + 3 + 1 + 8) * width**2, 4 * tokens**2 * width
    assert len(restated) == 2
    for side in restated:  # modulation, queries with keys and values, output, feed-forward, of every token
        assert flops[side] * 1e9 == pytest.approx(depth * (linear + attention)), side
    measured = {(each["step"], each["part"]): each for each in found["parts"]}
    assert len(measured) == len(found["parts"]) == 10
    for (_, part), each in measured.items():
        assert each["milliseconds"] > 0
        assert (each["over_products"] is None) == part.startswith("adaLN")
    assert all(record["over_floor"]["turns"] == 2 for record in found["records"])
    ours = [record["over_ours"]["median"] for record in found["records"] if record["side"] == peers.OURS]
    assert ours == [1.0, 1.0]
    assert "time over products alone" in (tmp_path / "peers_cpu.md").read_text()


def test_tokens_that_make_no_square_frames_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["peers.py", "--tokens", "1000", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="--tokens 1000 are not 4 square frames: use 1024"):
        peers.main()


@pytest.mark.slow
def test_a_plan_follows_its_assumptions(tmp_path, monkeypatch):
    tiny = SMALL._replace(name="tiny")
    vin, lovic = planning.vin, planning.lovic
    monkeypatch.setattr(planning, "vin", lambda told: vin(told, tiny, (10, 20, 40)))
    monkeypatch.setattr(planning, "lovic", lambda told: lovic(told, tiny, 4, (8, 8)))
    plans = []
    for name, changes in (("one", []), ("other", ["--efficiency", "0.2", "--passes", "20"])):
        monkeypatch.setattr(sys, "argv", ["planning.py", *changes, "--output", str(tmp_path / name)])
        planning.main()
        plans.append(json.loads((tmp_path / name / "planning.json").read_text()))
    one, other = (plan["trainings"] for plan in plans)
    assert [each["devices"] for each in one if each["setup"].startswith("VIN")] == [8] * 3 + [64] * 3 + [512] * 3
    for few, many in zip(one, other, strict=True):
        assert many["arithmetic_hours"] == pytest.approx(4 * few["arithmetic_hours"])
        assert many["exchange_hours"] == pytest.approx(2 * few["exchange_hours"])
        assert many["device_bytes"] == pytest.approx(few["device_bytes"], rel=1e-2)  # tensors may live a moment longer
    of = {(each["devices"], each["strategy"]): each for each in one if each["setup"].startswith("VIN")}
    assert of[8, "ddp"]["arithmetic_hours"] == pytest.approx(64 * of[512, "ddp"]["arithmetic_hours"])
    assert of[512, "fsdp2"]["device_bytes"] < of[8, "fsdp2"]["device_bytes"] < of[8, "ddp"]["device_bytes"]
    assert of[8, "chunks=4"]["activation_bytes"] < of[8, "ddp"]["activation_bytes"]
    assert "assumed" in (tmp_path / "one" / "planning.md").read_text()


def rehearse(tmp_path, monkeypatch, *arguments):
    told = ["accelerator.py", "--device", "cpu", "--tiny", "--output", str(tmp_path), *arguments]
    monkeypatch.setattr(sys, "argv", told)
    accelerator.main()
    return json.loads((tmp_path / "accelerator_cpu.json").read_text())


@pytest.mark.slow
def test_a_rehearsal_measures_and_saves_part_by_part(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.clock.LEAST_SECONDS", 0.0)
    monkeypatch.setattr(accelerator, "compile_blocks", lambda *_, **__: None)  # half a minute
    found = rehearse(tmp_path, monkeypatch, "--parts", "kernels", "steps", "training")
    assert found["rehearsal"]
    assert {each["network"] for each in found["kernels"]["records"]} == set(accelerator.NETWORKS)
    assert all(each["calls"] for each in found["kernels"]["records"])
    lengths = [(each["network"], each["frames"]) for each in found["steps"]["records"]]
    assert lengths == [(name, frames) for frames in (9, 41) for name in accelerator.NETWORKS]
    assert all(each["flops"] > 0 and each["tflops"] > 0 for each in found["steps"]["records"])
    assert [each["compiled"] for each in found["training"]["records"]] == [False, True]
    again = rehearse(tmp_path, monkeypatch, "--parts", "training", "--seconds", "0")
    assert again["training"] == {"left out": "the 0 seconds were up"}
    assert again["steps"] == found["steps"]


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended_and_what_it_has_made_is_kept(tmp_path, monkeypatch):
    def slow(_):
        yield {"first": 1}
        time.sleep(60)

    monkeypatch.setitem(accelerator.PARTS, "kernels", slow)
    monkeypatch.setitem(accelerator.PARTS, "steps", lambda _: [{"second": 2}])
    began = time.monotonic()
    with pytest.raises(SystemExit):
        rehearse(tmp_path, monkeypatch, "--parts", "kernels", "steps", "--seconds", "2")
    assert time.monotonic() - began < 30
    found = json.loads((tmp_path / "accelerator_cpu.json").read_text())
    assert found["kernels"]["records"] == [{"first": 1}]
    assert found["kernels"]["failed"] == "time is up"
    assert found["steps"]["records"] == [{"second": 2}]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    told = accelerator.Sizes(device="cpu", tiny=True, output=tmp_path)
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    record = called(told, 1.0, "-c", code)
    assert record["status"] == "time is up"
    (pid,) = record["said"]
    until = time.monotonic() + 20
    while alive(pid) and time.monotonic() < until:  # the system ends it when it next runs
        time.sleep(0.05)
    assert not alive(pid)


def test_parts_together_fit_in_the_whole_time():
    assert accelerator.SECONDS.keys() == accelerator.PARTS.keys()
    assert sum(accelerator.SECONDS.values()) <= 480


def test_a_part_that_fails_is_named_and_the_next_goes_on(tmp_path, monkeypatch):
    def fails(_):
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(accelerator.PARTS, "kernels", fails)
    monkeypatch.setitem(accelerator.PARTS, "steps", lambda _: [1])
    with pytest.raises(SystemExit):
        rehearse(tmp_path, monkeypatch, "--parts", "kernels", "steps")
    found = json.loads((tmp_path / "accelerator_cpu.json").read_text())
    assert found["kernels"]["failed"] == "RuntimeError: no such kernel"
    assert found["steps"]["records"] == [1]


class Forked(forked.Started):
    """A program that is forked instead of started anew, and what of a subprocess.Popen is asked of it."""

    def __init__(self, command, *, stdout, stderr, start_new_session, **there):
        super().__init__(command[1:], leads=start_new_session, **there)
        self.file = stdout

    def wait(self, timeout=60):
        if self.returncode is None:
            self.file.write("".join(self.communicate(timeout)))
        return super().wait(timeout)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_programs_of_a_rehearsal_end_well(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator_programs.subprocess, "Popen", Forked)
    found = rehearse(tmp_path, monkeypatch, "--parts", "peers", "tests")
    for name in ("peers", "tests"):
        assert [each["status"] for each in found[name]["records"]] == [0], found[name]["records"]
