"""What a machine refuses ends in one sentence that says what to change, and leaves the last good state."""

import errno
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tiny_runs import config
from torch.utils.data import DataLoader, Dataset

from lightning_modules.denoising import DenoisingModule
from longtake.cli.training import train
from longtake.cli.user_errors import sentence
from longtake.failures import explain_failure
from networks.codecs.causal import CausalVideoAutoencoder

pytestmark = pytest.mark.slow

MEMORY = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000 bytes. Error code 12"  # noqa: E501


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError(MEMORY),
            ["out of memory (4000000000 bytes were asked for)", "clips_per_device", "windows_per_call"],
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), ["20.00 GiB", "clips_per_device"]),
        (MemoryError(), ["out of memory", "checkpoint_activations"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["out of memory"]),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x.mp4"), ["no room for /tmp/x.mp4", "are free there"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ["a disk is full"]),
        (OSError(errno.EFBIG, "File too large"), ["a disk is full"]),
        (SafetensorError("I/O error: No space left on device (os error 28)"), ["a disk is full"]),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), ["(pid 12)", "num_workers=0"]),
        (RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"), ["(pid 1, 2)", "resume=last"]),
        (BrokenProcessPool("A process in the process pool was terminated"), ["num_workers"]),
    ],
)
def test_each_failure_is_one_sentence(error, words):
    said = sentence(error)
    assert said is not None
    assert "\n" not in said
    for word in words:
        assert word in said


def test_other_errors_are_not_explained_away():
    for error in (RuntimeError("mat1 and mat2 shapes"), ValueError("out of memory is a text"), KeyError("memory")):
        assert explain_failure(error) is None
    assert explain_failure(SafetensorError("Error while deserializing header: HeaderTooLarge")) is None


class Ends(Dataset):
    """A reader that is killed, or fails with a sentence, in its process."""

    def __init__(self, killed: bool) -> None:
        self.killed = killed

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> int:
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a.safetensors holds NaN: remove it")


@pytest.mark.parametrize(("killed", "words"), [(True, "was ended from outside"), (False, "a.safetensors holds NaN")])
def test_a_loaders_process_is_answered_for(killed, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of another kind each
        list(DataLoader(Ends(killed), num_workers=1, multiprocessing_context="fork"))
    said = sentence(caught.value)
    assert said is not None
    assert words in said
    assert "Traceback" not in said


def test_out_of_memory_names_two_settings_with_figures(videos, tmp_path, monkeypatch):
    run, step = tmp_path / "run", DenoisingModule.training_step

    def grows(self, batch, batch_idx):
        if batch_idx == 4:
            raise RuntimeError(MEMORY)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", grows)
    with pytest.raises(ValueError, match="out of memory") as caught:
        train(config(videos, run))
    said = str(caught.value)
    assert "clips_per_device=2 (" in said
    assert "backbone.checkpoint_activations=true (" in said
    assert said.count("GiB") == 4
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def planted(cache, **changes):
    """Rewrites the first cached file with other tensors; its path."""
    path = next(file for file in sorted(cache.rglob("*.safetensors")) if "clips" in load_file(file))
    tensors = load_file(path)
    length = changes.pop("num_frames", None)
    with safe_open(path, "pt") as file:
        kept = file.metadata()
    save_file({**tensors, **{k: v(tensors) for k, v in changes.items()}}, path, metadata={**kept, **(length or {})})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"clips": lambda old: old["clips"][:, :, :, :2].contiguous()},
        {"clips": lambda old: old["clips"][:1].contiguous()},
        {"clips": lambda old: old["clips"].float()},
        {"starts": lambda old: old["starts"].float()},
        {"starts": lambda old: old["starts"] - 100},
        {"num_frames": {"num_frames": "x"}},
        {"num_frames": {"num_frames": "7"}},
    ],
)
def test_a_cached_file_with_something_else_inside_is_made_again(videos, tmp_path, changes):
    cache, own = tmp_path / "cache", [f"datamodule.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1"]
    train(config(videos, tmp_path / "first", *own))
    path = planted(cache, **dict(changes))
    spoiled = path.read_bytes()
    train(config(videos, tmp_path / "second", *own))
    assert path.read_bytes() != spoiled


def test_cached_clips_of_nan_are_named_by_file(videos, tmp_path):
    cache, own = tmp_path / "cache", [f"datamodule.cache_dir={tmp_path / 'cache'}"]
    train(config(videos, tmp_path / "first", *own, "trainer.max_steps=1"))
    path = planted(cache, clips=lambda old: torch.full_like(old["clips"], torch.nan))
    with pytest.raises(ValueError, match=r"holds NaN or infinite values: remove it") as caught:
        train(config(videos, tmp_path / "second", *own))
    assert str(path) in str(caught.value)
    assert "optimizer.lr" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cache_that_vanishes_is_named_and_the_last_state_is_kept(videos, tmp_path, monkeypatch, workers):
    cache, run, step = tmp_path / "cache", tmp_path / "run", DenoisingModule.training_step

    def loses(self, batch, batch_idx):
        if batch_idx == 4:
            for file in cache.rglob("*.safetensors"):
                file.unlink()
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", loses)
    own = [f"datamodule.cache_dir={cache}", f"datamodule.num_workers={workers}", "trainer.max_steps=9"]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a process's error comes as another kind
        train(config(videos, run, *own))
    said = sentence(caught.value)
    assert said is not None
    assert "is gone or broken since the run began" in said
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step in ((3,) if workers == 0 else (3, 6))  # a loader's process reads ahead
    monkeypatch.undo()
    train(config(videos, run, *own, f"resume={run}"))
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 9


def test_a_codec_that_gives_no_numbers_skips_the_video_by_name(videos, tmp_path, monkeypatch):
    original, cache, calls = CausalVideoAutoencoder.encode, tmp_path / "cache", []

    def spoils(self, video):
        calls.append(1)
        return original(self, video) * (torch.nan if len(calls) == 1 else 1)

    monkeypatch.setattr(CausalVideoAutoencoder, "encode", spoils)
    train(config(videos, tmp_path / "run", f"datamodule.cache_dir={cache}", "trainer.max_steps=1"))
    skipped = next(cache.rglob("skipped.json")).read_text()
    assert "the codec gives NaN" in skipped
    assert skipped.count(".mp4: ") == 1
