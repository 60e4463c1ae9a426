"""A process of a training is killed: the others end too, one sentence says it, and what was saved is whole."""

import os
import signal
import sys
import time
from pathlib import Path

import forked
import pytest
from composing import ROOT
from lightning import Callback
from test_ended import SCRIPT

from longtake.releases.checkpoints import read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SECONDS = 90
"""In which all processes are gone."""


class Killer(Callback):
    """Kills its own process, as the system does for want of memory, at a moment of the second step's end."""

    def __init__(self, *, rank: int, moment: str, notes: str) -> None:
        self.rank, self.moment, self.notes = rank, moment, Path(notes)

    def _kill(self, trainer, moment):
        if moment == self.moment and trainer.global_rank == self.rank and trainer.global_step >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_start(self, trainer, pl_module):
        (self.notes / f"{trainer.global_rank}").write_text(str(os.getpid()))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._kill(trainer, "step")

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._kill(trainer, "validation")

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self._kill(trainer, "saving")


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def started(tmp_path, videos, *changes, launcher=()):
    """Two processes, forked as Lightning or torchrun starts them; test_processes.py has a torchrun that is not."""
    file = tmp_path / "script.py"
    own = {"root": str(ROOT), "tests": str(ROOT / "tests"), "videos": str(videos), "run": str(tmp_path / "run")}
    small = ["~callbacks.samples", "clips_per_device=1", "backbone.depth=1", "lightning_module.validation_times=[0.5]"]
    file.write_text(SCRIPT.format(**own, overrides=[*changes, *small, "datamodule.num_validation_clips=2"]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return forked.Started([*launcher, file], cwd=tmp_path, env=environment, others=2 if launcher else 1)


def alive(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("launcher", "trainer", "rank", "moment"),
    [
        ((), "ddp_cpu", 1, "step"),
        ((), "ddp_cpu", 1, "validation"),
        ((), "ddp_cpu", 0, "saving"),
        ((), "fsdp2_cpu", 1, "saving"),
        (TORCHRUN, "fsdp2_cpu", 0, "step"),
    ],
)
def test_where_one_is_killed_all_end_and_what_was_saved_is_whole(videos, tmp_path, launcher, trainer, rank, moment):
    planted = {"_target_": "test_dying_ranks.Killer", "rank": rank, "moment": moment, "notes": tmp_path}
    changes = [f"trainer={trainer}", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    changes += [
        "callbacks.checkpoint.every_n_train_steps=1",
        "+optimizer.fused=true",
    ]  # whose first step on pieces is short
    changes += [f"+callbacks.killer.{key}={value}" for key, value in planted.items()]
    process = started(tmp_path, videos, *changes, launcher=launcher)
    began = time.monotonic()
    try:
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    pids = [int((tmp_path / str(number)).read_text()) for number in range(2)]
    while any(map(alive, pids)) and time.monotonic() - began < 300:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    assert process.returncode not in (0, None)
    told = said.count("another process of this run was ended from outside")
    if launcher:  # which may end the others before they know, and reports that
        assert "Signal 9 (SIGKILL)" in said
        assert told <= 1, said[-3000:]
        assert said.count("Traceback") == 1, said[-3000:]
    else:
        assert told == 1, said[-3000:]
        assert "Traceback" not in said, said[-3000:]
    saved = list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    assert saved
    for path in saved:
        assert read_checkpoint(path)["global_step"] in (1, 2)
