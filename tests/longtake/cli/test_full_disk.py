"""A full disk, at every kind of write: one sentence that names the folder, nothing half-written, the old file whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typed import SHORT

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
LOVIC = f"weights={ROOT / 'weights' / 'lovic_freedoom_64'}"


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system with so many KiB of room; where that is not allowed the test is skipped."""
    mounted = []

    def mount(kib):
        place = tmp_path / "disk"
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)


def run(program, *arguments, cwd, **environment):
    own = {"OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(ROOT / program), *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, timeout=240, check=False
    )


def check(ended, disk):
    """Refused for want of room in one sentence that names the disk; no unfinished file is left there."""
    assert ended.returncode == 2, ended.stderr[-1500:]
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "no room for" in line or "disk is full" in line
    assert str(disk) in line
    assert [path.name for path in disk.rglob("*.part")] == []


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


def test_a_predicted_cost(small_disk, tmp_path):
    disk = small_disk(4)
    (disk / "cost.json").write_text("old")
    arguments = ("cost=true", "num_frames=257", "peak_tflops=1", f"output={disk}")
    check(run("evaluate.py", *arguments, cwd=tmp_path), disk)
    assert (disk / "cost.json").read_text() == "old"


def test_an_export(small_disk, tmp_path):
    disk = small_disk(2000)
    old = disk / "release" / "network"
    old.mkdir(parents=True)
    (old / "diffusion_pytorch_model.safetensors").write_bytes(b"old")
    weights = ROOT / "weights" / "vin_freedoom_64"
    check(run("export.py", f"run={weights}", f"output={disk / 'release'}", cwd=tmp_path), disk)
    assert (old / "diffusion_pytorch_model.safetensors").read_bytes() == b"old"


def test_a_report(small_disk, tmp_path):
    disk = small_disk(12)
    shutil.copytree(ROOT / "storyboards", tmp_path / "videos", ignore=shutil.ignore_patterns("*.yaml"))
    check(run("evaluate.py", f"videos={tmp_path / 'videos'}", f"output={disk / 'report'}", cwd=tmp_path), disk)


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


def test_a_folder_for_vbench(small_disk, tmp_path):
    disk = small_disk(60)
    (tmp_path / "videos").mkdir()
    for number in range(8):
        shutil.copy(ROOT / "storyboards" / "walk.mp4", tmp_path / "videos" / f"a walk {number}-0.mp4")
    arguments = (f"videos={tmp_path / 'videos'}", f"output={disk / 'out'}", "vbench=custom")
    check(run("evaluate.py", *arguments, cwd=tmp_path), disk)
