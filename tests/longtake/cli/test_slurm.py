"""A job of SLURM, as far as its environment variables, its signal and an `scontrol` of our own show it."""

import os
import signal

import forked
import pytest
import torch
from bombs import bomb
from composing import ROOT
from tiny_runs import config

from longtake.cli import slurm
from longtake.cli.training import train

JOB = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "localhost",
    "SLURM_NODELIST": "localhost",
}


@pytest.fixture
def in_a_job(tmp_path, monkeypatch):
    """The file in which the fake `scontrol` writes what it was told."""
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    told, program = tmp_path / "told", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return told


def test_a_job_has_its_number_and_an_array_s_task_its_own(in_a_job, monkeypatch):
    assert slurm.job() == "77"
    assert slurm.environment().auto_requeue is False
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert slurm.job() == "70_7"
    assert slurm.queue_again()
    assert in_a_job.read_text() == "requeue 70_7\n"
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # a shell within a job is none
    assert slurm.job() is None
    assert not slurm.queue_again()


def test_only_a_job_that_was_queued_again_has_a_run_before(in_a_job, tmp_path, monkeypatch):
    for name, number in (("a", "77"), ("b", "78")):
        monkeypatch.setenv("SLURM_JOB_ID", number)
        slurm.note_job(tmp_path / "runs" / name)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert slurm.run_before(tmp_path / "runs" / "c") is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.run_before(tmp_path / "runs" / "c") == tmp_path / "runs" / "a"
    monkeypatch.setenv("SLURM_JOB_ID", "79")
    assert slurm.run_before(tmp_path / "runs" / "c") is None


def test_a_queue_that_refuses_is_a_warning_with_what_to_do(in_a_job, tmp_path, caplog):
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho no such job >&2\nexit 1\n")
    assert not slurm.queue_again()
    (tmp_path / "bin" / "scontrol").unlink()
    os.environ["PATH"] = str(tmp_path / "bin")
    assert not slurm.queue_again()
    assert "did not queue job 77 again (no such job): submit it once more, with resume=last" in caplog.text
    assert caplog.text.count("with resume=last") == 2


@pytest.mark.slow
def test_the_warning_saves_queues_again_and_the_same_command_goes_on(in_a_job, videos, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="longtake")
    whole, first, second = (tmp_path / "runs" / name for name in ("whole", "first", "second"))
    train(config(videos, whole))
    with pytest.raises(SystemExit) as caught:
        train(config(videos, first, *bomb(1, signal.SIGUSR1)))
    assert caught.value.code == 143
    assert in_a_job.read_text() == "requeue 77\n"
    assert "SLURM queues job 77 again" in caplog.text
    assert not list(tmp_path.rglob("hpc_ckpt*"))  # Lightning's own way, which saves in the middle of a step
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    train(config(videos, second))
    assert f"resuming from {first / 'checkpoints' / 'last.ckpt'}" in caplog.text
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, second)]
    assert states[0]["global_step"] == states[1]["global_step"]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name


@pytest.mark.slow
def test_a_preempted_job_saves_and_is_queued_by_slurm_itself(in_a_job, videos, tmp_path):
    with pytest.raises(SystemExit) as caught:
        train(config(videos, tmp_path / "runs" / "a", *bomb(1, signal.SIGTERM)))
    assert caught.value.code == 143
    assert (tmp_path / "runs" / "a" / "checkpoints" / "last.ckpt").is_file()
    assert not in_a_job.exists()


CLAIM = """
import sys
import hydra
from pathlib import Path
from longtake.configs import CONF
from networks.files import claimed

@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg):
    with claimed(Path(cfg.paths.run_dir)):
        print(cfg.paths.run_dir, flush=True)
        sys.stdin.read()

main()
"""


COUNT = 4
"""Runs."""


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True])
def test_runs_that_are_started_at_once_have_folders_of_their_own_or_one_owner(tmp_path, same):
    script = tmp_path / "run.py"
    script.write_text(CLAIM)
    words = [script, f"paths.root_dir={tmp_path}", "hydra.output_subdir=null"]
    words += [f"paths.run_dir={tmp_path / 'one'}"] if same else []
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [forked.Started(words, cwd=tmp_path, env=own) for _ in range(COUNT)]
    try:
        folders = [run.stdout.readline().strip() for run in runs]  # all are there before the first one ends
    finally:
        for run in runs:
            run.stdin.close()
    errors = [run.stderr.read() for run in runs]
    for run in runs:
        run.wait(60)
    if same:
        assert sorted(folders) == [""] * (COUNT - 1) + [str(tmp_path / "one")]
        assert sum("is in use by another run that is still going" in error for error in errors) == COUNT - 1
    else:
        assert len(set(folders)) == COUNT
        assert "" not in folders
