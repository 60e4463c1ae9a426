"""A checkpoint in pieces is whole or not there, whenever its processes are killed."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import forked
import pytest
import torch
from torch.distributed import checkpoint as pieces

from longtake.releases.checkpoint_files import WholeCheckpoints
from networks.files import remove_unfinished, replace_folder

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())

SCRIPT = """
import os, sys, torch
sys.path.insert(0, {root!r})
from pathlib import Path
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import distributed
from longtake.releases.sharded import WholeModelParallel

class Strategy(WholeModelParallel):
    _save_distributed_checkpoint = True
    global_rank = property(lambda self: distributed.get_rank())
    def barrier(self, name=None): distributed.barrier()
    def broadcast(self, obj, src=0):
        box = [obj]
        distributed.broadcast_object_list(box, src)
        return box[0]

def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method="file://" + folder + "/init", rank=rank, world_size=2)
    strategy = Strategy()
    for step in range(10**6):
        state = {{f"{{name}}.{{rank}}": torch.full((200_000,), float(step)) for name in "ab"}}
        strategy.save_checkpoint({{"global_step": step, "state_dict": state}}, Path(folder, "last.ckpt"))
        if rank == 0:
            print(step, flush=True)

if __name__ == "__main__":
    # Forked: what takes seconds to import is there already.
    torch.multiprocessing.start_processes(work, ({folder!r},), nprocs=2, start_method="fork")
"""


def read(folder):
    """The step of a checkpoint, of whose every number it is asserted that it is of this step."""
    step = torch.load(folder / "meta.pt", weights_only=True)["global_step"]
    state = {f"{name}.{rank}": torch.empty(200_000) for name in "ab" for rank in (0, 1)}
    pieces.load({"state_dict": state}, checkpoint_id=folder, no_dist=True)
    assert all(torch.equal(x, torch.full_like(x, float(step))) for x in state.values())
    return step


@pytest.mark.slow
def test_two_processes_that_are_killed_while_they_save_leave_a_whole_checkpoint(tmp_path):
    script, dice, last = tmp_path / "saving.py", random.Random(0), -1
    script.write_text(SCRIPT.format(root=str(ROOT), folder=str(tmp_path)))
    for kill in range(3):
        (tmp_path / "init").unlink(missing_ok=True)
        started = forked.Started([script], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, leads=True)
        for _ in range(1 + kill):
            last = int(started.stdout.readline())
        time.sleep(dice.uniform(0, 0.3))
        os.killpg(started.pid, signal.SIGKILL)
        started.stdout.read()  # until the last of them is gone
        started.wait(60)
        left = [path for path in (tmp_path / "last.ckpt", tmp_path / "last.old.ckpt") if path.is_dir()]
        assert left
        assert max(map(read, left)) >= last
    until = time.monotonic() + 20
    while list(tmp_path.glob("*.part")) and time.monotonic() < until:  # dead, and not yet reaped
        remove_unfinished(tmp_path)
        time.sleep(0.2)
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_takes_the_place_of_another_or_of_a_file(tmp_path):
    for old in ("folder", "file", "nothing"):
        new, place = tmp_path / "new", tmp_path / f"{old}.ckpt"
        new.mkdir()
        (new / "a").write_text("new")
        if old == "folder":
            place.mkdir()
            (place / "b").write_text("old")
        elif old == "file":
            place.write_text("old")
        replace_folder(new, place)
        assert [path.name for path in place.iterdir()] == ["a"]
        assert not new.exists()
    assert not list(tmp_path.glob("*.old.ckpt"))


def test_a_folder_whose_removal_is_cut_off_is_taken_for_no_checkpoint(tmp_path, monkeypatch):
    new, place = tmp_path / "new", tmp_path / "last.ckpt"
    for folder in (new, place):
        folder.mkdir()
        (folder / "a").write_text(folder.name)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        replace_folder(new, place)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    assert (place / "a").read_text() == "new"
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2  # that, and what is left of the old one


def test_a_checkpoint_whose_removal_is_cut_off_is_taken_for_none(tmp_path, monkeypatch):
    (tmp_path / "step_1.ckpt").mkdir()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        WholeCheckpoints().remove_checkpoint(tmp_path / "step_1.ckpt")
    assert not list(tmp_path.glob("*.ckpt"))
