"""A full disk, at every kind of write: one sentence that names the folder, nothing half-written, the old file whole."""

import os
import shutil
import subprocess
from pathlib import Path

import forked
import pytest
import torch
from typed import SHORT

from datamodules.caching.texts import TextCache
from networks.saving import WEIGHTS

ROOT = Path(__file__).parents[3]
LOVIC = f"weights={ROOT / 'weights' / 'lovic_freedoom_64'}"


def run(program, *arguments, cwd, **environment):
    own = {"OMP_NUM_THREADS": "1", **environment}
    return forked.run([ROOT / program, *arguments], cwd=cwd, env={**os.environ, **own})


def check(ended, disk):
    """Refused for want of room in one sentence that names the disk; no unfinished file is left there."""
    assert ended.returncode == 2, ended.stderr[-1500:]
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "no room for" in line or "disk is full" in line
    assert str(disk) in line
    assert [path.name for path in disk.rglob("*.part")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kib", "arguments"),
    [
        (8, ("num_frames=77", "num_inference_steps=1")),
        (40, ("num_frames=77", "num_inference_steps=1", "rollout=autoregressive")),
        (12, (LOVIC, "num_frames=81", "num_inference_steps=1", "rollout=segmentwise")),
        (20, (LOVIC, f"storyboard={ROOT / 'storyboards' / 'between.yaml'}", "num_inference_steps=1")),
    ],
    ids=["a video", "windows", "segments", "a storyboard's segments"],
)
def test_generation(small_disk, tmp_path, kib, arguments):
    disk = small_disk(kib)
    check(run("generate.py", f"output={disk / 'out'}", *arguments, cwd=tmp_path), disk)
    assert list(disk.rglob("*.mp4")) == []


@pytest.mark.slow
def test_a_predicted_cost(small_disk, tmp_path):
    disk = small_disk(4)
    (disk / "cost.json").write_text("old")
    arguments = (
        "cost=true",
        "num_frames=17",
        "backbone.depth=1",
        "interface.depth=1",
        "peak_tflops=1",
        "measure_speed=false",
        f"output={disk}",
    )
    check(run("evaluate.py", *arguments, cwd=tmp_path), disk)
    assert (disk / "cost.json").read_text() == "old"


@pytest.mark.slow
def test_an_export(small_disk, tmp_path):
    disk = small_disk(2000)
    old = [disk / "release" / name for name in ("config.yaml", "network/config.json", f"network/{WEIGHTS}")]
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    weights = ROOT / "weights" / "vin_freedoom_64"
    check(run("export.py", f"run={weights}", f"output={disk / 'release'}", cwd=tmp_path), disk)
    assert [path.read_text() for path in old] == ["old"] * 3


@pytest.mark.slow
def test_a_report(small_disk, tmp_path):
    disk = small_disk(12)
    shutil.copytree(ROOT / "storyboards", tmp_path / "videos", ignore=shutil.ignore_patterns("*.yaml"))
    check(run("evaluate.py", f"videos={tmp_path / 'videos'}", f"output={disk / 'report'}", cwd=tmp_path), disk)


@pytest.mark.slow
@pytest.mark.parametrize(("kib", "place"), [(40, "data"), (300, "runs")], ids=["clips", "checkpoints"])
def test_a_training(small_disk, tmp_path, kib, place):
    disk = small_disk(kib)
    folders = {"LONGTAKE_DATA": str(tmp_path / "data"), "RUN_DIR": str(tmp_path / "runs")}
    folders["LONGTAKE_DATA" if place == "data" else "RUN_DIR"] = str(disk / place)
    shutil.copytree(ROOT / "storyboards", tmp_path / "videos", ignore=shutil.ignore_patterns("*.yaml"))
    for number in range(3):
        shutil.copy(tmp_path / "videos" / "walk.mp4", tmp_path / "videos" / f"{number}.mp4")
    own = ["datamodule=folder", f"datamodule.root={tmp_path / 'videos'}", "datamodule.validation_share=0.3"]
    short = [each for each in SHORT["train.py"] if "datamodule.make" not in each]
    check(run("train.py", *own, *short, cwd=tmp_path, **folders), disk)


@pytest.mark.slow
def test_a_folder_for_vbench(small_disk, tmp_path):
    disk = small_disk(60)
    (tmp_path / "videos").mkdir()
    for number in range(8):
        shutil.copy(ROOT / "storyboards" / "walk.mp4", tmp_path / "videos" / f"a walk {number}-0.mp4")
    arguments = (f"videos={tmp_path / 'videos'}", f"output={disk / 'out'}", "vbench=custom")
    check(run("evaluate.py", *arguments, cwd=tmp_path), disk)


@pytest.mark.slow
def test_a_manifest(small_disk, tmp_path):
    """A prompt that is longer than what the disk has room for, once the video is there."""
    disk = small_disk(48)
    arguments = ("num_frames=5", "num_inference_steps=1", f"prompt={'a cave ' * 8000}")
    check(run("generate.py", f"output={disk / 'out'}", *arguments, cwd=tmp_path), disk)
    assert (disk / "out" / "manifest.jsonl").read_text() == ""
    (video,) = (disk / "out").glob("*.mp4")
    assert video.stat().st_size


def test_captions(small_disk):
    """What was cached before is read, and the rest is made once there is room."""
    cache = TextCache(small_disk(256), 384)
    captions = [f"a cave with {number} doors" for number in range(200)]

    def encode(group):
        return torch.ones(len(group), 4, 384), torch.ones(len(group), 4, dtype=torch.bool)

    cache.fill(captions[:20], encode)
    with pytest.raises(ValueError, match=r"the disk is full: .* and 18\d captions are left; what is cached stays"):
        cache.fill(captions, encode)
    again = TextCache(cache.folder, 384)
    left = again.missing(captions)
    assert 0 < len(left) < 180
    assert torch.equal(again.read(captions[0]), torch.ones(4, 384).half())
    subprocess.run(["mount", "-o", "remount,size=2m", str(cache.folder)], check=True)
    again.fill(captions, encode)
    assert again.missing(captions) == []
    assert torch.equal(again.read(captions[-1]), torch.ones(4, 384).half())
