"""Clips of cached films, by number: a million of them are a few arrays, and one is made when it is asked for."""

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from datamodules.extraction import Extraction, Numbers, cuts
from datamodules.tables import Entry


class Clip(NamedTuple):
    """A stretch of a film's one encoding.

    entry: its film; film: by which the cache reads that; number: of the clip in its film; start: its first pixel frame
    in the film; num_frames: pixel frames, the longest of the lengths that the film holds; slack: by how many frames as
    stored it may begin later, up to the next clip's start or the film's end; place: its number in its list.
    """

    entry: Entry
    film: int
    number: int
    start: int
    num_frames: int
    slack: int = 0
    place: int = 0


def lengths_of(clips: Sequence[Clip]) -> Numbers:
    """Pixel frames of each clip."""
    return clips.num_frames if isinstance(clips, Clips) else np.array([clip.num_frames for clip in clips], np.int64)


def spread_over(clips: Sequence[Clip], count: int) -> tuple[list[Clip], int]:
    """At most so many of the longest clips, evenly spread, and their pixel frames."""
    lengths = lengths_of(clips)
    longest = int(lengths.max())
    whole = np.flatnonzero(lengths == longest)
    step = max(len(whole) / count, 1.0)
    return [clips[int(whole[int(number * step)])] for number in range(min(count, len(whole)))], longest


class Clips(Sequence[Clip]):
    """All clips of some films, in the order of the films."""

    def __init__(
        self,
        entries: Sequence[Entry],
        films: Sequence[int],
        stored: Sequence[int],
        *,
        lengths: Sequence[int],
        hop_frames: int,
        time_factor: int,
        extraction: Extraction = Extraction(),  # noqa: B008
    ) -> None:
        """A film's clips start every hop_frames, at frames as stored; each has the longest length that fits the film.

        films: by which the cache reads each entry's film; stored: how many frames as stored it has; lengths: of clips
        in pixel frames, rising; time_factor: pixel frames to one as stored.
        """
        self.entries, self.time_factor = entries, time_factor
        self._films: Numbers = np.asarray(films, np.int64)
        rows: Numbers = np.asarray(stored, np.int64)
        pixels: Numbers = np.asarray(lengths, np.int64)
        held = (pixels - 1) // time_factor + 1
        fitting = np.searchsorted(held, rows, side="right") - 1
        length = pixels[fitting]
        taken = cuts(
            extraction,
            rows,
            np.where(fitting < 0, rows + 1, held[fitting]),
            hop_frames=hop_frames,
            time_factor=time_factor,
        )
        self._entry, self._number, self._start, self.slack = taken
        self.num_frames: Numbers = length[self._entry]

    def __len__(self) -> int:
        """How many clips."""
        return len(self._entry)

    @overload
    def __getitem__(self, place: int) -> Clip: ...
    @overload
    def __getitem__(self, place: slice) -> list[Clip]: ...
    def __getitem__(self, place: int | slice) -> Any:
        """One clip, or a list of them."""
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        entry = int(self._entry[place])
        return Clip(
            self.entries[entry],
            int(self._films[entry]),
            int(self._number[place]),
            int(self._start[place]) * self.time_factor,
            int(self.num_frames[place]),
            int(self.slack[place]),
            place,
        )
