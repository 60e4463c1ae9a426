"""What is generated from what: one target segment a row, and the segments before and after it that are known.

Axes: b batch, s slots of a row, k slots of the context, c channels, f frames, h height, w width (latents); l text
tokens, e text features.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from networks.batches import on_device
from networks.interfaces import SegmentBatch
from networks.ranges import Count, Share, Size


class TaskName(IntEnum):
    """A task, by what is known: 1 for something before, 2 for something after."""

    UNCONDITIONAL = 0
    PREDICTION = 1
    RETRODICTION = 2
    INTERPOLATION = 3


class SegmentTask(NamedTuple):
    """One target a row, on a canvas with room for the frames that directly adjoin it.

    target: b, its slot. context: k slots of what is known, in order, first those that are valid; the rest is zero.
    video: b c f h w, the canvas's clean latents: those before, the target's own, those after; zero where unknown.
    frame_index: b f; frame_mask: b f, True where a frame exists and is known, or is the target's own.
    own: f, True for the frames to be generated. text: b l e; text_mask: b l; shot: b; name: b, a TaskName.
    per_frame: further inputs of the canvas, b f d each, as in Condition.
    target, frame_mask, own, text_mask and name, and of the context valid and text_mask, lie where the batch's valid
    does: in host memory, where it is known without waiting whether they mask anything.
    """

    target: Tensor
    context: SegmentBatch
    video: Tensor
    frame_index: Tensor
    frame_mask: Tensor
    own: Tensor
    text: Tensor
    text_mask: Tensor
    shot: Tensor
    name: Tensor
    per_frame: Mapping[str, Tensor] = {}


class Choice(NamedTuple):
    """A row's target and its known slots, rising."""

    target: int
    known: list[int]


class TaskSampler:
    """Draws every row's task by itself, so that one batch holds all of them.

    Source: MCVD (arXiv 2205.09853), whose past and future are dropped independently. That the target is drawn among
    the slots that can have the task, so that shares are exact, is our choice, and so are the window's frames.
    """

    def __init__(
        self,
        *,
        past_prob: Share,
        future_prob: Share,
        max_context: Size,
        neighbour_gap_prob: Share,
        window_frames: Count,
        min_context: Size = 1,
        first_target: Count = 0,
    ) -> None:
        """Take the shares and counts that tasks are drawn by.

        Args:
            past_prob: share of rows that know something before the target, in [0, 1].
            future_prob: share of rows that know something after it, in [0, 1].
            max_context: segments known at most, at least 2.
            neighbour_gap_prob: how often, on either side, the nearest segment is withheld where there are others.
            window_frames: clean latent frames of a known segment that directly adjoins the target, on each side.
            min_context: segments known at least, where a row knows any and has so many.
            first_target: slot before which no target lies, where a row has others that can have the task.

        Raises:
            ValueError: if a share or a count is out of range.
        """
        shares = {"past": past_prob, "future": future_prob, "neighbour_gap": neighbour_gap_prob}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"tasks.{name}_prob={share} must be between 0 and 1")
        if max_context < 2:
            raise ValueError(f"tasks.max_context={max_context} must be at least 2: one segment before and one after")
        if window_frames < 0:
            raise ValueError(f"tasks.window_frames={window_frames} must be at least 0")
        if not 1 <= min_context <= max_context:
            raise ValueError(f"tasks.min_context={min_context} must be from 1 to tasks.max_context={max_context}")
        self.past_prob, self.future_prob = past_prob, future_prob
        self.max_context, self.neighbour_gap_prob = max_context, neighbour_gap_prob
        self.window_frames = window_frames
        self.min_context, self.first_target = min_context, first_target

    def __call__(self, batch: SegmentBatch, rows: Sequence[torch.Generator]) -> SegmentTask:
        """Draws a task for each row, from the row's own generator and its valid slots alone.

        Args:
            batch: rows of segments.
            rows: one generator a row, in host memory.

        Returns:
            The tasks of all rows.

        Raises:
            ValueError: if a window is longer than a segment.
        """
        num_slots = batch.valid.shape[1]
        drawn = torch.stack([torch.rand(6 + num_slots, device=row.device, generator=row) for row in rows]).tolist()
        choices = [self.choose(v, u) for v, u in zip(batch.valid.tolist(), drawn, strict=True)]
        return build_task(batch, choices, self.max_context, self.window_frames)

    def choose(self, valid: Sequence[bool], uniform: Sequence[float]) -> Choice:
        """A row's task from numbers uniform in [0, 1): six, and one for each slot."""
        keeps_past, keeps_future = uniform[0] < self.past_prob, uniform[1] < self.future_prob
        targets = _targets(valid, keeps_past, keeps_future)
        if not targets:  # too few slots for both sides, or for one
            targets = _targets(valid, keeps_past, False) or _targets(valid, False, False)
            keeps_past, keeps_future = keeps_past and len(targets) < sum(valid), False
        targets = [slot for slot in targets if slot >= self.first_target] or targets
        target = targets[int(uniform[2] * len(targets))]
        before, after = _sides(valid, target)
        sides = [side for side, keeps in ((before, keeps_past), (after, keeps_future)) if keeps]
        order = uniform[6:]
        known, others = [], []
        for side, gap in zip(sides, uniform[3:5], strict=False):
            withheld = len(side) > 1 and gap < self.neighbour_gap_prob
            left = side[1:] if withheld else side
            first = min(left, key=lambda slot: order[slot]) if withheld else left[0]
            known.append(first)
            others += [slot for slot in left if slot != first]
        most = min(self.max_context, len(known) + len(others))
        least = min(most, max(len(known), self.min_context))
        count = least + int(uniform[5] * (most - least + 1))
        known += sorted(others, key=lambda slot: order[slot])[: count - len(known)]
        return Choice(target, sorted(known))


