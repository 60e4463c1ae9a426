"""Which clips are taken of a film: all, adjoining ones, the first, or a few evenly spread.

Frames are frames as they are stored.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Way = Literal["all", "chunks", "head", "uniform"]
"""`all`: every hop_frames; `chunks`: one after the other without overlap; `head`: the film's first; `uniform`: so many,
evenly spread from the film's start to its end. The words are finetrainers' and musubi-tuner's."""


class Extraction(NamedTuple):
    """A way, and how many clips of a film `uniform` takes."""

    way: Way = "all"
    clips_per_film: int = 1


class Cuts(NamedTuple):
    """Where clips lie, one number a clip in each field.

    film: the number of its film; number: its own number in the film; start: its first frame; slack: by how many frames
    it may begin later.
    """

    film: Numbers
    number: Numbers
    start: Numbers
    slack: Numbers


def cuts(extraction: Extraction, rows: Numbers, held: Numbers, *, hop_frames: int, time_factor: int) -> Cuts:
    """Cuts films into clips.

    rows: frames of each film; held: frames of its clips, more than rows where none fits; hop_frames: pixel frames
    between the starts of clips where all are taken; time_factor: pixel frames to one as stored.
    """
    last = rows - held  # where a clip starts at the latest
    fits = last >= 0
    if extraction.way == "all":
        counts = last * time_factor // hop_frames + 1
    elif extraction.way == "chunks":
        counts = rows // held
    elif extraction.way == "head":
        counts = np.ones_like(rows)
    else:
        counts = np.minimum(extraction.clips_per_film, last + 1)
    counts = np.where(fits, counts, 0)
    film = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(film)) - np.repeat(np.cumsum(counts) - counts, counts)
    held, last, counts = held[film], last[film], counts[film]
    if extraction.way == "all":
        start, following = number * hop_frames // time_factor, (number + 1) * hop_frames // time_factor
    elif extraction.way == "uniform":
        between = np.maximum(counts - 1, 1)
        start = np.where(counts > 1, (number * last + between // 2) // between, last // 2)
        following = start
    else:
        start, following = number * held, (number + 1) * held
    reaches_end = (number == counts - 1) & (extraction.way in ("all", "chunks"))
    # Where hop_frames is less than a frame as stored, clips have their start in common.
    slack = np.maximum(np.where(reaches_end, last, np.minimum(following - 1, last)) - start, 0)
    return Cuts(film, number, start, np.zeros_like(slack) if extraction.way in ("head", "uniform") else slack)
