"""What the studio asks of loaded weights, and how they answer: the program hands them in."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from longtake.storyboard.schema import Storyboard


class PlannedSegment(NamedTuple):
    """A segment before it is made, and after.

    latents: its latent frames. task: what it is to others, see `longtake.storyboard`. remembers: names with their
    ratios. tflops: of making it, in 10¹² floating-point operations. is_there: whether it was made before. touches:
    other segments that are made again if this one changes. key: of its latents, and of its preview.
    """

    name: str
    task: str
    shot: int
    num_frames: int
    latents: int
    remembers: tuple[tuple[str, float], ...]
    tflops: float
    is_there: bool
    touches: tuple[str, ...]
    key: str


class PlannedTake(NamedTuple):
    """A take that was planned and not made yet.

    segments: in the order in which they are made. timeline: their names in the order in which they are seen. total:
    denoising steps of the segments that are not there yet. command: what makes the take without the page.
    """

    segments: tuple[PlannedSegment, ...]
    timeline: tuple[str, ...]
    total: int
    command: str

    @property
    def to_make(self) -> tuple[PlannedSegment, ...]:
        """Segments that are not there yet."""
        return tuple(segment for segment in self.segments if not segment.is_there)

    @property
    def tflops(self) -> float:
        """TFLOPs of all segments that are not there yet."""
        return sum(segment.tflops for segment in self.to_make)

    @property
    def num_frames(self) -> int:
        """Pixel frames of the whole take."""
        return sum(segment.num_frames for segment in self.segments)


class Attention(NamedTuple):
    """What global tokens read.

    weights: t f h w, the share of each token t that each patch of each keyframe has, summing to 1 over f, h and w.
    frames: pixel frames of the keyframes, f. pictures: f h w 3, uint8.
    """

    weights: Tensor
    frames: tuple[int, ...]
    pictures: Tensor


class Watch(NamedTuple):
    """Receives the progress of a take: every denoising step, and every segment that is finished."""

    step: Callable[[], None]
    segment: Callable[[str], None]


class LoadedWeights(Protocol):
    """Weights at work, as the command line has them.

    name: name as it was given. fps: frames a second of takes. most_frames: most frames of a card. default_frames:
    frames of a card that states no length.
    """

    name: str
    has_memory: bool
    has_global_tokens: bool
    fps: float
    most_frames: int
    default_frames: int

    @property
    def about(self) -> str:
        """A line about the weights."""
        ...

    def speed(self) -> float:
        """Measures how fast the network computes here, in 10¹² operations a second."""
        ...

    def read(self, file: Path) -> Storyboard:
        """The storyboard of a file, whatever its format.

        Args:
            file: a storyboard in our own format, or in another that `read_storyboard` knows.

        Returns:
            What it says.

        Raises:
            ValueError: if it cannot be read.
        """
        ...

    def plan(self, file: Path) -> PlannedTake:
        """Checks a storyboard and prices it.

        Args:
            file: the storyboard.

        Returns:
            What would be made, with its cost.

        Raises:
            ValueError: naming what is wrong; a StoryboardError where it is in a line of the file.
        """
        ...

    def work(self, file: Path) -> Callable[[Watch], Path]:
        """Checks a storyboard, and gets ready to make it.

        Args:
            file: the storyboard.

        Returns:
            What makes what is missing of the take, and writes what generate.py writes.

        Raises:
            ValueError: as `plan`.
        """
        ...

    def preview(self, segment: PlannedSegment, before: PlannedSegment | None, path: Path) -> None:
        """Writes a finished segment as a video; before: what is seen before it, if that is there."""
        ...

    def attention(self, video: Path, prompt: str, time: float) -> Attention:
        """What each global token reads of a finished take that is noised.

        Args:
            video: the take.
            prompt: prompt of the take.
            time: diffusion time in [0, 1].

        Returns:
            Shares of each token, with the keyframes.

        Raises:
            ValueError: if the take is of another size, or these weights have no global tokens.
        """
        ...
