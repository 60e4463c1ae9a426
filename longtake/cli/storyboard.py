"""`generate.py storyboard=FILE`: from a file and weights to one mp4, segment by segment."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from rich.progress import Progress

from longtake.cli.take import Take
from longtake.compat.torch import flop_counter
from longtake.releases.disclosure import public_name, refuse_secrets
from longtake.rollouts.checks import rollout_name
from longtake.rollouts.segmentwise import Piece, remembered
from longtake.storyboard.continuation import write_continuation
from longtake.storyboard.describe import describe
from longtake.storyboard.given import GivenReader, ReadFrames, VideoProbe
from longtake.storyboard.maker import NUM_TEXT, SegmentMaker, StepFlops
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.run import boundaries, cuts, make_storyboard, whole_take
from longtake.storyboard.schema import ModelLimits, Plan, PlanStep
from longtake.storyboard.sizes import check_given_rate
from longtake.storyboard.store import SegmentStore
from networks.codecs.rules import PATCH_AREA
from networks.files import remove_unfinished, whole
from networks.interfaces import Condition

log = logging.getLogger("longtake")


def limits_of(take: Take, cfg: DictConfig) -> ModelLimits:
    """What the loaded weights can do.

    Raises:
        ValueError: if they have no memory, which every storyboard needs, or the rollout uses none.
    """
    rollout = take.rollout_config
    if not take.network.has_memory:
        raise ValueError(
            f"storyboard={cfg.storyboard} needs weights with a memory, of network=lovic or vin_lovic; "
            f"weights={cfg.weights} have none"
        )
    if "max_context" not in rollout:
        raise ValueError(
            f"storyboard={cfg.storyboard} is made segment by segment, which rollout={rollout_name(rollout)} does not: "
            "use rollout=segmentwise"
        )
    side = take.codec.space_factor
    return ModelLimits(
        fingerprint=take.fingerprint(rollout["window_frames"], rollout["memory_level"]),
        max_latents=rollout["segment_frames"],
        tokens_per_latent=(take.height // side) * (take.width // side) // PATCH_AREA,
        time_factor=take.codec.time_factor,
        max_context_segments=rollout["max_context"],
        rate=rollout["rate"],
        rate_growth=rollout["rate_growth"],
        max_rate=rollout["max_rate"],
    )


def make_storyboard_video(cfg: DictConfig, write_video: Callable[..., None], read_frames: ReadFrames) -> Path | None:
    """Writes output/000.mp4, its manifest and output/segments; with dry_run prints the plan and makes nothing.

    Raises:
        ValueError: if the storyboard is wrong, before any work, naming its line.
    """
    take = Take(cfg)
    limits = limits_of(take, cfg)
    if cfg.given is not None:
        file, length = Path(cfg.storyboard), cfg.num_frames
        write_continuation(file, cfg.given, cfg.prompt, num_frames=length, seed=cfg.seed, limits=limits)
    board = read_storyboard(Path(cfg.storyboard), limits)
    refuse_secrets({segment.name: segment.prompt for segment in board.segments}, f"storyboard={cfg.storyboard}")
    check_given_rate(board, cfg.rate)
    made = plan(board, limits, VideoProbe(take.fps))
    silent = [segment.name for segment in board.segments if not segment.prompt]
    if silent:
        log.warning(f"{', '.join(silent)}: no prompt, so the null text is used")
    store = SegmentStore(Path(cfg.output) / "segments")
    side = take.codec.space_factor
    size = (take.codec.channels, take.height // side, take.width // side)
    if cfg.dry_run:
        print_plan(take, made, limits, store, size)
        return None
    began = time.perf_counter()
    rollout = take.rollout_config
    with Progress() as progress:
        bar = progress.add_task("denoising steps", total=None)
        maker = SegmentMaker(
            module=take.module,
            guidance=take.guidance,
            text_encoder=take.text_encoder,
            size=size,
            window_frames=rollout["window_frames"],
            memory_level=rollout["memory_level"],
            on_step=lambda *_: progress.advance(bar),
            without=take.pipeline.without,
        )
        reader = GivenReader(take.codec, read_frames, take.height, take.width, take.fps, take.device)
        latents = make_storyboard(made, store, maker, reader)
        path = Path(cfg.output) / "000.mp4"
        remove_unfinished(cfg.output)
        write_video(path, take.frames(whole_take(latents).to(take.device)), fps=take.fps)
    _write_manifest(cfg, take, made, path, time.perf_counter() - began)
    log.info(f"{len(made.timeline)} segments in {path}")
    return path


def print_plan(take: Take, made: Plan, limits: ModelLimits, store: SegmentStore, size: tuple[int, int, int]) -> None:
    """The table of a dry run: tokens and FLOPs of each segment, and what memory holds at most."""
    network: Any = take.network
    if take.without == "memory" or network.compressor is None:
        made = made._replace(steps=tuple(replace(step, sources=()) for step in made.steps))
        log.info("nothing is compressed: a segment knows the frames that adjoin it and nothing further away")
    sampler: Any = take.module.sampler
    passes = 1 + sum(scale != 1 for scale in take.guidance.scales.values())
    calls = StepFlops(take.module, size, take.rollout_config["window_frames"], sampler.num_inference_steps * passes)
    spent = remembering_costs(network, made, size, take.device)

    def flops(step: PlanStep, tokens: int, context: int) -> float:
        return calls(step, tokens, context) + sum(spent[source.name, source.rate].flops for source in step.sources)

    log.info(describe(made, tokens_per_latent=limits.tokens_per_latent, flops=flops, is_there=store.has))
    log.info("TFLOPs: all calls of the network and the compression of what is remembered, without codec and text")
    tokens = {step.name: step.latents * limits.tokens_per_latent for step in made.steps}
    for (name, rate), cost in spent.items():
        log.info(
            f"{name} at rate {rate:g}: {cost.tokens} context tokens, effective rate {tokens[name] / cost.tokens:.2f}"
        )
    context = max(sum(spent[source.name, source.rate].tokens for source in step.sources) for step in made.steps)
    weights = sum(each.numel() * each.element_size() for each in take.module.parameters()) / 2**20
    kept = context * network.backbone.depth * 2 * network.backbone.width * 4 / 2**20
    log.info(
        f"memory, at least: weights {weights:.0f} MiB, keys and values of the longest context {kept:.1f} MiB; "
        "activations, codec, text encoder and libraries are not counted and come on top"
    )


class RememberingCost(NamedTuple):
    """tokens: that a remembered segment becomes; flops: of compressing it, and of its keys and values."""

    tokens: int
    flops: float


@torch.no_grad()
def remembering_costs(
    network: Any, made: Plan, size: tuple[int, int, int], device: torch.device
) -> dict[tuple[str, float], RememberingCost]:
    """What each remembered segment costs at each rate, by name and rate: an empty one is remembered.

    Whole tokens in a grid are rarely exactly as many as the rate asks for. size: c h w of the latents.
    """
    latents = {step.name: step.latents for step in made.steps}
    text = torch.zeros(1, NUM_TEXT, network.backbone.text_features, device=device)
    mask = torch.ones(1, NUM_TEXT, dtype=torch.bool, device=device)
    nowhere = Condition(torch.zeros(1, 1, device=device), text, mask)
    found: dict[tuple[str, float], RememberingCost] = {}
    for name, rate in dict.fromkeys((source.name, source.rate) for step in made.steps for source in step.sources):
        video = torch.zeros(1, size[0], latents[name], *size[1:], device=device)
        context = remembered(Piece(video, 0, text, mask, 0, rate), 0.0)
        with flop_counter() as counter:
            memory = network.encode_context(nowhere._replace(context=(context,))).memory
        assert memory is not None
        tokens = memory.layers[0][0].shape[2] - 1  # all but the null memory
        found[name, rate] = RememberingCost(tokens, float(counter.get_total_flops()))
    return found


def _write_manifest(cfg: DictConfig, take: Take, made: Plan, path: Path, seconds: float) -> None:
    steps = {step.name: step for step in made.steps}
    line = {
        "file": path.name,
        "storyboard": public_name(cfg.storyboard),
        "fps": take.fps,
        "num_frames": sum(step.num_frames for step in made.steps),
        "boundaries": boundaries(made),
        "cuts": cuts(made),
        "segments": [
            {
                "name": name,
                "task": steps[name].task,
                "prompt": steps[name].prompt,
                "seed": steps[name].seed,
                "num_frames": steps[name].num_frames,
                "remembers": {source.name: source.rate for source in steps[name].sources},
                "key": steps[name].key,
            }
            for name in made.timeline
        ],
        "weights": public_name(cfg.weights),
        "weights_hash": take.hash,
        "matmul_precision": take.matmul_precision,
        "seconds": round(seconds, 2),
    }
    with whole(Path(cfg.output) / "manifest.jsonl") as part:
        part.write_text(json.dumps(line) + "\n")
