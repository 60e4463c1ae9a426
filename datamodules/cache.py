"""The clip cache: every film is decoded and encoded once, as one causal stream, and clips are cut when they are read.

A film is known by its bytes, so that a copy, a move or a `touch` encodes nothing again. What is stored depends on size,
rate, crop, codec and type alone: other lengths of clips are other cuts of the same encoding.
Axes: c channels, f frames, h height, w width.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from datamodules.caching.films import FilmEncoder, UnusableFilm, crop_place_of, version_of_readers
from datamodules.caching.names import LOOKED_AT, FilmNames
from datamodules.caching.places import answering
from datamodules.caching.settings import ClipSettings
from datamodules.caching.shards import TYPES, Shards
from datamodules.caching.words import in_bytes
from datamodules.clips import Clip, Clips
from datamodules.extraction import Extraction
from datamodules.tables import Entry
from longtake.video.places import shown
from networks.files import write_text
from networks.interfaces import Codec

log = logging.getLogger("longtake")


class ClipCache:
    """Films under one folder, by codec and settings, and the clips that are cut from them."""

    def __init__(self, *, folder: str | Path, settings: ClipSettings, codec: Codec | None) -> None:
        """Looks at the settings; nothing is read yet.

        Args:
            folder: folder of all caches, a path, or a URL that is only read.
            settings: how films are stored and cut.
            codec: encodes films; None keeps pixels as uint8.

        Raises:
            ValueError: if the type is unknown, or does not suit pixels or latents.
        """
        if settings.dtype not in TYPES or (settings.dtype == "uint8") != (codec is None):
            raise ValueError(
                f"datamodule.cache_dtype={settings.dtype}: use uint8 for pixels, "
                "and float16, bfloat16 or float32 for latents"
            )
        self.codec, self.settings = codec, settings
        stored = settings._replace(num_frames=(), hop_frames=0)
        self.described = json.dumps(["one stream a film", *stored, "pixels" if codec is None else codec.fingerprint])
        self.root = str(folder).rstrip("/")
        self.place = f"{self.root}/{hashlib.sha256(self.described.encode()).hexdigest()[:12]}"
        self.folder = Path(self.place)
        self.extraction = Extraction()
        self.factor = 1 if codec is None else codec.time_factor
        side = 1 if codec is None else codec.space_factor
        channels = 3 if codec is None else codec.channels
        row = (channels, settings.height // side, settings.width // side)
        self.films = Shards(self.place, kind=settings.dtype, row=row)
        self.names = FilmNames(f"{self.root}/films")
        self._asked: tuple[Sequence[Entry], bool, list[str]] | None = None

    @property
    def is_local(self) -> bool:
        """Whether it lies on a disk of this machine, or one that looks so."""
        return "://" not in self.place

    def refresh(self) -> None:
        """Reads what other processes have added."""
        self.films.refresh()

    def forget_names(self) -> None:
        """Lets go of what films are called, which reading clips needs no more."""
        self.names.forget()
        self._asked = None

    def keys(self, entries: Sequence[Entry], *, look: bool | None = None) -> list[str]:
        """What each entry's film is called here; "" where it cannot be read. Of the same list it is asked once.

        look: whether known films are looked at, as they may have been changed; None: where they are not too many.
        """
        look = len(entries) <= LOOKED_AT if look is None else look
        if self._asked is None or self._asked[0] is not entries or (look and not self._asked[1]):
            self.names.refresh()
            found = self.names.keys([entry.where for entry in entries], look=look)
            self._asked = entries, look, [key or "" for key in found]
        return self._asked[2]

    def films_of(self, entries: Sequence[Entry]) -> list[str]:
        """What tells each entry's film from others: its key where it is known, or else its path; reads none."""
        if self._asked is not None and self._asked[0] is entries:  # the same texts: of a million, 80 MB
            return [key or entry.film for key, entry in zip(self._asked[2], entries, strict=True)]
        self.names.refresh()
        known = self.names.known([entry.where for entry in entries])
        return [key or entry.film for key, entry in zip(known, entries, strict=True)]

    def fault(self, key: str) -> str | None:
        """Why a film gives no clip, as far as is known."""
        if not key:
            return "there is no such file, or it cannot be read"
        if (number := self.films.number(key)) is not None:
            held = (self.films.length(number) - 1) * self.factor + 1
            return None if held >= self.settings.num_frames[0] else self._too_short(held)
        note = self.films.notes.get(key)
        if note is None or note.get("by") != version_of_readers():
            return None
        frames, shortest = note.get("frames"), self.settings.num_frames[0]
        if frames is None:
            return str(note["skip"])
        return None if frames >= shortest else self._too_short(frames)

    def _too_short(self, frames: int) -> str:
        shortest = self.settings.num_frames[0]
        return f"too short, {frames} frames {self.settings.taken}, the shortest clip has {shortest}"

    def missing(self, entries: Sequence[Entry], *, look: bool | None = None) -> list[Entry]:
        """Films that are neither stored nor known to be of no use, each once; look: as for `keys`."""
        self.refresh()
        keys = self.keys(entries, look=look)
        lacking = {
            key: entry
            for key, entry in zip(reversed(keys), reversed(entries), strict=True)
            if key and key not in self.films and self.fault(key) is None
        }
        return list(reversed(lacking.values()))

    def missing_by_name(self, entries: Sequence[Entry]) -> list[Entry]:
        """Films that are not known to be here, without reading any: whoever gets one reads what it is."""
        self.refresh()
        self.names.refresh()
        keys = self.names.known([entry.where for entry in entries])
        seen = {key for key in keys if key and (key in self.films or self.fault(key) is not None)}
        lacking = (entry for entry, key in zip(entries, keys, strict=True) if key is None or key not in seen)
        return list({entry.where: entry for entry in lacking}.values())

    def fill(self, entries: Sequence[Entry], on_film: Callable[[], None] = lambda: None) -> None:
        """Encodes what is missing of these films; what cannot be used is remembered and passed over.

        Another process that fills the same cache meanwhile does no film that this one has done.

        Args:
            entries: the films, each as often as it has rows.
            on_film: called after each film.

        Raises:
            ValueError: if the disk is full or may not be written to, with the folder and what it would need.
        """
        lacking, done = self.missing(entries), 0
        for _ in range(len(entries) - len(lacking)):
            on_film()
        if not lacking:
            return
        encoder = self.encoder()
        # From anywhere on: two runs that know nothing of each other meet late.
        first = int.from_bytes(os.urandom(4)) % len(lacking)
        try:
            with answering(self.place, lambda: self._need(len(lacking) - done)):
                self._begin()
                for entry in lacking[first:] + lacking[:first]:
                    self.films.refresh()
                    self.add(entry, encoder)
                    done += 1
                    on_film()
        finally:
            encoder.writer.close()
            self.films.refresh()

    def encoder(self) -> FilmEncoder:
        """What encodes films into this cache."""
        settings = self.settings
        return FilmEncoder(
            folder=self.folder,
            codec=self.codec,
            dtype=settings.dtype,
            size=(settings.height, settings.width),
            shortest=settings.num_frames[0],
            stream=settings.stream,
        )

    def add(self, entry: Entry, encoder: FilmEncoder) -> None:
        """Encodes a film unless it is there by now, or of no use."""
        (key,) = self.names.keys([entry.where], look=False)
        if key and key not in self.films and self.fault(key) is None:
            with suppress(UnusableFilm):  # the shard's index remembers why
                encoder.add(entry.path, key, crop_place_of(key, self.settings.crop))

    def _begin(self) -> None:
        if not self.is_local:
            raise ValueError(
                f"{self.place} can only be read, and lacks some films: cache them in a local folder, and copy it there"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "settings.json").is_file():
            write_text(self.folder / "settings.json", self.described + "\n")

    def _need(self, left: int) -> str:
        """What the films that are left will take, by what those take that are there."""
        there = len(self.films)
        size = sum(self.films.length(number) for number in range(there)) * self.films.row_bytes
        return f"{left:,} films are left" + (f", about {in_bytes(size / there * left)}" if there and left else "")

    def report(self, entries: Sequence[Entry]) -> None:
        """Names the films that cannot be used in skipped.json, and logs how many they are."""
        keys = self.keys(entries, look=False)
        faults = ((entry, self.fault(key)) for entry, key in zip(entries, keys, strict=True))
        skipped = {entry.where: fault for entry, fault in faults if fault is not None}
        path, content = self.folder / "skipped.json", json.dumps(skipped, indent=1) + "\n"
        if self.is_local and self.folder.is_dir() and (skipped or path.is_file()):
            with suppress(PermissionError):
                if not path.is_file() or path.read_text(encoding="utf-8") != content:
                    write_text(path, content)
        if skipped:
            name, reason = next(iter(skipped.items()))
            log.warning(f"{len(skipped)} of {len(entries)} videos are skipped, see {path}; {shown(name)}: {reason}")

    def usable(self, entries: Sequence[Entry], keys: Sequence[str] | None = None) -> tuple[list[Entry], list[int]]:
        """The entries whose films are there, and by which number each is read.

        Args:
            entries: films, each as often as it has rows.
            keys: keys of the entries; None: they are looked up.

        Raises:
            ValueError: if none is: every film was skipped.
        """
        self.refresh()
        shortest = (self.settings.num_frames[0] - 1) // self.factor + 1
        found, films = [], []
        keys = self.keys(entries, look=False) if keys is None else keys
        for entry, key in zip(entries, keys, strict=True):
            number = self.films.number(key) if key else None
            if number is not None and self.films.length(number) >= shortest:
                found.append(entry)
                films.append(number)
        if not found:
            raise ValueError(
                f"none of the {len(entries)} videos could be used, e.g. {shown(entries[0].where)}; the reasons are in "
                f"{self.folder / 'skipped.json'}"
            )
        return found, films

    def cut(self, entries: Sequence[Entry], films: Sequence[int]) -> Clips:
        """Clips of films that are there; both as `usable` gives them."""
        return Clips(
            entries,
            films,
            [self.films.length(number) for number in films],
            lengths=self.settings.num_frames,
            hop_frames=self.settings.hop_frames,
            time_factor=self.factor,
            extraction=self.extraction,
        )

    def clips(self, entries: Sequence[Entry]) -> Clips:
        """All clips of the films that are there, in the order of the entries."""
        return self.cut(*self.usable(entries))

    def read(self, clip: Clip, num_frames: int, start: int = 0) -> Tensor:
        """Frames of a clip from one on, as stored: c f h w; both numbers in frames of what is stored.

        Args:
            clip: the clip.
            num_frames: number of frames, as stored.
            start: first frame in the clip, as stored.

        Returns:
            Frames c f h w.

        Raises:
            ValueError: naming the file, if it is gone, was cut since the run began, or holds NaN.
        """
        place = self.films.place(clip.film)
        try:
            frames = self.films.read(clip.film, clip.start // self.factor + start, num_frames)
        except OSError as error:
            raise ValueError(
                f"{place}, which holds {clip.entry.path}, is gone or broken since the run began: go on with "
                "resume=last, and what is missing is made again"
            ) from error
        if frames.is_floating_point() and not bool(torch.isfinite(frames).all()):
            raise ValueError(
                f"{place}, which holds {clip.entry.path}, holds NaN or infinite values: remove it, and the next start "
                "makes it again (where it comes out the same, the codec gives no numbers for that video)"
            )
        return frames.transpose(0, 1)
