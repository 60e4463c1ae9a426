"""What a cached clip is: how films are stored, and how they are cut."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from longtake.video import Frames, read_frames, stream_frames
from networks.codecs.rules import check_size

CROPS = ("centre", "random")


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

    def check(self, time_factor: int, space_factor: int) -> None:
        """Refuses what makes no clips, or none that a codec takes.

        Args:
            time_factor: pixel frames of a latent frame, the first one excepted.
            space_factor: pixels along a side of a latent.

        Raises:
            ValueError: naming the setting, and what would do.
        """
        if self.crop not in CROPS:
            raise ValueError(f"datamodule.crop={self.crop} must be one of {', '.join(CROPS)}")
        if not self.num_frames:
            raise ValueError("datamodule.num_frames=[] names no clip length; give at least one, such as [37]")
        if self.fps <= 0:
            raise ValueError(
                f"datamodule.fps={self.fps} must be above 0: clips are played at it; datamodule.frame_stride=1 keeps "
                "every frame of a file"
            )
        for name, value in (("hop_frames", self.hop_frames), ("frame_stride", self.frame_stride)):
            if value is not None and value < 1:
                raise ValueError(f"datamodule.{name}={value} must be at least 1")
        if isinstance(self.frame_stride, float):
            raise ValueError(f"datamodule.frame_stride={self.frame_stride} must be a whole number")
        for length in self.num_frames:
            check_size(length, self.height, self.width, time_factor, space_factor, "datamodule")

    @property
    def _wanted(self) -> dict[str, Any]:
        by_time = self.frame_stride is None
        rate = {"fps": self.fps if by_time else 0, "frame_stride": self.frame_stride or 1}
        return {"height": self.height, "width": self.width, **rate}

    def read(self, path: str | Path, crop_place: float) -> Frames:
        """A whole video as these settings see it, as `read_frames` gives it."""
        return read_frames(path, crop_place=crop_place, **self._wanted)

    def stream(self, path: str | Path, crop_place: float) -> Iterator[Frames]:
        """A whole video as these settings see it, block by block, as `stream_frames` gives it."""
        return stream_frames(path, crop_place=crop_place, **self._wanted)

    @property
    def taken(self) -> str:
        """How frames are taken, in words."""
        return f"at {self.fps:g} a second" if self.frame_stride is None else f"at frame_stride={self.frame_stride}"