WINDOWLESS, GAP = "windowless_", "gap_"
"""Fixed tasks that ask more of memory: the window holds no clean frames of the neighbours, or memory lacks them too."""


def task_of(name: str) -> TaskName:
    """The task that a name of validation means, with or without `windowless_` or `gap_`.

    Args:
        name: name of a validation loss.

    Returns:
        The task.

    Raises:
        ValueError: if there is no such task.
    """
    names = [task.name.lower() for task in TaskName]
    plain = name.removeprefix(GAP if name.startswith(GAP) else WINDOWLESS)
    if plain not in names:
        raise ValueError(
            f"validation_tasks={name}: must be one of {', '.join(names)}, perhaps after {WINDOWLESS} or {GAP}"
        )
    return TaskName(names.index(plain))


def fixed_task(name: str, batch: SegmentBatch, tasks: TaskSampler) -> SegmentTask:
    """The same task for all rows, for validation: the middle slot where targets lie, from the nearest known ones.

    Args:
        name: prediction, retrodiction, interpolation or unconditional, perhaps after `windowless_` or `gap_`; all have
            the same targets, so that their losses compare. A row that has no slot on a side knows nothing of that side.
        batch: rows of segments.
        tasks: how many segments are remembered, and how many frames lie beside the target.

    Returns:
        The task of all rows.

    Raises:
        ValueError: if there is no such task.
    """
    task, nearest_left = task_of(name), int(name.startswith(GAP))
    choices = []
    for valid in batch.valid.tolist():
        slots = _targets(valid, False, False)
        slots = [slot for slot in slots if slot >= tasks.first_target] or slots
        target = slots[len(slots) // 2]
        before, after = (side[nearest_left:] for side in _sides(valid, target))
        known = before * bool(task & TaskName.PREDICTION) + after * bool(task & TaskName.RETRODICTION)
        nearest = sorted((abs(slot - target), slot) for slot in known)[: tasks.max_context]
        choices.append(Choice(target, sorted(slot for _, slot in nearest)))
    made = build_task(batch, choices, tasks.max_context, tasks.window_frames)
    return hide_window(made) if name.startswith(WINDOWLESS) else made


def hide_window(task: SegmentTask) -> SegmentTask:
    """The same without the clean frames beside the target's own."""
    own = rearrange(on_device(task.own, task.video.device), "f -> f 1 1")
    return task._replace(video=task.video * own, frame_mask=task.frame_mask & task.own)


def build_task(batch: SegmentBatch, choices: Sequence[Choice], num_context: int, window_frames: int) -> SegmentTask:
    """Gathers the context, num_context slots a row, and the canvas, with window_frames on each side.

    Args:
        batch: rows of segments.
        choices: target and known slots of each row.
        num_context: slots of context a row.
        window_frames: latent frames on each side.

    Returns:
        The task of all rows.

    Raises:
        ValueError: if a window is longer than a segment.
    """
    segment_frames, device = batch.video.shape[3], batch.video.device
    host = batch.valid.device
    if window_frames > segment_frames:
        raise ValueError(
            f"tasks.window_frames={window_frames} is more than the {segment_frames} latent frames of a segment"
        )
    target = torch.tensor([choice.target for choice in choices], device=host)
    rows = torch.arange(len(choices), device=host)
    sides = [_adjoining(batch, choices, side) for side in (-1, 1)]

    def canvas(values: Tensor) -> Tensor:
        """Values b s f … of the target's slot, with those of the frames on both sides: b f …."""
        (before, _), (after, _) = sides
        last = _at(values, rows, before)[:, segment_frames - window_frames :]
        return torch.cat([last, _at(values, rows, target), _at(values, rows, after)[:, :window_frames]], dim=1)

    known = torch.stack([sides[0][1], torch.ones_like(sides[0][1]), sides[1][1]], dim=1)
    counts = torch.tensor([window_frames, segment_frames, window_frames], device=host)
    mask = known.repeat_interleave(counts, dim=1, output_size=segment_frames + 2 * window_frames)
    video = canvas(rearrange(batch.video, "b s c f h w -> b s f c h w"))
    video = video * rearrange(on_device(mask, device), "b f -> b f 1 1 1")
    offsets = torch.arange(-window_frames, segment_frames + window_frames, device=host)
    name = [
        TaskName.PREDICTION * any(slot < choice.target for slot in choice.known)
        + TaskName.RETRODICTION * any(slot > choice.target for slot in choice.known)
        for choice in choices
    ]
    return SegmentTask(
        target=target,
        context=_gather(batch, [choice.known for choice in choices], num_context),
        video=rearrange(video, "b f c h w -> b c f h w").contiguous(),
        frame_index=on_device(_at(batch.frame_index, rows, target)[:, :1] + offsets, device),
        frame_mask=mask,
        own=(offsets >= 0) & (offsets < segment_frames),
        text=_at(batch.text, rows, target),
        text_mask=_at(batch.text_mask, rows, target),
        shot=on_device(_at(batch.shot, rows, target), device),
        name=torch.tensor(name, device=host),
        per_frame={name: canvas(values) for name, values in batch.per_frame.items()},
    )


def _at(values: Tensor, *places: Tensor) -> Tensor:
    """Values at places that lie in other memory."""
    return values[tuple(on_device(place, values.device) for place in places)]


def _targets(valid: Sequence[bool], past: bool, future: bool) -> list[int]:
    """Slots that hold something and, where that is asked for, have such a slot before them, and after them."""
    slots = [slot for slot, holds in enumerate(valid) if holds]
    assert slots, "a row holds at least one segment"
    return slots[past : len(slots) - future]


def _sides(valid: Sequence[bool], target: int) -> tuple[list[int], list[int]]:
    """Slots that hold something before a target, and after it, nearest first."""
    slots = [slot for slot, holds in enumerate(valid) if holds]
    return [slot for slot in reversed(slots) if slot < target], [slot for slot in slots if slot > target]


def _gather(batch: SegmentBatch, known: Sequence[list[int]], num_context: int) -> SegmentBatch:
    """The known slots of each row, padded to num_context; what pads is zero, so that nothing of the target leaks."""
    device, host = batch.video.device, batch.valid.device
    slots = torch.tensor([own + [0] * (num_context - len(own)) for own in known], device=host)
    valid = torch.tensor([[place < len(own) for place in range(num_context)] for own in known], device=host)
    rows = rearrange(torch.arange(len(known), device=host), "b -> b 1")
    picked, exists = batch.map(lambda x: _at(x, rows, slots)), on_device(valid, device)
    return picked._replace(
        video=picked.video * rearrange(exists, "b k -> b k 1 1 1 1"),
        text=picked.text * rearrange(exists, "b k -> b k 1 1"),
        frame_index=on_device(picked.frame_index, device),
        shot=on_device(picked.shot, device),
        text_mask=picked.text_mask & rearrange(valid, "b k -> b k 1"),
        valid=valid,
    )


def _adjoining(batch: SegmentBatch, choices: Sequence[Choice], side: int) -> tuple[Tensor, Tensor]:
    """The slot before (side -1) or after (1) each target, b, and whether its frames adjoin the target's, b.

    They do where that slot is known, of the same shot, and next to the target on the timeline. Elsewhere the target
    itself stands in; all of it is hidden.
    """
    host = batch.valid.device
    target = torch.tensor([choice.target for choice in choices], device=host)
    known = torch.tensor([choice.target + side in choice.known for choice in choices], device=host)
    slot = torch.where(known, target + side, target)
    rows = torch.arange(len(choices), device=host)
    first, last = (target, slot) if side < 0 else (slot, target)
    index, shot = on_device(batch.frame_index, host), on_device(batch.shot, host)
    adjoins = index[rows, first, 0] == index[rows, last, -1] + 1
    return slot, known & adjoins & (shot[rows, slot] == shot[rows, target])
