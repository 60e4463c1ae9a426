"""Files and checkpoints are whole or not there, and the newest whole one is found."""

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from longtake.cli.user_errors import sentence
from longtake.releases.checkpoint_files import WholeCheckpoints
from longtake.releases.checkpoints import (
    CONFIG_KEY,
    find_resume,
    last_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    size_of,
)
from longtake.releases.reading import read_state
from networks.files import claimed, remove_unfinished, whole, write_text

ROOT = Path(__file__).parents[3]


@pytest.fixture
def limited():
    """Files of 1 MiB at most."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoint(values: int, step: int = 1) -> dict:
    return {CONFIG_KEY: {}, "global_step": step, "state_dict": {"weight": torch.full((values,), float(step))}}


def saved(path: Path, step: int, age: float = 0.0) -> Path:
    WholeCheckpoints().save_checkpoint(checkpoint(100, step), path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def cut(path: Path) -> None:
    times = (path.stat().st_mtime,) * 2
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    os.utime(path, times)


def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole(path) as part:  # noqa: PT012 - what is tested is the block
        part.write_text("ne")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    with whole(path) as part:
        part.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


WRITER = """
import sys, time
from pathlib import Path
from networks.files import whole
with whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_killed_writers_left_goes_and_what_live_ones_write_stays(tmp_path):
    path = tmp_path / "a.txt"
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "writing\n"
    assert remove_unfinished(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 1
    writer.kill()
    writer.wait()
    abroad = tmp_path / "b.txt.00000000-1-abcdef.part"
    for file in (abroad, tmp_path / "mine.part"):
        file.touch()
    assert remove_unfinished(tmp_path) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == [abroad.name, "mine.part"]
    os.utime(abroad, (time.time() - 90_000,) * 2)
    assert remove_unfinished(tmp_path) == 1
    assert not abroad.exists()
    with whole(tmp_path / "c.txt") as part:  # so this is not what the files of this machine are named
        assert ".00000000-" not in part.name
        part.touch()


def test_the_next_who_writes_a_text_removes_what_a_killed_one_left(tmp_path):
    code = (
        "import os, signal, sys; from networks.files import whole\n"
        f"with whole({str(tmp_path / 'settings.json')!r}) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    write_text(tmp_path / "settings.json", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_is_needed(small_disk):
    path = small_disk(1024) / "checkpoints" / "last.ckpt"
    saver = WholeCheckpoints()
    saver.save_checkpoint(checkpoint(100_000, 1), path)
    with pytest.raises(ValueError, match="no room for a checkpoint") as caught:
        saver.save_checkpoint(checkpoint(200_000, 2), path)
    said = sentence(caught.value)
    assert str(path.parent) in said
    assert "800,000 bytes" in said
    assert read_checkpoint(path)["global_step"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path, limited):
    path = saved(tmp_path / "last.ckpt", 1)
    with pytest.raises(ValueError, match="no room for a checkpoint"):
        WholeCheckpoints().save_checkpoint(checkpoint(10**6, 2), path)
    assert read_checkpoint(path)["global_step"] == 1
    with pytest.raises(OSError, match="No space left") as caught, whole(tmp_path / "clips.safetensors") as part:
        save_file({"clips": torch.zeros(10**6)}, part)
    assert sentence(caught.value).startswith(f"no room for {tmp_path / 'clips.safetensors'}")
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_size_of_a_checkpoint_counts_each_storage_once():
    weight = torch.zeros(10)
    assert size_of({"a": weight, "b": [weight[:5], torch.zeros(2)], "c": 3}) == 48


def test_a_broken_checkpoint_is_passed_over_by_name(tmp_path, caplog):
    run = tmp_path / "run"
    step = saved(run / "checkpoints" / "step_0000004.ckpt", 4, age=10)
    last = saved(run / "checkpoints" / "last.ckpt", 6)
    assert last_checkpoint(run) == last
    cut(last)
    caplog.set_level(logging.WARNING, logger="longtake")
    assert last_checkpoint(run) == step
    assert str(last) in caplog.text
    assert read_state(run, "weights")["weight"][0] == 4
    assert find_resume("last", tmp_path / "new") == step
    with pytest.raises(ValueError, match=r"cannot be read as a checkpoint .*step_0000004\.ckpt beside it is whole"):
        read_checkpoint(last)
    last.write_bytes(b"")
    assert last_checkpoint(run) == step
    cut(step)
    with pytest.raises(ValueError, match=r"no checkpoint of .* can be read") as caught:
        last_checkpoint(run)
    assert str(step) in str(caught.value)
    assert newest_checkpoint(run) is None


def test_resume_last_falls_back_to_the_run_before(tmp_path, caplog):
    before = saved(tmp_path / "a" / "checkpoints" / "last.ckpt", 3, age=100)
    broken = saved(tmp_path / "b" / "checkpoints" / "last.ckpt", 6)
    cut(broken)
    caplog.set_level(logging.WARNING, logger="longtake")
    assert find_resume("last", tmp_path / "new") == before
    assert str(tmp_path / "b") in caplog.text
    cut(before)
    with pytest.raises(ValueError, match="no run with a whole checkpoint"):
        find_resume("last", tmp_path / "new")


def test_the_newest_is_known_after_copies_full_disks_and_steps_back(tmp_path):
    folder = tmp_path / "checkpoints"
    last = saved(folder / "last.ckpt", 250, age=10)
    step = saved(folder / "step_0000150.ckpt", 150)  # a copy, written in the order of names
    assert last_checkpoint(tmp_path) == last
    saved(step, 300)  # the disk was full when last.ckpt was to follow
    assert last_checkpoint(tmp_path) == step
    saved(step, 300, age=20)  # a run that went on from an earlier step
    assert last_checkpoint(tmp_path) == last
    last.unlink()
    assert last_checkpoint(tmp_path) == step


CLAIMER = "import sys, pathlib\nfrom networks.files import claimed\nwith claimed(pathlib.Path(sys.argv[1])): pass"


def test_a_folder_is_one_runs_at_a_time(tmp_path):
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "run")]
    with claimed(tmp_path / "run"):
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert other.returncode
        assert f"{tmp_path / 'run'} is in use by another run" in other.stderr
    with claimed(tmp_path / "run"):
        child = os.fork()
        if not child:  # a loader's process, which outlives a killed parent for some seconds
            time.sleep(30)
            os._exit(0)
    subprocess.run(command, cwd=ROOT, check=True)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_training_needs_no_folder_for_temporary_files(tmp_path, monkeypatch):
    nowhere = tmp_path / "tmp"
    nowhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(nowhere))
    shutil.rmtree(nowhere)  # whoever went through it would fail
    WholeCheckpoints().save_checkpoint(checkpoint(10), tmp_path / "run" / "last.ckpt")
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 1


def test_a_run_that_is_replaced_is_named_before(tmp_path, caplog):
    there = saved(tmp_path / "run" / "checkpoints" / "last.ckpt", 3)
    assert find_resume(None, tmp_path / "run") is None
    assert f"{there} is of a run that is replaced by this one" in caplog.text
    assert f"`resume={tmp_path / 'run'}` goes on with it" in caplog.text


def test_a_release_and_a_number_are_not_resumed(tmp_path):
    release = ROOT / "weights" / "vin_freedoom_64"
    with pytest.raises(ValueError, match=r"a release holds no optimizer .* pretrained=.*vin_freedoom_64"):
        find_resume(str(release), tmp_path)
    with pytest.raises(ValueError, match="resume=3 must be a text"):
        find_resume(3, tmp_path)
