"""SetsDataModule: several folders or tables, and several sizes, in one training; a batch is of one set and one size."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from torch.utils.data import ConcatDataset, DataLoader
from typing_extensions import TypedDict

from datamodules.batches import Batch, BatchStream
from datamodules.caching.portions import Portion
from datamodules.extraction import Extraction, Way
from datamodules.mixing import MixedPlan
from datamodules.shapes import nearest, shapes_of
from datamodules.splits import log_splits, share_out
from datamodules.tables import SPLIT_NAMES, Entry, read_entries
from datamodules.video_datamodule import VideoDataModule
from networks.control import FrameControl
from networks.interfaces import Codec, TextEncoder
from networks.ranges import Count, Dtype, Positive, Seed, Share, Size, Sizes, Text

log = logging.getLogger("longtake")


class FilmSet(TypedDict, total=False):
    """What may differ from one set to the next; `repeats` and `share` say how often it is drawn from."""

    root: Text
    table: Text | None
    fps: Positive
    frame_stride: Size | None
    num_frames: Sizes
    hop_frames: Size
    crop: Literal["centre", "random"]
    short_caption_share: Share
    frame_extraction: Way
    clips_per_film: Size
    repeats: Positive
    share: Share


class _Member(VideoDataModule):
    """One set at one size; its films and their splits are dealt to it."""

    numbers: list[int]
    given: list[Entry]
    own_settings: dict[str, Any]
    repeats: float
    own_share: float | None

    def listed(self) -> list[Entry]:
        return self.given

    def entries(self) -> list[Entry]:
        return self.given


class SetsDataModule(VideoDataModule):
    """Sets of videos that are trained on together.

    Every film goes to the size whose aspect is nearest to its own; splits are drawn over the films of all sets, so that
    one that is in two is in training or in validation. Where no set has a share of its own, batches are drawn from each
    in proportion to its clips and `repeats`.
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
        sizes: list[Sizes],
        frame_extraction: Way,
        clips_per_film: Size,
        sets: dict[str, FilmSet],
        control: FrameControl | None = None,
    ) -> None:
        """As VideoDataModule, whose root and table are the first set.

        Args:
            codec: see VideoDataModule.
            text_encoder: see VideoDataModule.
            global_batch_size: see VideoDataModule.
            batch_size: see VideoDataModule.
            seed: see VideoDataModule.
            make: see VideoDataModule.
            root: folder of the first set's videos.
            table: table of the first set's videos; None for the folder itself.
            height: height in pixels, where `sizes` is empty.
            width: width in pixels, where `sizes` is empty.
            fps: see VideoDataModule.
            frame_stride: see VideoDataModule.
            num_frames: see VideoDataModule.
            hop_frames: see VideoDataModule.
            cut_frames: see VideoDataModule.
            crop: see VideoDataModule.
            pixels: see VideoDataModule.
            cache_dir: see VideoDataModule.
            cache_dtype: see VideoDataModule.
            validation_share: see VideoDataModule.
            num_validation_clips: see VideoDataModule.
            num_workers: see VideoDataModule.
            short_caption_share: see VideoDataModule.
            sizes: height and width of every bucket, in pixels; [] for the one of height and width.
            frame_extraction: which clips are taken of a film, see `datamodules.extraction`.
            clips_per_film: number of clips of a film, where frame_extraction is `uniform`.
            sets: further sets by their names, each with the settings that differ from those above. `repeats` says how
                often a set's clips are drawn where others are drawn once, `share` which share of all batches the set
                gets.
            control: see VideoDataModule.

        Raises:
            ValueError: if a set names a setting that is not its own, or shares make no whole.
        """
        common: dict[str, Any] = {
            "codec": codec, "text_encoder": text_encoder, "global_batch_size": global_batch_size,
            "batch_size": batch_size, "seed": seed, "cut_frames": cut_frames, "pixels": pixels,
            "cache_dir": cache_dir, "cache_dtype": cache_dtype, "validation_share": validation_share,
            "num_workers": num_workers, "control": control,
        }  # fmt: skip
        own: dict[str, Any] = {
            "root": root, "table": table, "fps": fps, "frame_stride": frame_stride, "num_frames": num_frames,
            "hop_frames": hop_frames, "crop": crop, "short_caption_share": short_caption_share,
        }  # fmt: skip
        super().__init__(
            **common, **own, height=height, width=width, make=make, num_validation_clips=num_validation_clips
        )
        own |= {"frame_extraction": frame_extraction, "clips_per_film": clips_per_film, "repeats": 1.0, "share": None}
        self.sizes = _checked(sizes) or [(height, width)]
        # A set without a table of its own is a folder.
        given = {name: {**own, "table": None, **_known(name, each)} for name, each in sets.items()}
        self.settings: list[dict[str, Any]] = [own, *given.values()]
        shares = sum(each["share"] or 0 for each in self.settings)
        if shares > 1 or (shares == 1 and any(each["share"] is None for each in self.settings)):
            raise ValueError(f"datamodule.sets: their shares come to {shares:g}; leave some for the sets without one")
        self._joined: list[Entry] = []
        clips = -(-num_validation_clips // (len(self.settings) * len(self.sizes)))
        self.members = [
            _member(each, {**common, "height": size[0], "width": size[1], "num_validation_clips": clips})
            for each in self.settings
            for size in self.sizes
        ]

    @property
    def parts(self) -> list[VideoDataModule]:
        """The sets at their sizes that have films, each with its own cache."""
        self._deal()
        return [member for member in self.members if member.given]

    def listed(self) -> list[Entry]:
        """All videos of all sets."""
        return list(chain.from_iterable(self._lists()))

    def _lists(self) -> list[list[Entry]]:
        return [read_entries(each["root"], each["table"]) for each in self.settings]

    def _deal(self) -> None:
        """Gives each member its films; once."""
        if self._joined:
            return
        lists = self._lists()
        self._joined = joined = [entry for each in lists for entry in each]
        shapes = shapes_of([entry.path for entry in joined], self.cache.root) if len(self.sizes) > 1 else []
        members, place = iter(self.members), 0
        for listed in lists:
            mine = [next(members) for _ in self.sizes]
            for member in mine:
                member.numbers = []
            for number in range(place, place + len(listed)):
                mine[nearest(shapes[number], self.sizes) if shapes else 0].numbers.append(number)
            place += len(listed)
        log_splits(joined, *self._split())
        for size, member in zip(self.sizes * len(lists), self.members, strict=True):
            log.info(f"{member.root} at {size[0]} x {size[1]}: {len(member.given)} videos")

    def _split(self) -> tuple[list[Entry], list[str]]:
        """Draws splits over the films of all sets, by what is known of them by now; gives entries and films."""
        films = self.cache.films_of(self._joined)
        shared = share_out(self._joined, self.validation_share, self.seed, films)
        for member in self.members:
            member.given = [shared[number] for number in member.numbers]
        return shared, films

    def prepare_data(self) -> None:
        """Makes the videos if that is asked for and fills the caches; once a machine."""
        if self.make is not None:
            self.make()
        for part in self.parts:
            part.trainer = self.trainer
            part.prepare_data()

    def fill(self, portion: Portion) -> None:
        """Caches a share of the films and texts of every set."""
        if self.make is not None and portion.world == 1:
            self.make()
        for part in self.parts:
            part.fill(portion)

    def setup(self, stage: str) -> None:
        """Lists the clips of every split of every set.

        Args:
            stage: Lightning's name of what is to be run, which makes no difference.

        Raises:
            ValueError: if no set has a video that can be used.
        """
        self.used, refused = [], ""
        self._deal()
        self.cache.keys(self._joined, look=False)
        self._split()
        for part in self.parts:
            part.trainer = self.trainer
            try:
                part.setup(stage)
                self.used.append(part)
            except ValueError as error:
                refused = str(error)
                log.warning(f"left out: {refused}")
        if not self.used:
            raise ValueError(refused)
        self.clips = {name: list(chain.from_iterable(part.clips[name] for part in self.used)) for name in SPLIT_NAMES}

    def shares(self, parts: Sequence[VideoDataModule]) -> list[float]:
        """The share of all batches that each part gets.

        A part of a set with `share` gets of that share what its clips are of the set's clips. The other parts divide
        what is left by their clips times `repeats`.
        """
        members: list[_Member] = [part for part in parts if isinstance(part, _Member)]
        clips = [len(member.clips["train"]) for member in members]
        by_root: dict[int, float] = {}
        for member, count in zip(members, clips, strict=True):
            by_root[id(member.own_settings)] = by_root.get(id(member.own_settings), 0) + count
        fixed = [m.own_share * n / by_root[id(m.own_settings)] if m.own_share is not None else 0.0
                 for m, n in zip(members, clips, strict=True)]  # fmt: skip
        weights = [m.repeats * n if m.own_share is None else 0.0 for m, n in zip(members, clips, strict=True)]
        free = 1 - sum(fixed) if any(weights) else 0.0
        whole = sum(fixed) + free
        return [
            (own + (free * weight / sum(weights) if weight else 0.0)) / whole
            for own, weight in zip(fixed, weights, strict=True)
        ]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless; begins at the step that the trainer is at."""
        parts = [part for part in self.used if len(part.clips["train"])]
        streams: list[BatchStream[Any]] = []
        for part in parts:
            part.trainer = self.trainer
            stream = part.train_dataloader().dataset
            assert isinstance(stream, BatchStream)
            streams.append(stream)
        plan = MixedPlan(plans=[stream.plan for stream in streams], shares=self.shares(parts), seed=self.seed)

        def read(items: list[tuple[int, Any]], length: int) -> Batch:
            return streams[items[0][0]].read([item for _, item in items], length)

        return self.endless(plan, read)

    def _fixed_loader(self, split: str) -> DataLoader[Batch]:
        parts = [part for part in self.used if len(part.clips[split])]
        for part in parts:
            part.trainer = self.trainer
        if not parts:
            return super()._fixed_loader(split)  # says what is missing
        loaders = [part._fixed_loader(split) for part in parts]
        return DataLoader(ConcatDataset([loader.dataset for loader in loaders]), batch_size=None)


def _known(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(FilmSet.__annotations__))
    if unknown:
        known = ", ".join(FilmSet.__annotations__)
        raise ValueError(f"datamodule.sets.{name}.{unknown[0]} is no setting of a set; known are {known}")
    if "root" not in given and "table" not in given:
        raise ValueError(f"datamodule.sets.{name}: give it a root, or a table under datamodule.root")
    return dict(given)


def _checked(sizes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    for size in sizes:
        if len(size) != 2:
            raise ValueError(f"datamodule.sizes={[list(each) for each in sizes]}: give [height, width] for each")
    return [(size[0], size[1]) for size in sizes]


def _member(settings: dict[str, Any], common: dict[str, Any]) -> _Member:
    ours = ("frame_extraction", "clips_per_film", "repeats", "share")
    member = _Member(**common, **{key: value for key, value in settings.items() if key not in ours}, make=None)
    member.cache.extraction = Extraction(settings["frame_extraction"], settings["clips_per_film"])
    member.own_settings, member.repeats, member.own_share = settings, settings["repeats"], settings["share"]
    return member
