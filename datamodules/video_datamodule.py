"""VideoDataModule: anybody's videos as batches of latents (or pixels).

Axes: b batch, c channels, f frames, h height, w width; l text tokens, e text features.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic

import torch
from lightning import LightningDataModule
from rich.progress import Progress
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from datamodules.cache import Clip, ClipCache, ClipSettings, cache_text, text_key
from datamodules.sampling import BatchPlan, Item, Plan, share_of
from datamodules.tables import SPLIT_NAMES, Entry, log_splits, read_entries, share_out
from networks.codecs.rules import check_size
from networks.interfaces import Codec, SegmentBatch, TextEncoder, VideoBatch

log = logging.getLogger("longtake")

CROPS = ("centre", "random")
TEXT_MULTIPLE = 64
"""Texts are padded to multiples of so many tokens: compiled code meets few shapes then."""
Batch = VideoBatch | SegmentBatch


class VideoDataModule(LightningDataModule):
    """Videos of a folder or table, cached as clips, drawn in batches of one length each.

    What was trained on before a checkpoint follows from its step alone, so that a resumed run sees exactly the
    batches it would have seen.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        text_encoder: TextEncoder,
        global_batch_size: int,
        batch_size: int,
        seed: int,
        make: Callable[[], object] | None,
        root: str,
        table: str | None,
        height: int,
        width: int,
        fps: float,
        num_frames: list[int],
        hop_frames: int,
        cut_frames: int | None,
        crop: str,
        pixels: bool,
        cache_dir: str,
        cache_dtype: str,
        validation_share: float,
        num_validation_clips: int,
        num_workers: int,
    ) -> None:
        """Checks sizes; nothing is read yet.

        make: called once before anything is read, to make the videos; None where they are there already.
        root: folder of videos; table: CSV or JSONL, or None for the folder itself; fps: target rate, 0 keeps all
        frames; num_frames: clip lengths in pixel frames, mixed by equal samples per length; hop_frames: distance of
        the starts of cached clips; cut_frames: train on so many frames as stored, from anywhere in a clip, None: on
        whole clips; pixels: batches of pixels instead of latents, for training a codec;
        validation_share: of videos, where the table has no column `split`.

        Raises:
            ValueError: if a size breaks the codec's rules.
        """
        super().__init__()
        if crop not in CROPS:
            raise ValueError(f"datamodule.crop={crop} must be one of {', '.join(CROPS)}")
        if not num_frames:
            raise ValueError("datamodule.num_frames=[] names no clip length; give at least one, such as [37]")
        if not 0 <= validation_share < 1:
            raise ValueError(f"datamodule.validation_share={validation_share} must be at least 0 and below 1")
        least = (("fps", fps, 0), ("hop_frames", hop_frames, 1), ("num_validation_clips", num_validation_clips, 1))
        for name, value, smallest in least:
            if value < smallest:
                raise ValueError(f"datamodule.{name}={value} must be at least {smallest}")
        for length in num_frames:
            check_size(length, height, width, codec.time_factor, codec.space_factor, "datamodule")
        self.codec, self.text_encoder = codec, text_encoder
        self.global_batch_size, self.batch_size, self.seed = global_batch_size, batch_size, seed
        self.make = make
        self.root, self.table = Path(root), table
        self.height, self.width, self.fps = height, width, fps
        self.num_frames = sorted(num_frames)
        self.cut_frames = cut_frames
        self.pixels = pixels
        self.validation_share = validation_share
        self.num_validation_clips = num_validation_clips
        self.num_workers = num_workers
        if cut_frames is not None and not 1 <= cut_frames <= self._stored_frames(self.num_frames[0]):
            raise ValueError(
                f"datamodule.cut_frames={cut_frames} must be at least 1 and at most the "
                f"{self._stored_frames(self.num_frames[0])} latent frames of a clip of {self.num_frames[0]}"
            )
        settings = ClipSettings(height, width, fps, tuple(self.num_frames), hop_frames, crop, cache_dtype)
        self.cache = ClipCache(folder=cache_dir, settings=settings, codec=None if pixels else codec)
        self.text_folder = Path(cache_dir) / f"text_{text_encoder.fingerprint}"

    def entries(self) -> list[Entry]:
        """All videos with their splits."""
        return share_out(read_entries(self.root, self.table), self.validation_share, self.seed)

    def prepare_data(self) -> None:
        """Makes the videos if that is asked for and fills the caches; once a machine."""
        if self.make is not None:
            self.make()
        listed = read_entries(self.root, self.table)
        entries = share_out(listed, self.validation_share, self.seed)
        log_splits(listed, entries)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for part in (self.codec, self.text_encoder):
            if isinstance(part, torch.nn.Module):
                part.to(device)
        with Progress(transient=True) as progress:
            task = progress.add_task("caching clips", total=len(entries))
            self.cache.fill(entries, lambda: progress.advance(task))
        cache_text(self.text_folder, [entry.caption for entry in entries], self.text_encoder.encode)

    def setup(self, stage: str) -> None:
        """Lists the clips of every split."""
        clips = self.cache.clips(self.entries())
        self.texts = load_file(self.text_folder / "text.safetensors")
        self.clips = {name: [c for c in clips if c.entry.split == name] for name in SPLIT_NAMES}

    def validation_captions(self) -> list[str]:
        """Captions of the validation videos, one a video."""
        return list(dict.fromkeys(clip.entry.caption for clip in self.clips["validation"]))

    def _stored_frames(self, num_frames: int) -> int:
        return num_frames if self.pixels else (num_frames - 1) // self.codec.time_factor + 1

    def _places(self, num_frames: int) -> int:
        """At how many places a clip of a length can be cut."""
        return 1 if self.cut_frames is None else self._stored_frames(num_frames) - self.cut_frames + 1

    def batch(self, clips: Sequence[Clip], num_frames: int, starts: Sequence[int]) -> VideoBatch:
        """Of each clip, frames as stored from a start on: cut_frames, or all of num_frames pixel frames."""
        stored = self._stored_frames(num_frames) if self.cut_frames is None else self.cut_frames
        video = torch.stack([ClipCache.read(c, stored, start) for c, start in zip(clips, starts, strict=True)]).float()
        if self.pixels:
            video = video / 127.5 - 1
        factor = 1 if self.pixels else self.codec.time_factor
        first = torch.tensor([[c.start / factor + start] for c, start in zip(clips, starts, strict=True)])
        text, mask = pad_text([self.texts[text_key(clip.entry.caption)] for clip in clips])
        return VideoBatch(video, first + torch.arange(stored), text, mask)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless; begins at the step that the trainer is at."""
        clips = self.clips["train"]
        cuts = [(clip, start) for clip in clips for start in range(self._places(clip.num_frames))]

        def read(numbers: list[int], length: int) -> VideoBatch:
            return self.batch([cuts[i][0] for i in numbers], length, [cuts[i][1] for i in numbers])

        return self.endless(self.plan([clip for clip, _ in cuts]), read)

    def plan(self, clips: Sequence[Clip]) -> BatchPlan:
        """The order in which clips are drawn, by their numbers."""
        by_length = {n: [i for i, c in enumerate(clips) if c.num_frames >= n] for n in self.num_frames}
        absent = [n for n, numbers in by_length.items() if not numbers]
        if clips and absent:
            log.warning(f"no training video is long enough for datamodule.num_frames={absent}: these are left out")
        return BatchPlan(clips_by_length=by_length, global_batch_size=self.global_batch_size, seed=self.seed)

    def endless(self, plan: Plan[Item], read: Callable[[list[Item], int], Batch]) -> DataLoader[Batch]:
        """The share of a plan that is this process's, from the step that the trainer is at."""
        trainer = self.trainer
        assert trainer is not None
        stream = BatchStream(
            plan=plan,
            read=read,
            first_step=trainer.global_step,
            accumulate=trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            batch_size=self.batch_size,
        )
        # Forked, so that clips and texts are shared and not sent.
        context = "fork" if self.num_workers else None
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, multiprocessing_context=context)

    def fixed_batch(self, clips: Sequence[Clip], num_frames: int) -> Batch:
        """The same batch of the same clips, every time; for validation and test. Cuts begin anywhere in a clip."""
        return self.batch(clips, num_frames, [clip.number % self._places(num_frames) for clip in clips])

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same clips every time: evenly spaced over the validation videos, at the longest length they have."""
        return self._fixed_loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same for the test videos."""
        return self._fixed_loader("test")

    def _fixed_loader(self, split: str) -> DataLoader[Batch]:
        clips = self.clips[split]
        if not clips:
            raise ValueError(f"no video of the split {split!r} could be used; add some, or set validation_share")
        longest = max(clip.num_frames for clip in clips)
        clips = [clip for clip in clips if clip.num_frames == longest]
        step = max(len(clips) / self.num_validation_clips, 1.0)
        chosen = [clips[int(i * step)] for i in range(min(self.num_validation_clips, len(clips)))]
        trainer = self.trainer
        if trainer is not None and len(chosen) < trainer.world_size:
            # A process without a batch would leave the others waiting for its losses.
            raise ValueError(
                f"{len(chosen)} clips of the split {split!r} cannot be shared out over {trainer.world_size} processes; "
                "use fewer processes, more videos, or a higher datamodule.num_validation_clips"
            )
        mine = chosen[trainer.global_rank :: trainer.world_size] if trainer is not None else chosen
        groups = [mine[i : i + self.batch_size] for i in range(0, len(mine), self.batch_size)]
        return DataLoader(FixedBatches(groups, lambda group: self.fixed_batch(group, longest)), batch_size=None)


