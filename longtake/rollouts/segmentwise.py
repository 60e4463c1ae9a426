"""Long videos segment by segment, each with the compressed memory of finished ones.

Axes: b batch, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longtake.objectives.paths import add_noise
from longtake.rollouts.interfaces import Canvas, Generate, Given
from networks.interfaces import Condition, Context, SegmentBatch
from networks.ranges import Count, Rate, Size, Time


class Piece(NamedTuple):
    """A finished segment: latents b c f h w, its first place on the timeline, its text, its shot and its rate.

    per_frame: its further inputs, b f d each, as in Condition.
    """

    video: Tensor
    start: int
    text: Tensor
    text_mask: Tensor | None
    shot: int
    rate: float
    per_frame: Mapping[str, Tensor] = {}


class Window(NamedTuple):
    """A canvas to be denoised and where the segment lies in it: frames `first` to `first + num_frames`."""

    noise: Tensor
    condition: Condition
    given: Given | None
    first: int
    num_frames: int


def open_window(
    noise: Tensor,
    *,
    start: int,
    text: Tensor,
    text_mask: Tensor | None,
    shot: int,
    memory: Sequence[Piece],
    before: Tensor | None,
    after: Tensor | None,
    window_frames: int,
    memory_level: float,
    per_frame: Mapping[str, Tensor] | None = None,
) -> Window:
    """The canvas of one segment, with room on both sides as in training.

    noise: b c f h w, the segment's; start: its first place on the timeline; before, after: clean frames b c m h w that
    directly adjoin it within the shot, None at a cut; memory_level: time of the small noise on what is remembered,
    which keeps errors from adding up (LoViC open point 6.11). per_frame: inputs of the canvas, the room on both sides
    included, b f d each.
    """
    batch, _, count = noise.shape[:3]
    sides = (window_frames, window_frames)
    canvas = torch.nn.functional.pad(noise, (0, 0, 0, 0, *sides))
    known = torch.zeros(batch, canvas.shape[2], dtype=torch.bool, device=noise.device)
    video = torch.zeros_like(canvas)
    if before is not None and (m := min(window_frames, before.shape[2])) > 0:
        video[:, :, window_frames - m : window_frames] = before[:, :, before.shape[2] - m :]
        known[:, window_frames - m : window_frames] = True
    if after is not None and (m := min(window_frames, after.shape[2])) > 0:
        video[:, :, window_frames + count : window_frames + count + m] = after[:, :, :m]
        known[:, window_frames + count : window_frames + count + m] = True
    exists = known.clone()
    exists[:, window_frames : window_frames + count] = True
    index = start - window_frames + torch.arange(canvas.shape[2], device=noise.device, dtype=torch.float32)
    condition = Condition(
        frame_index=index.expand(batch, -1),
        text=text,
        text_mask=text_mask,
        frame_mask=exists,
        shot=torch.full((batch,), shot, device=noise.device),
        context=tuple(remembered(piece, memory_level) for piece in memory),
        per_frame=per_frame or {},
    )
    given = Given(known, video) if bool(known.any()) else None
    return Window(canvas, condition, given, window_frames, count)


def remembered(piece: Piece, level: float) -> Context:
    """A finished segment as the network remembers it; level: time of the noise that is added to it."""
    batch, _, count = piece.video.shape[:3]
    device = piece.video.device
    levels = torch.full((batch,), level, device=device)
    generator = torch.Generator(device).manual_seed(piece.start & 0x7FFFFFFF)  # the same whoever remembers it
    known = piece.text_mask
    if known is None:
        known = torch.ones(piece.text.shape[:2], dtype=torch.bool, device=device)
    index = piece.start + torch.arange(count, device=device, dtype=torch.float32)
    segments = SegmentBatch(
        video=add_noise(piece.video, levels, generator).unsqueeze(1),
        frame_index=index.expand(batch, 1, -1),
        text=piece.text.unsqueeze(1),
        text_mask=known.unsqueeze(1),
        shot=torch.full((batch, 1), piece.shot, device=device),
        valid=torch.ones(batch, 1, dtype=torch.bool, device=device),
        per_frame={name: values.unsqueeze(1) for name, values in piece.per_frame.items()},
    )
    return Context(segments, levels.unsqueeze(1), piece.rate, complete=piece.text_mask is None)


def denoise_window(generate: Generate, window: Window) -> Tensor:
    """The segment's latents b c f h w."""
    made = generate(window.noise, window.condition, window.given)
    return made[:, :, window.first : window.first + window.num_frames]


