"""VideoDataModule: anybody's videos as batches of latents (or pixels).

Axes: b batch, c channels, f frames, h height, w width; l text tokens, e text features.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batches import Batch, BatchStream, FixedBatches, leave_group, pad_text
from datamodules.cache import ClipCache
from datamodules.caching.ahead import side_by_side
from datamodules.caching.portions import Portion
from datamodules.caching.settings import ClipSettings
from datamodules.caching.texts import TextCache
from datamodules.caching.work import cache_all, refuse_missing
from datamodules.clips import Clip, lengths_of, spread_over
from datamodules.controls import FilmControl
from datamodules.extraction import Numbers
from datamodules.sampling import BatchPlan, Cut, CutPlan, Item, Plan, WordedPlan
from datamodules.splits import fill_splits, log_splits, share_out
from datamodules.tables import SPLIT_NAMES, Entry, read_entries
from longtake.compat.lightning import data_place
from networks.control import NAME, FrameControl
from networks.interfaces import Codec, TextEncoder, VideoBatch
from networks.ranges import Count, Dtype, Positive, Seed, Share, Size, Sizes, Text

log = logging.getLogger("longtake")

READ_AHEAD = 8  # batches, from a server
AnyNumber = TypeVar("AnyNumber", int, Numbers)


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
        seed: Seed,
        make: Callable[[], object] | None,
        root: Text,
        table: Text | None,
        height: Size,
        width: Size,
        fps: Positive,
        frame_stride: Size | None,
        num_frames: Sizes,
        hop_frames: Size,
        cut_frames: Size | None,
        crop: Literal["centre", "random"],
        pixels: bool,
        cache_dir: Text,
        cache_dtype: Dtype | Literal["uint8"],
        validation_share: Share,
        num_validation_clips: Size,
        num_workers: Count,
        short_caption_share: Share,
        control: FrameControl | None = None,
    ) -> None:
        """Checks sizes; nothing is read yet.

        Args:
            codec: encodes pixels to the latents that are cached, and decodes them.
            text_encoder: encodes captions to the features that are cached.
            global_batch_size: clips of an optimizer step, over all processes and accumulated batches.
            batch_size: clips that one process sees at once.
            seed: seed of splits and of the order of clips.
            make: called once before anything is read, to make the videos; None where they are there already.
            root: folder of the videos.
            table: CSV, JSONL, JSON or Parquet file that names the videos; None for the folder itself.
            height: height of the clips in pixels.
            width: width of the clips in pixels.
            fps: frames a second, above 0, that clips are taken at and played at.
            frame_stride: keeps every so many of a file's frames instead, whatever its rate, to be played at fps; None:
                by fps.
            num_frames: clip lengths in pixel frames, by the codec's rule; each length gives equally many samples.
            hop_frames: pixel frames between the starts of two clips of a film.
            cut_frames: number of frames, as stored, that are trained on, from anywhere in a clip; None: whole clips.
            crop: where a film that is too wide or too high is cut.
            pixels: whether batches hold pixels instead of latents, for training a codec.
            cache_dir: folder of the caches, or a URL that is only read.
            cache_dtype: type of the cached latents, or "uint8" for pixels.
            validation_share: share of the videos, in [0, 1), for validation, where the table has no column `split`.
            num_validation_clips: clips of a validation, over all processes.
            num_workers: processes of each process that load batches; 0: none.
            short_caption_share: share of training samples, in [0, 1], that get the text of the column `short_text`,
                where there is one.
            control: the network's control, whose numbers of every frame are read from the files that the table's column
                `control` or `poses` names; None: none.

        Raises:
            ValueError: if a size breaks the codec's rules.
        """
        super().__init__()
        lengths = tuple(sorted(num_frames))
        settings = ClipSettings(height, width, fps, lengths, hop_frames, crop, cache_dtype, frame_stride)
        settings.check(codec.time_factor, codec.space_factor)
        if not 0 <= short_caption_share <= 1:
            raise ValueError(f"datamodule.short_caption_share={short_caption_share} must be between 0 and 1")
        if not 0 <= validation_share < 1:
            raise ValueError(f"datamodule.validation_share={validation_share} must be at least 0 and below 1")
        if num_validation_clips < 1:
            raise ValueError(f"datamodule.num_validation_clips={num_validation_clips} must be at least 1")
        self.codec, self.text_encoder = codec, text_encoder
        self.global_batch_size, self.batch_size, self.seed = global_batch_size, batch_size, seed
        self.make, self.validation_share, self.short_caption_share = make, validation_share, short_caption_share
        self.root, self.table, self.height, self.width, self.fps = Path(root), table, height, width, fps
        self.num_frames = list(lengths)
        self.cut_frames, self.pixels = cut_frames, pixels
        self.num_validation_clips, self.num_workers = num_validation_clips, num_workers
        if cut_frames is not None and not 1 <= cut_frames <= self._stored_frames(self.num_frames[0]):
            raise ValueError(
                f"datamodule.cut_frames={cut_frames} must be at least 1 and at most the "
                f"{self._stored_frames(self.num_frames[0])} latent frames of a clip of {self.num_frames[0]}"
            )
        self.cache = ClipCache(folder=cache_dir, settings=settings, codec=None if pixels else codec)
        self.texts = TextCache(f"{self.cache.root}/text_{text_encoder.fingerprint}", text_encoder.features)
        self.control = None if control is None or pixels else FilmControl(control)
        self._listed: list[Entry] | None = None
        self._shared: list[Entry] | None = None

    def listed(self) -> list[Entry]:
        """All videos as the folder or table names them; read once."""
        if self._listed is None:
            self._listed = read_entries(self.root, self.table)
        return self._listed

    @property
    def parts(self) -> Sequence["VideoDataModule"]:
        """What has a cache each: itself, or the sets that it mixes."""
        return [self]

    def entries(self) -> list[Entry]:
        """All videos with their splits; those that nothing is known of yet are taken for films of their own."""
        if self._shared is None:
            films = self.cache.films_of(self.listed())
            self._shared = share_out(self.listed(), self.validation_share, self.seed, films)
        return self._shared

    def prepare_data(self) -> None:
        """Makes the videos if that is asked for and fills the caches; once a machine.

        Raises:
            ValueError: if something is missing and several machines would wait for it.
        """
        if self.trainer is not None and self.trainer.num_nodes > 1:
            refuse_missing(self, self.trainer.num_nodes)
        self.fill(Portion())

    def fill(self, portion: Portion) -> None:
        """Makes the videos if that is asked for, and caches a share of the films and texts."""
        if self.make is not None and portion.world == 1:  # one process renders for all
            self.make()
        self._listed = self._shared = None
        self.cache.keys(portion.of(self.listed()))  # copies are known before anything is encoded
        log_splits(self.listed(), self.entries(), self.cache.films_of(self.listed()))
        cache_all(self, self.listed(), portion)

    def setup(self, stage: str) -> None:
        """Lists the clips of every split; looks at no film."""
        keys = self.cache.keys(self.listed(), look=False)
        self._shared = None  # by the films that are known by now
        usable, films = self.cache.usable(self.entries(), keys)
        split: dict[str, tuple[list[Entry], list[int]]] = {name: ([], []) for name in SPLIT_NAMES}
        for entry, film in fill_splits(usable, films, self.listed(), self.seed):
            if entry.split in split:
                split[entry.split][0].append(entry)
                split[entry.split][1].append(film)
        self.clips: dict[str, Sequence[Clip]] = {name: self.cache.cut(*found) for name, found in split.items()}
        self.cache.forget_names()  # not needed while training, nor in the loader's processes
        self.texts.shards.refresh()
        if self.short_caption_share and not any(entry.short_caption for entry in split["train"][0]):
            log.warning(
                f"datamodule.short_caption_share={self.short_caption_share} does nothing: no training video of "
                f"{self.root} has a text in a column short_text of its table"
            )

    def validation_captions(self) -> list[str]:
        """Captions of the validation videos, one a video."""
        return list(dict.fromkeys(clip.entry.caption for clip in self.clips["validation"]))

    def _stored_frames(self, num_frames: AnyNumber) -> AnyNumber:
        return num_frames if self.pixels else (num_frames - 1) // self.codec.time_factor + 1

    def _places(self, num_frames: AnyNumber) -> AnyNumber:
        """At how many places clips of some length can be cut."""
        return num_frames * 0 + 1 if self.cut_frames is None else self._stored_frames(num_frames) - self.cut_frames + 1

    def read_with_texts(
        self, reads: Sequence[Callable[[], Tensor]], words: Sequence[tuple[Entry, bool]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What reads return, and features l e of videos' captions; from a server all at once, and each text once.

        words: of each text its video, and whether the short caption is asked for, which counts where there is one.
        """
        captions = [entry.short_caption if short and entry.short_caption else entry.caption for entry, short in words]
        once = list(dict.fromkeys(captions))
        calls: list[Callable[[], Tensor]] = [*reads, *(partial(self.texts.read, caption) for caption in once)]
        found = [call() for call in calls] if self.cache.is_local else side_by_side(calls)
        features = dict(zip(once, found[len(reads) :], strict=True))
        return found[: len(reads)], [features[caption] for caption in captions]

    def batch(
        self, clips: Sequence[Clip], num_frames: int, starts: Sequence[int], short: Sequence[bool] | None = None
    ) -> VideoBatch:
        """A batch of stretches of clips, as stored.

        Each begins at its start in its clip, and has `cut_frames` latent frames, or else num_frames pixel frames.

        short: which clips get their short caption; None: none.
        """
        short = [False] * len(clips) if short is None else short
        stored = self._stored_frames(num_frames) if self.cut_frames is None else self.cut_frames
        reads = [partial(self.cache.read, clip, stored, start) for clip, start in zip(clips, starts, strict=True)]
        words = [(clip.entry, is_short) for clip, is_short in zip(clips, short, strict=True)]
        latents, texts = self.read_with_texts(reads, words)
        video = torch.stack(latents).float()
        if self.pixels:
            video = video / 127.5 - 1
        factor = 1 if self.pixels else self.codec.time_factor
        first = torch.tensor([[c.start / factor + start] for c, start in zip(clips, starts, strict=True)])
        text, mask = pad_text(texts)
        per_frame = self.per_frame([(clip, start, stored) for clip, start in zip(clips, starts, strict=True)])
        return VideoBatch(video, first + torch.arange(stored), text, mask, per_frame=per_frame)

    def per_frame(self, cuts: Sequence[tuple[Clip, int, int]]) -> dict[str, Tensor]:
        """Further inputs by name, b f d; cuts: a clip, its first frame as stored and how many of each row."""
        if self.control is None:
            return {}
        rows = [
            self.control.read(
                clip.entry, self.cache.films.length(clip.film), clip.start // self.codec.time_factor + start, count
            )
            for clip, start, count in cuts
        ]
        return {NAME: torch.stack(rows)}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless; begins at the step that the trainer is at."""
        clips = self.clips["train"]

        def read(samples: list[tuple[Cut, bool]], length: int) -> VideoBatch:
            drawn = [clips[cut.clip] for cut, _ in samples]
            return self.batch(drawn, length, [cut.start for cut, _ in samples], [is_short for _, is_short in samples])

        lengths = lengths_of(clips)
        places = None if self.cut_frames is None else np.cumsum(self._places(lengths))
        counted = lengths if places is None else np.repeat(lengths, self._places(lengths))
        plan = CutPlan(
            plan=self._plan(counted), slack=lambda number: clips[number].slack, places=places, seed=self.seed
        )
        return self.endless(WordedPlan(plan=plan, share=self.short_caption_share, seed=self.seed), read)

    def plan(self, clips: Sequence[Clip]) -> BatchPlan:
        """The order in which clips are drawn, by their numbers."""
        return self._plan(lengths_of(clips))

    def _plan(self, lengths: Numbers) -> BatchPlan:
        if not len(lengths):
            raise ValueError(
                "no video of the split train can be used: the log says which splits the videos have, and skipped.json "
                f"which are shorter than the shortest clip, {self.num_frames[0]} frames: name a split train, or lower "
                "datamodule.num_frames"
            )
        by_length = {length: np.flatnonzero(lengths >= length) for length in self.num_frames}
        absent = [length for length, numbers in by_length.items() if not len(numbers)]
        if len(lengths) and absent:
            log.warning(
                f"no training video is long enough for datamodule.num_frames={absent}: the longest has "
                f"{int(lengths.max())} or a few more; these lengths are left out"
            )
        return BatchPlan(clips_by_length=by_length, global_batch_size=self.global_batch_size, seed=self.seed)

    def endless(self, plan: Plan[Item], read: Callable[[list[Item], int], Batch]) -> DataLoader[Batch]:
        """The share of a plan that is this process's, from the step that the trainer is at."""
        trainer = self.trainer
        assert trainer is not None
        rank, world_size = data_place(trainer)
        stream = BatchStream(
            plan=plan,
            read=read,
            first_step=trainer.global_step,
            accumulate=trainer.accumulate_grad_batches,
            rank=rank,
            world_size=world_size,
            batch_size=self.batch_size,
            read_ahead=0 if self.cache.is_local else READ_AHEAD,
        )
        # Forked, so that clips and texts are shared and not sent.
        how: dict[str, Any] = {"multiprocessing_context": "fork"} if self.num_workers else {}
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, worker_init_fn=leave_group, **how)

    def fixed_batch(self, clips: Sequence[Clip], num_frames: int) -> Batch:
        """The same batch of the same clips, every time; for validation and test. Cuts begin anywhere in a clip."""
        return self.batch(clips, num_frames, [clip.number % self._places(num_frames) for clip in clips])

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same clips every time: evenly spaced over the validation videos, at the longest length they have."""
        return self._fixed_loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same clips every time: evenly spaced over the test videos, at the longest length they have."""
        return self._fixed_loader("test")

    def _fixed_loader(self, split: str) -> DataLoader[Batch]:
        clips = self.clips[split]
        if not len(clips):
            raise ValueError(
                f"no video of the split {split!r} of datamodule.root={self.root} could be used; add some, or mend "
                f"those in {self.cache.folder / 'skipped.json'}"
            )
        chosen, longest = spread_over(clips, self.num_validation_clips)
        trainer = self.trainer
        if trainer is not None and len(chosen) < trainer.world_size:
            # A process without a batch would leave the others waiting for its losses.
            raise ValueError(
                f"{len(chosen)} clips of the split {split!r} cannot be shared out over {trainer.world_size} processes; "
                "use fewer processes, more videos, or a higher datamodule.num_validation_clips"
            )
        if trainer is not None and getattr(getattr(trainer, "strategy", None), "in_step", False):  # as many for each
            chosen = chosen[: len(chosen) // trainer.world_size * trainer.world_size]
        mine = chosen[trainer.global_rank :: trainer.world_size] if trainer is not None else chosen
        groups = [mine[i : i + self.batch_size] for i in range(0, len(mine), self.batch_size)]
        return DataLoader(FixedBatches(groups, lambda group: self.fixed_batch(group, longest)), batch_size=None)
