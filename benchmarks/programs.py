"""Costs of whole programs: what training waits for data, and what `--help` costs."""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import ROOT
from longtake.video import write_video

TRAINING = [
    "datamodule=folder",
    "datamodule.validation_share=0.2",
    "datamodule.num_validation_clips=2",
    "lightning_module.validation_times=[0.5]",
    "trainer.max_steps=15",
    "trainer.val_check_interval=15",
    "trainer.log_every_n_steps=1",
    "callbacks.throughput.every_n_steps=5",
    "~callbacks.samples",
    "~callbacks.progress",
    "logger=csv",
]


def training_steps(device: str) -> dict[str, float]:
    """Trains the small VIN for 15 steps on cached latents of five videos made here; the first five are warm-up.

    share: of the time of the other steps that waits for a batch; seconds: of such a step; seconds_at_highest: of one
    with matmul_precision=highest instead of the default.
    """
    usual, exact = (_train(device, *own) for own in ((), ("matmul_precision=highest",)))
    return {**usual, "seconds_at_highest": exact["seconds"]}


def _train(device: str, *overrides: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        for number in range(5):
            write_video(videos / f"{number}.mp4", [torch.rand(3, 320, 64, 64) * 2 - 1], fps=8.75)
            (videos / f"{number}.txt").write_text(f"noise number {number}")
        own = [f"datamodule.root={videos}", f"trainer={'gpu' if device == 'cuda' else 'cpu'}"]
        subprocess.run(
            [sys.executable, "train.py", *TRAINING, *own, *overrides],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LONGTAKE_DATA": f"{folder}/data", "RUN_DIR": f"{folder}/run"},
        )
        with (Path(folder) / "run" / "csv" / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["speed/data_wait_share"]][1:]
    return {
        "share": max(float(row["speed/data_wait_share"]) for row in rows),
        "seconds": statistics.mean(float(row["speed/seconds_per_step"]) for row in rows),
    }


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def help_cost(repeats: int) -> dict[str, float]:
    """`python train.py --help` against importing torch, lightning and hydra, in turns after one unmeasured turn."""
    commands = {"help": ["train.py", "--help"], "imports": ["-c", "import torch, lightning, hydra"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, command in commands.items():
            times[name].append(_seconds(command))
    medians = {f"{name}_seconds": statistics.median(values[1:]) for name, values in times.items()}
    return {**medians, "ratio": medians["help_seconds"] / medians["imports_seconds"]}
