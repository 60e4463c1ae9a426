"""Parts of `benchmarks/accelerator.py` that run other programs, and end these with all that they started."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import ROOT

Record = dict[str, Any]
LINES = 15
"""Of what a program said, that are kept."""


class Told(argparse.Namespace):
    """device: cuda or cpu; tiny: whether it is a rehearsal; output: folder of results."""

    device: str
    tiny: bool
    output: Path


def called(told: Told, left: float, *arguments: str) -> Record:
    """A program of its own that may take so many seconds: its last lines, and how it ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LONGTAKE_DATA": str(_folder(told) / "data")}
    if told.device == "cpu":
        environment["OMP_NUM_THREADS"] = "1"
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = process.wait(timeout=max(left, 1))
        except subprocess.TimeoutExpired:
            status = "time is up"
        finally:
            with suppress(ProcessLookupError):  # compilers and readers of data would outlive it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        last = said.read().splitlines()[-LINES:]
    return {"command": list(arguments), "status": status, "seconds": time.perf_counter() - began, "said": last}


def _refuse_failed(record: Record) -> None:
    if record["status"] != 0:
        last = record["said"][-1] if record["said"] else "it said nothing"
        raise RuntimeError(f"{record['command'][0]} ended with {record['status']}: {last}")


def _folder(told: Told) -> Path:
    """What programs make that nobody needs afterwards."""
    return told.output / "accelerator_run"


def peers(told: Told, left: float) -> Iterator[Record]:
    """Ratios are in the program's own file, each kind of step as soon as it is measured."""
    own = ["--width", "64", "--depth", "1", "--heads", "2", "--tokens", "64", "--repeats", "1", "--most", "1"]
    large = ["--dtype", "bfloat16", "--width", "1152", "--depth", "8", "--heads", "16", "--tokens", "8100", "--compile"]
    given = own if told.tiny else large
    # A rehearsal's figures mean nothing, and must not take the place of others.
    output = _folder(told) if told.tiny else told.output
    record = called(told, left, "benchmarks/peers.py", "--device", told.device, *given, "--output", str(output))
    yield record
    _refuse_failed(record)


def tests(told: Told, left: float) -> Iterator[Record]:
    """Those of devices, precisions and kernels."""
    which = ["tests/test_on_device.py", "tests/test_devices.py", "tests/longtake/test_running.py"]
    chosen = ["tests/test_on_device.py", "-k", "gradients"] if told.tiny else which
    workers = ["-n0"] if told.tiny else [f"-n{min(8, os.cpu_count() or 1)}", "--dist", "load"]
    record = called(told, left, "-m", "pytest", "-q", *workers, "-p", "no:cacheprovider", *chosen)
    yield record
    _refuse_failed(record)


SMALL = ("backbone.width=32", "backbone.num_heads=2", "backbone.depth=1", "interface.depth=1", "start=null")


def runs(told: Told, left: float) -> Iterator[Record]:
    """A training on rendered walks of a few levels, and a video with its weights."""
    began, folder = time.perf_counter(), _folder(told)
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.rmtree(folder / "video", ignore_errors=True)
    levels = "E1M1,E1M8" if told.tiny else "E1M1,E1M2,E1M3,E1M5,E1M8,map01,map02,map11"
    count = 1 if told.tiny else 40
    train = [
        f"trainer={'gpu' if told.device == 'cuda' else 'cpu'}",
        f"trainer.max_steps={count}",
        f"trainer.val_check_interval={count}",
        f"datamodule.make.levels=[{levels}]",
        f"datamodule.make.num_workers={1 if told.tiny else 8}",
        f"paths.run_dir={folder / 'run'}",
        "callbacks.samples=null",
        *(SMALL if told.tiny else ()),
    ]
    record = called(told, left, "train.py", *train)
    yield record
    _refuse_failed(record)
    video = [f"weights={folder / 'run'}", f"output={folder / 'video'}", "prompt=a marine in red walks"]
    video += ["num_frames=9" if told.tiny else "num_frames=257", "num_inference_steps=2", "precision=bf16-true"]
    record = called(told, left - (time.perf_counter() - began), "generate.py", *video)
    yield record
    _refuse_failed(record)


PROGRAMS = {"peers": peers, "tests": tests, "runs": runs}
