"""Of several processes that meet an error, or its echo, one says it, and all end."""

import os
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from torch import multiprocessing

from longtake.cli import stopped, user_errors
from longtake.cli.stopped import place
from longtake.compat.torch import next_number
from networks.processes import LostProcess, Processes

LAUNCHERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def without_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "0", "RANK": "8"}, 8),  # the first of the second machine
        ({"SLURM_PROCID": "3"}, 3),  # srun tells nobody a LOCAL_RANK
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, 1),  # started by a process in a job
        ({"LOCAL_RANK": "one"}, 0),
    ],
)
def test_the_first_of_all_processes_speaks(told, number, monkeypatch):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert place() == number


def meets(rank, world, folder, waits):
    """A process that meets an error; those in `waits` meet it after the others."""
    os.environ.update(RANK=str(rank), TORCHELASTIC_RUN_ID="a run")
    sys.stderr = Path(folder, f"{rank}.txt").open("w")  # noqa: SIM115 - until the process ends
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    everyone = Processes(rank, world, dist.group.WORLD)
    everyone.wait()
    if rank in waits:
        time.sleep(0.5)
    with user_errors.explain():
        raise ValueError(f"rank {rank} refuses")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "waits", "said"),
    [(2, (1,), "error: rank 0 refuses"), (2, (0,), "error: rank 1 refuses"), (3, (0, 2), "error: rank 1 refuses")],
)
def test_under_a_launcher_what_all_meet_is_said_by_whoever_meets_it_first(world, waits, said, tmp_path):
    started = multiprocessing.start_processes(
        meets, args=(world, str(tmp_path), waits), nprocs=world, start_method="fork", join=False
    )
    for process in started.processes:
        process.join(30)
    assert [process.exitcode for process in started.processes] == [2] * world
    found = [line for rank in range(world) for line in (tmp_path / f"{rank}.txt").read_text().splitlines()]
    assert found == [said]


def test_before_they_know_of_one_another_the_first_speaks_and_others_wait(monkeypatch):
    waited = []
    monkeypatch.setattr(user_errors, "wait_to_be_ended", waited.append)
    cases = [
        ({}, []),
        ({"LOCAL_RANK": "1"}, [5.0]),  # started by the first, which ends it
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "a"}, [30.0]),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, [30.0]),
    ]
    for told, seconds in cases:
        waited.clear()
        with monkeypatch.context() as scene:
            for name, value in told.items():
                scene.setenv(name, value)
            assert user_errors._speaks()
        assert waited == seconds


def test_a_process_that_is_gone_is_not_waited_for(monkeypatch):
    began = time.monotonic()
    stopped.wait_to_be_ended(0.3)
    assert time.monotonic() - began >= 0.3
    monkeypatch.setattr(os, "getppid", lambda: 1 + stopped._STARTED_BY)
    began = time.monotonic()
    stopped.wait_to_be_ended(60)
    assert time.monotonic() - began < 30


def test_who_keeps_the_numbers_may_be_gone(monkeypatch):
    class Gone:
        def add(self, *_):
            raise RuntimeError("Connection was likely closed")

    monkeypatch.setattr("torch.distributed.distributed_c10d._get_default_store", Gone)
    with pytest.raises(LostProcess, match="the process that keeps numbers has ended"):
        next_number("a key")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(user_errors, "wait_to_be_ended", lambda _: None)
    for number, speaks in (("1", True), ("2", False)):
        monkeypatch.setenv("LOCAL_RANK", number)
        assert user_errors._speaks() is speaks