class BatchStream(IterableDataset[Batch], Generic[Item]):
    """One process's share of every optimizer step's batch, from a step on."""

    def __init__(
        self,
        *,
        plan: Plan[Item],
        read: Callable[[list[Item], int], Batch],
        first_step: int,
        accumulate: int,
        rank: int,
        world_size: int,
        batch_size: int,
    ) -> None:
        """read: drawn clips, and a length in pixel frames, to a batch; the rest as in sampling.share_of."""
        self.plan, self.read = plan, read
        self.first_step, self.accumulate = first_step, accumulate
        self.rank, self.world_size, self.batch_size = rank, world_size, batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Loader workers take turns, so that the order is the same for any number of them."""
        worker = get_worker_info()
        turn, turns = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number = self.first_step * self.accumulate + turn
        while True:
            step, micro = divmod(number, self.accumulate)
            draw = self.plan.draw(step)
            mine = share_of(
                draw.clips, micro=micro, rank=self.rank, world_size=self.world_size, batch_size=self.batch_size
            )
            yield self.read(mine, draw.num_frames)
            number += turns


class FixedBatches(Dataset[Batch]):
    """A fixed list of batches."""

    def __init__(self, groups: list[list[Clip]], read: Callable[[list[Clip]], Batch]) -> None:
        """groups: the clips of each batch."""
        self.groups, self.read = groups, read

    def __len__(self) -> int:
        """How many batches."""
        return len(self.groups)

    def __getitem__(self, place: int) -> Batch:
        """One batch."""
        return self.read(self.groups[place])


def pad_text(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Features l e of different lengths to b l e and b l, with l a multiple of TEXT_MULTIPLE; 1 where none has more."""
    longest = max(1, *(len(text) for text in texts))
    if longest > 1:
        longest = -(-longest // TEXT_MULTIPLE) * TEXT_MULTIPLE
    padded = torch.zeros(len(texts), longest, texts[0].shape[1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = True
    return padded, mask