def within_budget(pieces: Sequence[Piece], *, near: int, most: int) -> list[Piece]:
    """At most `most` pieces to remember for a segment at place `near`: the first of all, and the nearest.

    Source: our choice: the first one holds what the video is about, the nearest ones what is going on.
    """
    if len(pieces) <= most:
        return list(pieces)
    nearest = sorted(pieces[1:], key=lambda piece: abs(piece.start - near))[: most - 1]
    return [piece for piece in pieces if piece is pieces[0] or any(piece is kept for kept in nearest)]


class Segmentwise:
    """`rollout=segmentwise`: forwards from nothing, every segment predicted from those before it.

    Everything stays in latents. Memory is bounded: a fixed number of segments is remembered, at rates that may grow
    with distance. Source: LoViC §5.
    """

    network_part = ""

    def __init__(
        self,
        *,
        segment_frames: Size,
        window_frames: Count,
        max_context: Count,
        rate: Rate,
        rate_growth: Rate,
        max_rate: Rate,
        memory_level: Time,
    ) -> None:
        """Sizes in latent frames; max_context: segments remembered at once; rate: of the nearest one.

        rate_growth: factor from each remembered segment to the one before it, up to max_rate.

        Raises:
            ValueError: for sizes without room, rates below 1, or a rate above max_rate.
        """
        if segment_frames < 1 or window_frames < 0 or max_context < 0:
            raise ValueError(
                f"rollout.segment_frames={segment_frames} must be at least 1, rollout.window_frames={window_frames} "
                f"and rollout.max_context={max_context} at least 0"
            )
        if min(rate, rate_growth, max_rate) < 1:
            raise ValueError(
                f"rollout.rate={rate}, rate_growth={rate_growth} and max_rate={max_rate} must be at least 1"
            )
        if rate > max_rate:
            raise ValueError(
                f"rollout.rate={rate:g} is above rollout.max_rate={max_rate:g}: lower it or raise max_rate"
            )
        self.segment_frames = segment_frames
        self.window_frames = window_frames
        self.max_context = max_context
        self.rate = rate
        self.rate_growth = rate_growth
        self.max_rate = max_rate
        self.memory_level = memory_level

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        condition = canvas.condition
        pieces: list[Piece] = []
        for start in range(0, canvas.noise.shape[2], self.segment_frames):
            noise = canvas.noise[:, :, start : start + self.segment_frames]
            own = condition.frames(slice(start, start + self.segment_frames))
            window = open_window(
                noise,
                start=start,
                text=own.text,
                text_mask=own.text_mask,
                shot=0,
                memory=self._memory(pieces, start),
                before=pieces[-1].video if pieces else None,
                after=None,
                window_frames=self.window_frames,
                memory_level=self.memory_level,
                per_frame=condition.frames(self._with_sides(start, noise.shape[2], condition)).per_frame,
            )
            made = denoise_window(generate, window)
            pieces.append(Piece(made, start, own.text, own.text_mask, 0, self.rate, own.per_frame))
        return torch.cat([piece.video for piece in pieces], dim=2)

    def _with_sides(self, start: int, count: int, condition: Condition) -> Tensor:
        """Frames of a segment with the room on both sides; where the canvas ends, its first or last stands in."""
        index = torch.arange(start - self.window_frames, start + count + self.window_frames)
        return index.clamp(0, condition.frame_index.shape[1] - 1).to(condition.frame_index.device)

    def _memory(self, pieces: Sequence[Piece], start: int) -> list[Piece]:
        if self.max_context == 0:
            return []
        kept = within_budget(pieces, near=start, most=self.max_context)
        rates = [min(self.rate * self.rate_growth**age, self.max_rate) for age in range(len(kept))][::-1]
        return [piece._replace(rate=rate) for piece, rate in zip(kept, rates, strict=True)]
