"""The types of a storyboard, of its plan, and of what carries it out.

A take is a video made of segments. A shot is the segments between which there is no cut; every shot has a timeline of
its own, in latent frames from the first latent of its segment that is listed first (given videos before all others).
The order on the screen is the timeline of the take. Axes of latents: 1 c f h w.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from torch import Tensor

from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import CanvasPlan

DIRECTIONS = ("predict", "retrodict", "interpolate", "new_shot")
ROLES = ("first", "last", "both")


class StoryboardError(ValueError):
    """What is wrong with a storyboard, and in which line of its file."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}, line {line}: {reason}")
        self.line, self.reason = line, reason


def fail(file: str, line: int, reason: str) -> NoReturn:
    """Refuses a storyboard.

    Args:
        file: its name.
        line: counted from 1.
        reason: what is wrong, and what would do.

    Raises:
        StoryboardError: always, naming the file, the line and the reason.
    """
    raise StoryboardError(file, line, reason)


def seed_of(seed: int, name: str) -> int:
    """The seed of a segment that states none, from that of the take and the segment's name.

    Source: our choice, so that a segment that is inserted, moved or dropped rolls no other anew.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")


class GivenFacts(NamedTuple):
    """A video file that the user gives.

    num_frames: at the take's rate; content: a hash of its bytes; fps: the take's frames a second, None where no
    sentence needs them.
    """

    num_frames: int
    content: str
    fps: float | None = None


class GivenPart(NamedTuple):
    """The frames of a given video that make a segment: num_frames of them from begin, at the take's rate."""

    path: Path
    content: str
    begin: int
    num_frames: int


@dataclass(frozen=True)
class GivenVideo:
    """A video at the start of the take (its end is continued), at the end (its start is led to), or both.

    role `both`: its start and its end are kept, and what lies between is made anew. num_frames: how much of it is
    kept at each end, None for one segment.
    """

    path: Path
    role: str
    name: str
    prompt: str
    compression_ratio: float | None
    num_frames: int | None
    shot: str | None
    line: int


@dataclass(frozen=True)
class Segment:
    """One segment as written; None where the file says nothing.

    seed: seed of its noise; compression_ratio: video tokens a context token where it is remembered; num_frames: its
    length in pixel frames, or latents: in latent frames; shot: a label; after, before: the segments it adjoins; gap:
    pixel frames of the shot that pass unseen after `after`; memory: None remembers all that is finished, () only what
    it adjoins; given: its frames, if they are not made but read; lines: of the keys that the file states.
    """

    name: str
    line: int
    prompt: str
    seed: int
    compression_ratio: float | None
    num_frames: int | None
    latents: int | None
    shot: str | None
    direction: str | None
    after: str | None
    before: str | None
    gap: int
    memory: tuple[str, ...] | None
    given: GivenPart | None
    lines: Mapping[str, int]

    def line_of(self, *keys: str) -> int:
        """The line of the first of these keys that the file states, or the segment's own."""
        return next((self.lines[key] for key in keys if key in self.lines), self.line)


@dataclass(frozen=True)
class Storyboard:
    """A whole file; segment_frames: pixel frames where a segment says nothing; lines: of the keys that are stated;
    control: file with a row of numbers for each pixel frame of the take.
    """

    file: str
    compression_ratio: float | None
    segment_frames: int | None
    videos: tuple[GivenVideo, ...]
    segments: tuple[Segment, ...]
    lines: Mapping[str, int]
    control: Path | None = None


class ModelLimits(NamedTuple):
    """What the weights can do.

    fingerprint: hash of the weights and of every setting that changes a sample (sampler, steps, guidance, size): a
    segment made under another one is made again. max_latents: the longest segment, in latent frames.
    tokens_per_latent: video tokens of a latent frame. time_factor: pixel frames a latent frame. memory: how many
    segments are remembered at once, and how coarsely where the storyboard does not say. overlap_frames: clean latent
    frames of what adjoins a segment that its canvas has room for, at each side. control: columns of the control that
    they take, () for none.
    """

    fingerprint: str
    max_latents: int
    tokens_per_latent: int
    time_factor: int
    memory: MemoryPolicy
    overlap_frames: int = 0
    control: tuple[str, ...] = ()


class Source(NamedTuple):
    """A remembered segment as seen from the one that remembers it.

    compression_ratio: video tokens a context token. distance: latent frames from its first to the first of the other,
    along the shot where both are of one shot, else along the take. cuts: how many cuts lie between, negative if it is
    seen earlier, 0 within a shot.
    """

    name: str
    compression_ratio: float
    distance: int
    cuts: int


@dataclass(frozen=True)
class PlanStep:
    """One segment to make (task: one of DIRECTIONS) or to read (task `given`).

    latents: its latent frames. offset: place on its shot's timeline, may be negative. start: place in the take. shot:
    number of its shot, in the order in which shots are begun. sources: what it remembers, in the order of the take.
    before, after: finished segments that directly adjoin it within its shot. starts_take: its first latent is the
    take's first, which is one pixel frame and not time_factor. canvas: what is denoised for it, its frames counted from
    its own first one. key: hash of everything that determines its latents. control: f (p n), numbers of its latent
    frames (see `networks.control`), None where it is not steered.
    """

    name: str
    task: str
    latents: int
    num_frames: int
    offset: int
    start: int
    shot: int
    sources: tuple[Source, ...]
    before: str | None
    after: str | None
    prompt: str
    seed: int
    compression_ratio: float
    starts_take: bool
    given: GivenPart | None
    line: int
    canvas: CanvasPlan
    key: str
    control: Tensor | None = field(default=None, compare=False)  # the key stands for it


class Plan(NamedTuple):
    """Steps in the order in which they are made; timeline: names in the order in which they are seen."""

    steps: tuple[PlanStep, ...]
    timeline: tuple[str, ...]


class FinishedSegment(NamedTuple):
    """A segment that is there: 1 c f h w latents on the CPU."""

    step: PlanStep
    latents: Tensor


class MakeSegment(Protocol):
    """Denoises one segment."""

    def __call__(self, step: PlanStep, context: Sequence[FinishedSegment]) -> Tensor:
        """context: the finished segments of step.sources, in their order; returns latents 1 c step.latents h w."""
        ...


EncodeGiven = Callable[[PlanStep], Tensor]
"""Reads a step of task `given`: latents 1 c step.latents h w."""

Probe = Callable[[Path], GivenFacts]
"""Looks at a given video without decoding it; raises ValueError if there is no video there."""
