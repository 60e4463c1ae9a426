"""The README's programs as they are typed, shortened: two levels rendered, cached, trained on, resumed, and used."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from composing import ROOT, composed, documented_commands, documented_pages
from typed import SHORT

from longtake.cli import generate
from longtake.video import read_frames


def run(folder: Path, program: str, *changes: str, name: str = "", again: bool = False) -> str:
    """Starts a program in the repository, with its data, and its run under a name, in a folder; what it printed.

    again: whether Python itself has started it before: generate.py in test_processes.py, evaluate.py in
        test_report_card.py, export.py below.
    """
    own = {"OMP_NUM_THREADS": "1", "LONGTAKE_DATA": str(folder / "data"), "RUN_DIR": str(folder / "runs" / name)}
    words, there = [program, *SHORT[program], *changes], {"cwd": ROOT, "env": {**os.environ, **own}, "timeout": 240}
    if again:
        ended = forked.run(words, **there)
    else:
        ended = subprocess.run([sys.executable, *words], **there, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    run(folder, "train.py", name="first")
    return folder


@pytest.mark.slow
def test_train_renders_caches_fits_and_goes_on(folder):
    data = folder / "data"
    assert len(list((data / "freedoom_64" / "videos").rglob("*.mp4"))) == 2
    assert sum(len(path.read_text().splitlines()) for path in (data / "cache").rglob("*.jsonl")) >= 5
    first = torch.load(folder / "runs/first/checkpoints/last.ckpt", weights_only=True)
    said = run(folder, "train.py", "resume=last", "trainer.max_steps=3", name="second", again=True)
    assert f"resuming from {folder / 'runs/first/checkpoints/last.ckpt'}" in said
    assert "val/loss" in said
    assert "without global tokens" in said
    second = torch.load(folder / "runs/second/checkpoints/last.ckpt", weights_only=True)
    assert (first["global_step"], second["global_step"]) == (2, 3)
    assert any(not torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())


@pytest.mark.slow
def test_what_was_trained_generates_is_scored_and_is_exported(folder):
    trained = folder / "runs" / "first"
    run(folder, "generate.py", f"weights={trained}", f"output={folder / 'out'}", again=True)
    assert read_frames(folder / "out" / "000.mp4", height=64, width=64, fps=0, crop_place=0.5).shape == (17, 64, 64, 3)
    run(folder, "evaluate.py", f"videos={folder / 'out'}", f"output={folder / 'report'}", again=True)
    assert "000.mp4" in (folder / "report" / "report.csv").read_text()
    assert json.loads((folder / "report" / "report.json").read_text())
    run(folder, "export.py", f"run={trained}", f"output={folder / 'weights'}", again=True)
    assert (folder / "weights" / "config.yaml").is_file()
    again = [f"weights={folder / 'weights'}", f"output={folder / 'again'}", *SHORT["generate.py"]]
    generate.make(composed("generate", *again))
    assert (folder / "again" / "000.mp4").is_file()


@pytest.mark.slow
def test_export_begins_and_asks_for_what_it_needs(tmp_path):
    ended = subprocess.run(
        [sys.executable, ROOT / "export.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: run is missing")


def benchmark_commands() -> list[str]:
    """Commands of benchmarks, in prose and in blocks; a command of prose may break over a line."""
    found = []
    for page in documented_pages():
        text = page.read_text()
        found += re.findall(r"`(python benchmarks/[^`]+)`", text)
        found += re.findall(r"^(python benchmarks/.+)$", text, re.MULTILINE)
    return sorted({" ".join(command.split()) for command in found})


@pytest.mark.slow
@pytest.mark.parametrize("command", benchmark_commands())
def test_the_benchmarks_that_are_named_exist_and_know_their_options(command):
    _, program, *arguments = shlex.split(command, comments=True)
    script = ROOT / program
    assert script.is_file()
    # What a script reads may be parsed in another file of the folder.
    sources = script.read_text() + (ROOT / "benchmarks" / "trained.py").read_text()
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument.startswith("--"):
            stored = name.removeprefix("--").replace("-", "_")  # where options are made of a table
            assert f'"{name}"' in sources or f'"{stored}"' in sources, argument
        elif "=" in argument:
            assert re.search(rf"\b{re.escape(name.split('.')[0])}\b", sources), argument


def test_the_readme_has_a_command_of_each_program():
    assert {f"{each.program}.py" for each in documented_commands().values()} >= SHORT.keys()
    assert len(benchmark_commands()) > 8
