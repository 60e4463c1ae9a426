"""Videos that the user gives: what is taken of them, and how they become latents.

Axes: f frames, h height, w width; latents 1 c f h w.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from longtake.storyboard.schema import (
    GivenFacts,
    GivenPart,
    GivenVideo,
    ModelLimits,
    PlanStep,
    Probe,
    Segment,
    Storyboard,
    fail,
)
from longtake.video.places import is_remote, local_file, shown
from longtake.video.probing import probe_local
from networks.codecs.rules import nearest_num_frames
from networks.interfaces import Codec

LEAD_LATENTS = 4


def given_segments(storyboard: Storyboard, limits: ModelLimits, default_latents: int, probe: Probe) -> list[Segment]:
    """The segments that the storyboard's videos become, in the take's order.

    A video that comes first gives its last frames, time_factor · n + 1 of them; one that comes last gives its first
    ones, time_factor · n, after one more that the causal codec has to see; of role `both`, its two ends have as many
    latents. What is longer than a window is cut into segments of a window, the remainder furthest from what is made;
    the one that adjoins it bears the video's name.

    Args:
        storyboard: storyboard as it was read.
        limits: what the weights can do.
        default_latents: latent frames that are kept of a video whose entry states no number.
        probe: counts a video's frames.

    Returns:
        Segments in the take's order.

    Raises:
        ValueError: if two videos claim one end, lengths break the frame rule, or a video is too short for its role.
    """
    segments: list[Segment] = []
    taken: dict[str, int] = {}
    for video in storyboard.videos:
        try:
            facts = probe(video.path)
        except (ValueError, OSError) as error:
            fail(storyboard.file, video.line, f"video {video.path}: {error}")
        for end in ("first", "last") if video.role == "both" else (video.role,):
            if end in taken:
                fail(
                    storyboard.file,
                    video.line,
                    f"this video and that of line {taken[end]} both come {end}: change a role",
                )
            taken[end] = video.line
            segments += _end(storyboard.file, video, end, facts, limits, default_latents)
    return segments


def _end(
    file: str, video: GivenVideo, end: str, facts: GivenFacts, limits: ModelLimits, default_latents: int
) -> list[Segment]:
    factor = limits.time_factor
    alone = 1 if end == "first" else 0  # the take's first latent is one frame
    latents = default_latents if video.num_frames is None else math.ceil(video.num_frames / factor)
    num_frames = factor * (latents - alone) + alone
    _check_rule(file, video, factor, num_frames)
    other = factor * latents if alone else factor * (latents - 1) + 1
    needed = num_frames + other if video.role == "both" else num_frames + 1 - alone
    if facts.num_frames < needed:
        fail(file, video.line, _too_short(video, facts, needed))
    begin = facts.num_frames - num_frames
    if video.role != "both" or alone:
        begin = {"first": begin, "last": 1, "both": 0}[video.role]
    name = end if video.role == "both" else video.name
    sizes = [limits.max_latents] * (latents // limits.max_latents)
    rest = [latents % limits.max_latents] if latents % limits.max_latents else []
    sizes = rest + sizes if end == "first" else sizes + rest
    segments: list[Segment] = []
    for number, size in enumerate(sizes, 1):
        adjoins = number == (len(sizes) if end == "first" else 1)
        frames = factor * size - (factor - 1 if alone and number == 1 else 0)
        part = GivenPart(video.path, facts.content, begin, frames)
        after = segments[-1].name if segments else None
        segments.append(_segment(video, name if adjoins else f"{name}.{number}", size, part, after))
        begin += frames
    return segments


def _too_short(video: GivenVideo, facts: GivenFacts, needed: int) -> str:
    """A sentence, with seconds where the rate is known."""
    rate, has, wants = " at the take's rate", "", ""
    if facts.fps is not None:
        rate = f" at the weights' {facts.fps:g} frames a second"
        has, wants = (f" ({frames / facts.fps:.1f} s)" for frames in (facts.num_frames, needed))
    what = {"first": "to go on from it", "last": "to lead to it", "both": "to keep both its ends"}[video.role]
    return (
        f"video {video.path} is too short: it has {facts.num_frames} frames{has}{rate}, and {what} takes "
        f"{needed}{wants}; give a longer one"
        + ("" if video.num_frames is None else f", or less than num_frames={video.num_frames}")
    )


def _check_rule(file: str, video: GivenVideo, factor: int, num_frames: int) -> None:
    """A length that the file states is one of whole latents; num_frames: the nearest above that is."""
    said = video.num_frames
    if said is None:
        return
    if video.role == "first" and said != num_frames:
        below, above = nearest_num_frames(said, factor)
        fail(file, video.line, f"num_frames={said}: a video that comes first gives {factor}n + 1, {below} or {above}")
    if video.role != "first" and said % factor:
        near = f"{max(said // factor, 1) * factor} or {(said // factor + 1) * factor}"
        fail(file, video.line, f"num_frames={said}: a video of role {video.role} gives {factor}n at an end, {near}")


def _segment(video: GivenVideo, name: str, latents: int, part: GivenPart, after: str | None) -> Segment:
    return Segment(
        name=name,
        line=video.line,
        prompt=video.prompt,
        seed=0,
        compression_ratio=video.compression_ratio,
        num_frames=part.num_frames,
        latents=latents,
        shot=video.shot,
        direction=None,
        after=after,
        before=None,
        gap=0,
        memory=(),
        given=part,
        lines={},
    )


@dataclass(frozen=True)
class VideoProbe:
    """Counts a video's frames at fps, as reading it at that rate gives them."""

    fps: float

    def __call__(self, path: Path) -> GivenFacts:
        """Frames at fps, and a hash of the file.

        Args:
            path: path or URL of the video.

        Returns:
            Number of frames at fps, and a hash of the file.

        Raises:
            ValueError: if there is no video.
        """
        if not is_remote(path) and path.is_dir():
            raise ValueError("is a folder: give a video in it")
        if not is_remote(path) and not path.is_file():
            raise ValueError("there is no such file")
        with local_file(path) as local:
            film = probe_local(local, shown(path))
            with local.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return GivenFacts(film.count(self.fps), content, self.fps)


