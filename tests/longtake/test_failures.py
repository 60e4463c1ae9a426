"""What a machine refuses ends in one sentence that says what to change, and leaves the last good state."""

import errno
import itertools
import json
import os
import re
import signal
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
import torch
from composing import composed
from hydra.utils import instantiate
from safetensors import SafetensorError
from tiny_runs import config
from torch.utils.data import DataLoader, Dataset

from lightning_modules.denoising import DenoisingModule
from longtake.cli.training import train
from longtake.cli.user_errors import sentence
from longtake.cost.advice import out_of_memory
from longtake.failures import explain_failure
from networks.codecs.causal import CausalVideoAutoencoder

SMALL = ("callbacks.samples=null", "lightning_module.validation_times=[0.5]", "backbone.depth=1")
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


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "words"), [(True, "was ended from outside"), (False, "a.safetensors holds NaN")])
def test_a_loaders_process_is_answered_for(killed, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of another kind each
        list(DataLoader(Ends(killed), num_workers=1, multiprocessing_context="fork"))
    said = sentence(caught.value)
    assert said is not None
    assert words in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_out_of_memory_names_two_settings_with_figures(videos, tmp_path, monkeypatch):
    run, step = tmp_path / "run", DenoisingModule.training_step

    def grows(self, batch, batch_idx):
        if batch_idx == 4:
            raise RuntimeError(MEMORY)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", grows)
    with pytest.raises(ValueError, match="out of memory") as caught:
        train(config(videos, run, *SMALL[:2]))
    said = str(caught.value)
    assert "clips_per_device=2 (" in said
    assert "backbone.checkpoint_activations=true (" in said
    assert said.count("GiB") == 4  # with each, now, and of the optimizer
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "clips", "settings"),
    [
        (("experiment=lovic_freedoom",), 16, ("clips_per_device=8", "backbone.checkpoint_activations=true")),
        (("experiment=flexformer_freedoom",), 8, ("clips_per_device=4", "datamodule.segments_per_row=3")),
        ((), 1, ("backbone.checkpoint_activations=true", "datamodule.num_frames=[77]")),
    ],
    ids=["memory", "compression", "one clip"],
)
def test_settings_against_want_of_memory_hold_what_is_predicted(changes, clips, settings):
    cfg = composed("train", *changes)
    codec = SimpleNamespace(channels=cfg.codec.channels, space_factor=8, time_factor=4)
    said = out_of_memory(cfg, instantiate(cfg.lightning_module), codec, clips)
    first, second, now = (float(size) for size in re.findall(r"([\d.]+) GiB", said)[:3])
    assert all(f"{setting} (" in said for setting in settings)
    assert max(first, second) < 0.9 * now
    if clips > 1:
        assert first == pytest.approx(now / 2, rel=0.01)


FAULTS = [
    *({"rows": "x"}, {"rows": -1}, {"rows": 10**9}, {"bytes": 7}),
    *({"at": -5}, {"at": 2.5}, {"at": 1 << 70}, {"key": "no"}),
]


def shard_of_films(cache):
    """The one index of films, and its lines."""
    (index,) = (path for path in cache.rglob("*.jsonl") if (path.parent / "settings.json").is_file())
    return index, [json.loads(line) for line in index.read_text().splitlines()]


@pytest.mark.slow
def test_films_whose_places_make_no_sense_are_made_again(videos, tmp_path):
    """Each line of the index is broken in a way of its own, and so often that each way has its turn."""
    cache, own = tmp_path / "cache", [f"datamodule.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1"]
    train(config(videos, tmp_path / "first", *own))
    index, lines = shard_of_films(cache)
    before = {index}
    for number, group in enumerate((FAULTS[: len(lines)], FAULTS[-len(lines) :])):
        faults = itertools.islice(itertools.cycle(group), len(lines))
        broken = [{**line, **fault} for line, fault in zip(lines, faults, strict=True)]
        for path in before - {index}:
            path.unlink()
            path.with_suffix(".tar").unlink()
        index.write_text("".join(json.dumps(line) + "\n" for line in broken))
        train(config(videos, tmp_path / f"again {number}", *own))
        before = set(index.parent.glob("*.jsonl"))
        assert sum(len(path.read_text().splitlines()) for path in before - {index}) == len(lines)


@pytest.mark.slow
def test_cached_films_of_nan_are_named_by_file(videos, tmp_path):
    cache, own = tmp_path / "cache", [f"datamodule.cache_dir={tmp_path / 'cache'}"]
    train(config(videos, tmp_path / "first", *own, "trainer.max_steps=1"))
    index, lines = shard_of_films(cache)
    path = index.with_suffix(".tar")
    with path.open("rb+") as file:
        for line in lines:
            file.seek(line["at"])
            file.write(b"\x00\x7e" * (line["bytes"] // 2))  # NaN in half precision
    with pytest.raises(ValueError, match=r"holds NaN or infinite values: remove it") as caught:
        train(config(videos, tmp_path / "second", *own))
    assert str(path) in str(caught.value)
    assert "optimizer.lr" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_cache_that_vanishes_is_named_and_the_last_state_is_kept(videos, tmp_path, monkeypatch, workers):
    cache, run, step = tmp_path / "cache", tmp_path / "run", DenoisingModule.training_step

    def loses(self, batch, batch_idx):
        if batch_idx == 4:
            for file in cache.rglob("*.tar"):
                os.truncate(file, 0)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", loses)
    own = [f"datamodule.cache_dir={cache}", f"datamodule.num_workers={workers}", "trainer.max_steps=9", *SMALL]
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


@pytest.mark.slow
def test_a_codec_that_gives_no_numbers_skips_the_video_by_name(videos, tmp_path, monkeypatch):
    original, cache, calls = CausalVideoAutoencoder.encode_stream, tmp_path / "cache", []

    def spoils(self, pieces):
        calls.append(1)  # the first stream tells how long the work will be
        return (latents * (torch.nan if len(calls) == 2 else 1) for latents in original(self, pieces))

    monkeypatch.setattr(CausalVideoAutoencoder, "encode_stream", spoils)
    train(config(videos, tmp_path / "run", f"datamodule.cache_dir={cache}", "trainer.max_steps=1"))
    skipped = json.loads(next(cache.rglob("skipped.json")).read_text())
    assert len(skipped) == 1
    assert all("the codec gives NaN" in reason for reason in skipped.values())
