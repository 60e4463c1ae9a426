"""What a storyboard costs, segment by segment, before anything is made."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longtake.cost.counting import on_meta
from longtake.cost.sampling import CanvasCost, CanvasCounter, VideoSize
from longtake.rollouts.canvas import PastSegment, open_canvas
from longtake.rollouts.plan import CanvasPlan
from networks.interfaces import VideoNetwork


class SegmentCost(NamedTuple):
    """A segment's canvas, and the context tokens of each segment that it remembers, in the plan's order."""

    canvas: CanvasCost
    tokens: tuple[int, ...]


def segment_costs(
    network: VideoNetwork, plans: Sequence[CanvasPlan], video: VideoSize, without: Sequence[str] = ()
) -> list[SegmentCost]:
    """What one step costs on each canvas, with one call of the network; canvases are as in `open_canvas`.

    Args:
        network: the network with its weights, which are not touched.
        plans: plans of canvases whose frames are counted from their own first one.
        video: gives channels and sides of the latents, and the size of a text.
        without: names that every condition goes without.

    Returns:
        A cost for each canvas, in order.
    """
    network = on_meta(network).eval().requires_grad_(False)
    counter, found = CanvasCounter(network, torch.float32, without), []
    for plan in plans:
        condition = video.condition(len(plan.new), torch.float32)
        past = [PastSegment(video.noise(each.frames), *condition[1:3]) for each in plan.remembered]
        known: Tensor | None = video.noise(len(plan.known)) if plan.known else None
        opened = open_canvas(plan, noise=video.noise(len(plan.new)), condition=condition, known=known, past=past)
        counter(*opened)
        tokens = tuple(counter.context_tokens(opened.condition, context) for context in opened.condition.context)
        found.append(SegmentCost(counter.canvases[-1], tokens))
    return found
