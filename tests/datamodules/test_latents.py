"""The cache under trouble, and batches over several processes and loader workers."""

import itertools
import os
import signal
import tarfile
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import torch
from clips import Mean, Words, module, ready
from lightning import LightningModule, Trainer
from video_files import make

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    for number in range(8):
        make(tmp_path / f"{number}.mp4", 10 + 3 * number, height=16, width=16)
        (tmp_path / f"{number}.txt").write_text("word " * (number % 3))
    return tmp_path


def marks(batch):
    """What tells batches apart."""
    return batch.video.shape[2], batch.frame_index[:, 0].tolist(), batch.video.mean(dim=(1, 2, 3, 4)).tolist()


KILLED = """
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r} + "/datamodules"]
from pathlib import Path
from clips import Mean, module
class Dies(Mean):
    def encode(self, video):
        done = [len(path.read_text().splitlines()) for path in Path({folder!r}, "cache").glob("[0-9a-f]*/*.jsonl")]
        if sum(done) == 8 + 3:  # 8 names, 3 films
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(video)
module(Path({folder!r}), codec=Dies()).prepare_data()
"""


@pytest.mark.slow
def test_a_killed_caching_keeps_what_it_had_and_ends_as_if_it_were_not(folder):
    script = KILLED.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(folder))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = forked.run(["-c", script], cwd=folder, env=environment)
    assert ended.returncode == -signal.SIGKILL
    assert len(module(folder).cache.missing(module(folder).entries())) == 5
    (tar,) = (folder / "cache").glob("[0-9a-f]*/*.tar")
    kept = tar.read_bytes()
    with tarfile.open(tar) as archive:  # ends where the kill was
        assert len(archive.getnames()) == 3
    data = ready(folder)
    assert tar.read_bytes() == kept
    fresh = ready(folder, cache_dir=str(folder / "fresh"))
    for one, other in zip(*(each.cache.clips(each.entries()) for each in (data, fresh)), strict=True):
        assert torch.equal(data.cache.read(one, 2), fresh.cache.read(other, 2))


@pytest.mark.parametrize(("name", "dtype"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_half_precision_is_stored_as_such_and_read_as_float(folder, name, dtype):
    exact, half = ready(folder), ready(folder, cache_dtype=name)
    assert half.cache.read(half.clips["train"][0], 2).dtype == dtype
    one, other = next(iter(exact.train_dataloader())), next(iter(half.train_dataloader()))
    assert other.video.dtype == torch.float32
    torch.testing.assert_close(other.video, one.video, atol=0.01, rtol=0)


def test_once_cached_nothing_is_decoded_or_encoded_and_no_caption_is_encoded_twice(folder, monkeypatch):
    ready(folder)
    before = Mean.calls
    monkeypatch.setattr("datamodules.caching.settings.stream_frames", lambda *_, **__: pytest.fail("decoded again"))
    monkeypatch.setattr("datamodules.caching.names._hash", lambda *_: pytest.fail("hashed again"))
    monkeypatch.setattr(Words, "encode", lambda *_: pytest.fail("encoded again"))
    data = ready(folder)
    list(itertools.islice(data.train_dataloader(), 5))
    assert Mean.calls == before


def test_loader_workers_change_no_batch(folder):
    alone = list(itertools.islice(ready(folder).train_dataloader(), 7))
    loader = iter(ready(folder, num_workers=2).train_dataloader())
    assert [marks(next(loader)) for _ in alone] == [marks(batch) for batch in alone]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_see_what_one_sees(folder, accumulate):
    def seen(world_size, accumulate):
        rows = {}
        for rank in range(world_size):
            data = ready(folder, global_batch_size=4, batch_size=4 // (world_size * accumulate))
            data.trainer = SimpleNamespace(
                global_step=2, accumulate_grad_batches=accumulate, global_rank=rank, world_size=world_size
            )
            for number, batch in enumerate(itertools.islice(data.train_dataloader(), 6 * accumulate)):
                length, *columns = marks(batch)
                rows.setdefault(number // accumulate, []).extend((length, *row) for row in zip(*columns, strict=True))
        return {step: sorted(found) for step, found in rows.items()}

    one, two = seen(1, 1), seen(2, accumulate)
    assert all(len(rows) == 4 for rows in one.values())
    assert one == two


def test_validation_clips_are_shared_out_and_too_few_are_refused(folder):
    data = ready(folder, num_validation_clips=3)
    whole = sorted(row for batch in data.val_dataloader() for row in marks(batch)[2])
    rows = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        rows += [row for batch in data.val_dataloader() for row in marks(batch)[2]]
    assert sorted(rows) == whole
    data.trainer = SimpleNamespace(global_rank=0, world_size=4)
    with pytest.raises(ValueError, match="3 clips of the split 'validation' cannot be shared out over 4 processes"):
        data.val_dataloader()


class Recorder(LightningModule):
    """Writes down what it is given."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(marks(batch))
        return self.layer(batch.video.mean().reshape(1, 1)).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "num_workers"), [(1, 0), (2, 0), (1, 2)])
def test_a_trainer_that_stops_midway_goes_on_with_the_batches_that_were_left(folder, accumulate, num_workers):
    """Also where the loader's workers had drawn ahead of what was trained on."""

    def fit(max_steps, resume):
        recorder = Recorder()
        trainer = Trainer(
            accelerator="cpu", max_steps=max_steps, accumulate_grad_batches=accumulate, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
            use_distributed_sampler=False,
        )  # fmt: skip
        data = module(folder, batch_size=2 // accumulate, num_workers=num_workers)
        trainer.fit(recorder, datamodule=data, ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(folder / f"{max_steps}.ckpt")
        return recorder.seen

    whole, first = fit(7, None), fit(3, None)
    rest = fit(7, folder / "3.ckpt")
    assert len(whole) == 7 * accumulate
    assert first + rest == whole


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_frames": []}, "num_frames"),
        ({"hop_frames": 0}, "hop_frames=0 must be at least 1"),
        ({"fps": 0}, "fps=0 must be above 0.*frame_stride=1 keeps every frame"),
        ({"frame_stride": 0}, "frame_stride=0 must be at least 1"),
        ({"frame_stride": 1.5}, "frame_stride=1.5 must be a whole number"),
        ({"num_validation_clips": 0}, "num_validation_clips=0 must be at least 1"),
        ({"validation_share": 1.0}, r"validation_share=1\.0"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        module(tmp_path / "nowhere", **changes)


def test_a_length_that_no_video_has_is_left_out_and_said(folder, caplog):
    data = ready(folder, num_frames=[5, 9, 101])
    assert {marks(batch)[0] for batch in itertools.islice(data.train_dataloader(), 6)} == {2, 3}
    assert "num_frames=[101]" in caplog.text
