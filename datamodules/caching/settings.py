"""What a cached clip is: how films are stored, and how they are cut."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from longtake.video import Frames, read_frames, stream_frames


class ClipSettings(NamedTuple):
    """What a cached clip is; num_frames and hop_frames say how films are cut, all else how they are stored.

    fps: frames a second, taken by their time; num_frames: pixel frames of each length, rising; hop_frames: distance of
    clips' starts; crop: centre or random; frame_stride: every how many of a file's frames are kept instead, or None.
    """

    height: int
    width: int
    fps: float
    num_frames: tuple[int, ...]
    hop_frames: int
    crop: str
    dtype: str
    frame_stride: int | None = None

    @property
    def _wanted(self) -> dict[str, Any]:
        by_time = self.frame_stride is None
        rate = {"fps": self.fps if by_time else 0, "frame_stride": self.frame_stride or 1}
        return {"height": self.height, "width": self.width, **rate}

    def read(self, path: str | Path, crop_place: float) -> Frames:
        """A whole video as these settings see it, as `read_frames` gives it."""
        return read_frames(path, crop_place=crop_place, **self._wanted)

    def stream(self, path: str | Path, crop_place: float) -> Iterator[Frames]:
        """The same block by block."""
        return stream_frames(path, crop_place=crop_place, **self._wanted)

    @property
    def taken(self) -> str:
        """How frames are taken, in words."""
        return f"at {self.fps:g} a second" if self.frame_stride is None else f"at frame_stride={self.frame_stride}"
