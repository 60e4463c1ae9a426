"""What the programs say on a terminal and off it, and how they end when they are told to."""

import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from composing import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datamodules import rendering as render_module
from longtake.cli.user_errors import sentence

ROOT = Path(__file__).parents[3]


def program(name):
    return importlib.import_module(f"longtake.cli.{name}")


# Errors


RAISING = """
import sys
from longtake.cli.user_errors import start

def main(cfg):
    raise {error}

start(main, "export")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "trace", "said", "code"),
    [
        ("ValueError('a is wrong')", "", "error: a is wrong\n", 2),
        ("RuntimeError('ours')", "", "RuntimeError: ours\n", 1),
        ("ValueError('a is wrong')", "1", "ValueError: a is wrong\n", 1),
    ],
)
def test_hydra_announces_only_what_keeps_its_trace(error, trace, said, code, tmp_path):
    environment = {**os.environ, "LONGTAKE_TRACE": trace, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RAISING.format(error=error)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code
    assert ended.stderr.endswith(said)
    assert ("Error executing job" in ended.stderr) == ("Traceback" in ended.stderr) == (code == 1)


def test_a_part_that_a_program_does_not_take_is_answered(tmp_path):
    command = [sys.executable, "generate.py", "trainer=gpu", f"output={tmp_path}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    expected = "error: trainer is no setting of this program (a GPU is used where there is one); `--help` lists what it"
    assert ended.returncode == 2
    assert ended.stderr.startswith(expected)


def test_a_missing_gpu_is_answered_with_trainers_that_need_none(monkeypatch):
    for kind in ("cuda.CUDAAccelerator", "mps.MPSAccelerator"):
        monkeypatch.setattr(f"lightning.pytorch.accelerators.{kind}.is_available", lambda: False)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra's; what it says is what counts
        instantiate({"_target_": "lightning.Trainer", "accelerator": "gpu", "devices": 1, "logger": False})
    assert "use trainer=cpu or trainer=cpu_bf16" in sentence(caught.value)
    assert {"cpu", "cpu_bf16"} <= {path.stem for path in (ROOT / "conf/trainer").glob("*.yaml")}


# Tables and logs


@cache
def predicted(*sizes):
    """What evaluate.py predicts: once for all widths of a table."""
    changes = ["cost=true", "network=vin", "measured_tflops=0.05", *sizes]
    return program("evaluate").predict_cost(composed("evaluate", *changes))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [("num_frames=77",), ("backbone=dit_xl", "num_frames=257", "height=1024", "width=1024")]
)
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_table_of_costs_cuts_no_number(columns, sizes, tmp_path, capsys, monkeypatch):
    from longtake.cost.report import devices_table, table_of

    monkeypatch.setenv("COLUMNS", columns)
    record = predicted(*sizes)
    program("evaluate").show_cost(record, tmp_path)
    said = capsys.readouterr().out
    assert "…" not in said
    heads, rows, _ = table_of(record)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    held = devices_table(record)[1]
    assert cells == [*rows, *held]
    assert len(held) > 1
    assert all(len(cell) <= 10 and "e" not in cell for row in [*rows, *held] for cell in row[1:])
    for word in " ".join(heads).split():
        assert word in said
    # What the units say is what cost.json has.
    sizes_of = {"MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "MiB": 2**20, "GiB": 2**30}
    for row, line in zip(rows, record["rollouts"], strict=False):
        shown = {head.replace("\n", " "): cell.replace(",", "") for head, cell in zip(heads, row, strict=True)}
        for head, value in shown.items():
            for words, key in (("a step", "step_flops"), ("a video", "video_flops"), ("peak", "peak_bytes")):
                if words in head:
                    unit = next(size for name, size in sizes_of.items() if name in head)
                    assert float(value) * unit == pytest.approx(line[key], rel=0.006)


def test_a_dry_run_is_logged_in_plain_lines():
    assert OmegaConf.load(ROOT / "conf/generate.yaml").hydra.job_logging == (
        OmegaConf.load(ROOT / "conf/train.yaml").hydra.job_logging
    )


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ({"network": {}, "sampler": {"_target_": "a.Euler"}}, "generate.py 'weights=\"my weights/x\"'"),
        ({"network": {}}, "'pretrained.compressor=\"my weights"),
        ({"network": None, "codec": {"channels": 8}}, "train.py 'codec.folder=\"my weights/x\"' codec.channels=8"),
    ],
)
def test_an_export_says_where_it_is_and_what_comes_next(config, command, tmp_path, monkeypatch, caplog):
    from networks.saving import WEIGHTS

    export = program("export")
    assert command in export.next_command(config, Path("my weights/x"))
    monkeypatch.setattr("longtake.releases.reading.read_run", lambda *_, **__: (config, {}))
    place = tmp_path / WEIGHTS if config["network"] is None else tmp_path / "network" / WEIGHTS
    place.parent.mkdir(exist_ok=True)
    monkeypatch.setattr("longtake.releases.writing.release", lambda *_, **__: place.touch())
    bases = {part: {"pretrained": None} for part in ("text", "codec", "backbone")}
    told = {"run": "runs/a", "output": str(tmp_path), "dtype": "float16", "decoder": True, "format": "release"}
    cfg = OmegaConf.create({**told, "average": {"weights": None, "share": 0.5}, **bases})
    with caplog.at_level(logging.INFO, "longtake"):
        export.run(cfg)
        assert f"released in {tmp_path}\n" in caplog.text
        assert "next: python " in caplog.text
        export.run(cfg)
    assert f"released in {tmp_path}, where an earlier release was replaced" in caplog.text


# Rendering


ENDLESS = """
import logging
from datamodules.freedoom.render import render_corpus
if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sizes = {"size": 64, "walks_per_level": 2, "frames_per_walk": 10**6, "num_workers": 2}
    render_corpus(root="corpus", levels=["map04"], seed=3, **sizes)
"""


def games_under(folder):
    """Processes whose command names a folder, as a game's does for its settings file."""
    commands = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [number for number, command in commands.items() if str(folder).encode() in command and number.isdigit()]


@pytest.mark.slow
def test_sigterm_ends_games_and_leaves_no_file(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "temporary").mkdir()
    own = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, "endless.py"], cwd=tmp_path, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.part.mp4"))) < 2 and started.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    playing = games_under(tmp_path)  # the game's own files lie in the corpus
    started.terminate()
    said = started.communicate(timeout=60)[1]
    assert len(playing) == 2
    assert started.returncode == 128 + signal.SIGTERM
    assert said.startswith(f"rendering 2 walks into {tmp_path / 'corpus'}\n")
    assert games_under(tmp_path) == []
    assert not list((tmp_path / "temporary").iterdir())
    assert not list(tmp_path.rglob("*.part*"))


def test_sigterm_is_an_exit_only_while_walks_are_rendered():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, render_module.ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    with ThreadPoolExecutor(1) as pool:  # only the main thread may set a handler
        pool.submit(lambda: render_module.ended_by_sigterm().__enter__()).result()
    assert signal.getsignal(signal.SIGTERM) == before
