"""Canvases as a plan has them: noise, known frames and memory put in their slots.

Axes: b batch, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longtake.objectives.paths import add_noise
from longtake.rollouts.interfaces import Canvas, Generate, Given, Wrap, unwrapped
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, check_plan
from networks.interfaces import Condition, Context, SegmentBatch


class PastSegment(NamedTuple):
    """What is remembered: clean latents b c f h w, text b l e, its mask b l or None, and further inputs, b f d each."""

    video: Tensor
    text: Tensor
    text_mask: Tensor | None
    per_frame: Mapping[str, Tensor] = {}


class Opened(NamedTuple):
    """A canvas to be denoised: noise b c j h w, its condition, and its clean frames, or None where it has none."""

    noise: Tensor
    condition: Condition
    given: Given | None


def open_canvas(
    plan: CanvasPlan,
    *,
    noise: Tensor,
    condition: Condition,
    known: Tensor | None,
    past: Sequence[PastSegment] = (),
    noise_level: float = 0.0,
) -> Opened:
    """Puts everything in its slot.

    Args:
        plan: plan of the canvas.
        noise: b c n h w, of the new slots.
        condition: condition of the whole video, b f; beyond its ends frames are counted on.
        known: b c m h w, clean, of the known slots; None where there are none.
        past: one for each of plan.remembered.
        noise_level: time in [0, 1] of the noise that is added to what is remembered.

    Returns:
        Noise, condition and known frames of the canvas, b c f h w with f its slots.
    """
    batch, channels, _, height, width = noise.shape
    count, device = len(plan.frames), noise.device
    if len(plan.new) < count:
        noise = _spread(noise, plan.new, noise.new_zeros(batch, channels, count, height, width))
    given = None
    if known is not None and plan.known:
        clean = noise.new_zeros(batch, channels, count, height, width)
        given = Given(_mask(plan.known, batch, count, device), _spread(known.to(noise), plan.known, clean))
    placed = _of_slots(condition, plan)
    if plan.empty:
        placed = placed._replace(frame_mask=~_mask(plan.empty, batch, count, device))
    if plan.remembered:
        contexts = (remembered(*pair, noise_level) for pair in zip(past, plan.remembered, strict=True))
        placed = placed._replace(shot=torch.zeros(batch, dtype=torch.long, device=device), context=tuple(contexts))
    return Opened(noise, placed, given)


def denoise(generate: Generate, opened: Opened, plan: CanvasPlan, wrap: Wrap = unwrapped) -> Tensor:
    """The new frames of a canvas, b c n h w, in the order of their slots."""
    return take(generate(*opened, wrap=wrap), plan.new)


def carry_out(
    plans: Sequence[CanvasPlan], generate: Generate, canvas: Canvas, wrap: Wrap, noise_level: float
) -> Tensor:
    """Denoises one canvas after another: the video b c f h w.

    Args:
        plans: together they make every frame; each knows and remembers what those before it made.
        generate: denoises a canvas.
        canvas: noise and condition of the whole video.
        wrap: what the sampler sees of the network.
        noise_level: time in [0, 1] of the noise that is added to what is remembered.

    Returns:
        Clean latents b c f h w of the whole video.
    """
    noise, condition = canvas
    assert condition.frame_mask is None, "a canvas to be filled holds all its frames"
    check_plan(plans, noise.shape[2])
    video: Tensor | None = None
    for plan in plans:
        past = [] if video is None else [_past(video, condition, each) for each in plan.remembered]
        opened = open_canvas(
            plan,
            noise=take(noise, plan.new_frames),
            condition=condition,
            known=None if video is None else take(video, [plan.frames[slot] for slot in plan.known]),
            past=past,
            noise_level=noise_level,
        )
        made = denoise(generate, opened, plan, wrap)
        if len(plans) == 1:
            return made
        if video is None:
            video = torch.zeros_like(noise, dtype=made.dtype)
        video = _spread(made, plan.new_frames, video)
    assert video is not None, "a plan has canvases"
    return video


def remembered(past: PastSegment, plan: RememberedSegment, noise_level: float) -> Context:
    """A finished segment as the network remembers it; its noise is one for all rows, whoever is beside them.

    Args:
        past: its latents and text.
        plan: place of the segment, and the ratio at which it is remembered.
        noise_level: time in [0, 1] of the noise that is added to it.

    Returns:
        One segment a row, to be compressed at the plan's ratio.
    """
    batch, _, count = past.video.shape[:3]
    device = past.video.device
    levels = torch.full((batch,), noise_level, device=device)
    generator = None  # on the device meta, where nothing is drawn
    if device.type != "meta":
        generator = torch.Generator(device).manual_seed(plan.start & 0x7FFFFFFF)  # the same whoever remembers it
    known = past.text_mask
    if known is None:
        known = torch.ones(past.text.shape[:2], dtype=torch.bool, device=device)
    index = plan.start + torch.arange(count, device=device, dtype=torch.float32)
    segments = SegmentBatch(
        video=add_noise(past.video, levels, generator, shared=True).unsqueeze(1),
        frame_index=index.expand(batch, 1, -1),
        text=past.text.unsqueeze(1),
        text_mask=known.unsqueeze(1),
        shot=torch.full((batch, 1), plan.cuts, device=device),
        valid=torch.ones(batch, 1, dtype=torch.bool, device=device),
        per_frame={name: values.unsqueeze(1) for name, values in past.per_frame.items()},
    )
    return Context(segments, levels.unsqueeze(1), plan.compression_ratio, complete=past.text_mask is None)


def take(video: Tensor, frames: Sequence[int]) -> Tensor:
    """These frames of a video b c f h w: a view where they follow one another."""
    if frames and list(frames) == list(range(frames[0], frames[-1] + 1)):
        return video[:, :, frames[0] : frames[-1] + 1]
    return video[:, :, list(frames)]


def _spread(frames: Tensor, slots: Sequence[int], canvas: Tensor) -> Tensor:
    """A canvas b c f h w, in which frames b c n h w now stand in their slots."""
    canvas[:, :, list(slots)] = frames.to(canvas.dtype)
    return canvas


def _mask(slots: Sequence[int], batch: int, count: int, device: torch.device) -> Tensor:
    """True in these slots: b f."""
    mask = torch.zeros(batch, count, dtype=torch.bool, device=device)
    mask[:, list(slots)] = True
    return mask


def _past(video: Tensor, condition: Condition, plan: RememberedSegment) -> PastSegment:
    """A segment of the video so far, b c f h w; condition: of all frames."""
    own = condition.frames(slice(plan.start, plan.start + plan.frames))
    return PastSegment(take(video, range(plan.start, plan.start + plan.frames)), own.text, own.text_mask, own.per_frame)


def _of_slots(condition: Condition, plan: CanvasPlan) -> Condition:
    """The condition of a canvas's slots; beyond the video's ends its first or last frame stands in, at their place."""
    count, device = condition.frame_index.shape[1], condition.frame_index.device
    positions = plan.positions or plan.frames
    if plan.frames == positions == tuple(range(count)):
        return condition
    frames, asked = (torch.tensor(x, device=device) for x in (plan.frames, positions))
    inside = asked.clamp(0, count - 1)
    index = condition.frame_index[:, inside] + (asked - inside)
    return condition.frames(frames.clamp(0, count - 1))._replace(frame_index=index)
