"""What an installed package can do where there is no repository: its command, its configuration, its videos."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import forked
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120)
    (wheel,) = folder.glob("longtake-*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


def run(site, folder, *arguments):
    folder.mkdir(exist_ok=True)
    own = {"PYTHONPATH": str(site), "LONGTAKE_WEIGHTS": str(ROOT / "weights"), "OMP_NUM_THREADS": "1"}
    return forked.run(["-m", "longtake", *arguments], cwd=folder, env={**os.environ, **own})


def test_the_wheel_holds_every_config_and_the_command(installed):
    there = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml") if "local" not in path.parts}
    packed = {path.relative_to(installed / "longtake" / "conf") for path in (installed / "longtake").rglob("*.yaml")}
    assert there == packed
    (entries,) = installed.glob("longtake-*.dist-info/entry_points.txt")
    assert "longtake = longtake.cli:main" in entries.read_text()
    assert not (installed / "tests").exists()


def test_a_video_is_made_in_an_empty_folder(installed, tmp_path):
    ended = run(installed, tmp_path / "empty", "generate", "output=o", "num_frames=5", "num_inference_steps=1")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "empty" / "o" / "000.mp4").is_file()
    assert '"weights": "vin_freedoom_64"' in (tmp_path / "empty" / "o" / "manifest.jsonl").read_text()


def test_the_command_says_what_it_can_do(installed, tmp_path):
    helped = run(installed, tmp_path / "b", "--help")
    assert helped.returncode == 0
    wrong = run(installed, tmp_path / "b", "generat")
    assert wrong.returncode == 2
    for ended in (helped, wrong):
        assert "usage: longtake {train|cache|generate|evaluate|export|testbed|studio|cost|vbench}" in ended.stderr
    missing = run(installed, tmp_path / "b", "generate", "output=o", "weights=nowhere")
    assert missing.returncode == 2
    assert "error: weights=nowhere: no such file or folder" in missing.stderr
