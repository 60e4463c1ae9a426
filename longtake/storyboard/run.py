"""Carries out a plan: every segment is made, read, or taken from the store, in the plan's order.

Axes: c channels, f frames, h height, w width (latents).
"""

import logging
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from longtake.storyboard.schema import EncodeGiven, FinishedSegment, MakeSegment, Plan, PlanStep
from longtake.storyboard.store import SegmentStore

log = logging.getLogger("longtake")


def make_storyboard(
    plan: Plan,
    store: SegmentStore,
    make_segment: MakeSegment,
    encode_given: EncodeGiven,
    on_segment: Callable[[PlanStep], None] | None = None,
) -> dict[str, Tensor]:
    """Latents 1 c f h w of every segment on the CPU, by name, in the order in which they are seen.

    What the store holds is not made again; each new segment is stored as soon as it is there.

    Args:
        plan: says what to make, and in which order.
        store: store of finished segments.
        make_segment: denoises one segment.
        encode_given: reads and encodes one segment of a given video.
        on_segment: called with each step as soon as its segment is in the store.

    Returns:
        Latents 1 c f h w by the segments' names.

    Raises:
        ValueError: if a segment that was made is not of the planned length, or of another size than the others.
    """
    finished: dict[str, FinishedSegment] = {}
    for number, step in enumerate(plan.steps, 1):
        latents = store.load(step)
        if latents is None:
            context = [finished[source.name] for source in step.sources]
            latents = encode_given(step) if step.given is not None else make_segment(step, context)
            latents = latents.detach().cpu()
            if latents.ndim != 5 or latents.shape[0] != 1 or latents.shape[2] != step.latents:
                raise ValueError(f"segment {step.name} is {tuple(latents.shape)}, not 1 c {step.latents} h w")
            store.save(step, latents)
            how = "read" if step.given is not None else "made"
        else:
            how = "there already"
        log.info(f"segment {number} of {len(plan.steps)}, {step.name}: {how}")
        finished[step.name] = FinishedSegment(step, latents)
        if on_segment is not None:
            on_segment(step)
    return {name: finished[name].latents for name in plan.timeline}


def whole_take(latents: Mapping[str, Tensor]) -> Tensor:
    """The take as one video, 1 c f h w, for one streaming pass through the codec's decoder; latents: as made."""
    return torch.cat(list(latents.values()), dim=2)


def boundaries(plan: Plan) -> list[int]:
    """The pixel frames at which segments begin, all but the first: for manifests and the report card."""
    frames = {step.name: step.num_frames for step in plan.steps}
    lengths = [frames[name] for name in plan.timeline]
    return [sum(lengths[:number]) for number in range(1, len(lengths))]


def cuts(plan: Plan) -> list[int]:
    """The boundaries at which the shot changes, in pixel frames."""
    shots = {step.name: step.shot for step in plan.steps}
    pairs = pairwise(plan.timeline)
    return [place for place, (a, b) in zip(boundaries(plan), pairs, strict=True) if shots[a] != shots[b]]
