"""Control of films: numbers of every frame, from the files that a table names, cut with the latents.

Axes: F pixel frames of a film, f latent frames, p pixel frames of a latent frame, n numbers of a pixel frame.
"""

from functools import lru_cache

from torch import Tensor

from datamodules.tables import Entry
from longtake.control import read_numbers
from longtake.video.places import is_remote
from networks.control import FrameControl, to_latent_frames

FILMS_HELD = 4096
"""So many films' numbers stay in memory: 16 bytes a frame of three numbers."""


class FilmControl:
    """What is known of the latent frames of films beside their pictures."""

    def __init__(self, control: FrameControl) -> None:
        """control: the network's, which knows its columns and how many pixel frames a latent frame has."""
        self.columns, self.frames_per_latent = control.columns, control.frames_per_latent
        self._read = lru_cache(maxsize=FILMS_HELD)(self._of_film)

    def read(self, entry: Entry, stored: int, start: int, count: int) -> Tensor:
        """Numbers of some latent frames of a film, f (p n).

        Args:
            entry: the film.
            stored: its latent frames.
            start: the first that is wanted.
            count: how many.

        Raises:
            ValueError: if the film has no file of control, or that does not fit the film.
        """
        return self._read(entry, stored)[start : start + count]

    def _of_film(self, entry: Entry, stored: int) -> Tensor:
        if entry.control is None:
            raise ValueError(
                f"{entry.path} has no file of control, which control=… needs: name one with {', '.join(self.columns)} "
                "of every frame in the table's column control, or use control=none"
            )
        if is_remote(entry.control):
            raise ValueError(f"{entry.control}: files of control are read from this machine alone; copy it here")
        rows = read_numbers(str(entry.control), self.columns, where=str(entry.control))
        pixels = (stored - 1) * self.frames_per_latent + 1
        if not pixels <= len(rows) < pixels + self.frames_per_latent:
            raise ValueError(
                f"{entry.control} has {len(rows)} rows, but {entry.path} has {pixels} frames here: give a row for each "
                "frame, and take every frame of the film (datamodule.frame_stride=1)"
            )
        return to_latent_frames(rows[:pixels], self.frames_per_latent)