class ReadFrames(Protocol):
    """Decodes frames of a video at one size and rate: f h w c, uint8 RGB."""

    def __call__(
        self, path: Path, *, height: int, width: int, fps: float, crop_place: float, first: int, num_frames: int
    ) -> Any:
        """crop_place: in [0, 1], where along the side that is too long; num_frames are given from `first` on."""
        ...


@dataclass(frozen=True)
class GivenReader:
    """Turns steps of task `given` into latents; read_frames: of the data package, handed in by the program."""

    codec: Codec
    read_frames: ReadFrames
    height: int
    width: int
    fps: float
    device: torch.device

    @torch.no_grad()
    def __call__(self, step: PlanStep) -> Tensor:
        """Latents 1 c f h w of the step's frames.

        A causal codec encodes the first frame that it sees as a latent of its own kind, which belongs nowhere but at
        the start of a take. So a part from the middle is encoded with a few frames before it, whose latents are
        dropped. Source: our choice; LEAD_LATENTS latents of lead, or as many as there are.

        Args:
            step: a step of task `given`.

        Returns:
            Latents 1 c f h w.

        Raises:
            ValueError: if the video has become shorter than it was when it was planned.
        """
        assert step.given is not None
        part, factor = step.given, self.codec.time_factor
        lead = 0 if step.starts_take else min((part.begin - 1) // factor, LEAD_LATENTS - 1) * factor + 1
        size: dict[str, Any] = {"height": self.height, "width": self.width, "fps": self.fps, "crop_place": 0.5}
        needed = lead + part.num_frames
        frames = self.read_frames(part.path, **size, first=part.begin - lead, num_frames=needed)
        if len(frames) < needed:
            raise ValueError(
                f"video {part.path} gives {len(frames)} frames, but {needed} are needed: it has changed, so start again"
            )
        video = rearrange(torch.from_numpy(frames), "f h w c -> 1 c f h w").to(self.device).float() / 127.5 - 1
        return self.codec.encode(video)[:, :, -step.latents :].cpu()
