"""`generate.py dry_run=true` without a storyboard: which canvases a rollout denoises, and what they cost."""

import logging

import torch

from longtake.cli.request import Request
from longtake.cli.weights import Take
from longtake.cost.counting import on_meta
from longtake.cost.describe import describe_plan
from longtake.cost.sampling import TEXT_TOKENS, VideoSize, canvas_costs
from longtake.generation import part_of

log = logging.getLogger("longtake")


def print_plan(request: Request) -> None:
    """Says which canvases each video is made of, and what they cost; nothing is sampled."""
    take = Take(request)
    side = take.codec.space_factor
    size = (take.codec.channels, take.height // side, take.width // side)
    video = VideoSize(take.num_latents, *size, TEXT_TOKENS, take.text_encoder.features)
    network = on_meta(part_of(take.network, take.rollout)).eval().requires_grad_(False)
    costs = canvas_costs(network, take.rollout, video, torch.float32, take.pipeline.without)
    log.info(describe_plan(take.rollout.plan(take.num_latents), costs, calls=take.calls_per_canvas))
