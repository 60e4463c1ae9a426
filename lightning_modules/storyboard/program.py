"""`generate.py storyboard=FILE`: from a file and weights to one mp4, segment by segment."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress

from lightning_modules.storyboard.describe import describe
from lightning_modules.storyboard.given import GivenReader, ReadFrames, VideoProbe
from lightning_modules.storyboard.maker import SegmentMaker, StepFlops
from lightning_modules.storyboard.parse import read_storyboard
from lightning_modules.storyboard.plan import plan
from lightning_modules.storyboard.run import boundaries, cuts, make_storyboard, whole_take
from lightning_modules.storyboard.schema import ModelLimits, Plan
from lightning_modules.storyboard.store import SegmentStore
from lightning_modules.take import Take
from networks.interfaces import VideoBatch

log = logging.getLogger("longtake")
PATCH_AREA = 4


def limits_of(take: Take, cfg: DictConfig) -> ModelLimits:
    """What the loaded weights can do.

    Raises:
        ValueError: if they have no memory, which every storyboard needs.
    """
    rollout = take.rollout_config
    if "max_context" not in rollout:
        raise ValueError(
            f"storyboard={cfg.storyboard} needs weights with a memory, of network=lovic or vin_lovic; "
            f"weights={cfg.weights} have none"
        )
    sampling = {key: OmegaConf.to_container(take.config[key], resolve=True) for key in ("sampler", "guidance")}
    settings = [take.hash, take.height, take.width, rollout.window_frames, rollout.memory_level, sampling]
    side = take.codec.space_factor
    return ModelLimits(
        fingerprint=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
        max_latents=rollout.segment_frames,
        tokens_per_latent=(take.height // side) * (take.width // side) // PATCH_AREA,
        time_factor=take.codec.time_factor,
        max_context_segments=rollout.max_context,
        rate=rollout.rate,
    )


def make_storyboard_video(cfg: DictConfig, write_video: Callable[..., None], read_frames: ReadFrames) -> Path | None:
    """Writes output/000.mp4, its manifest and output/segments; with dry_run prints the plan and makes nothing.

    Raises:
        ValueError: if the storyboard is wrong, before any work, naming its line.
    """
    take = Take(cfg)
    limits = limits_of(take, cfg)
    board = read_storyboard(Path(cfg.storyboard), limits)
    made = plan(board, limits, VideoProbe(take.config.video.fps))
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
            window_frames=rollout.window_frames,
            memory_level=rollout.memory_level,
            on_step=lambda *_: progress.advance(bar),
        )
        reader = GivenReader(take.codec, read_frames, take.height, take.width, take.config.video.fps, take.device)
        latents = make_storyboard(made, store, maker, reader)
        path = Path(cfg.output) / "000.mp4"
        write_video(path, take.frames(whole_take(latents).to(take.device)), fps=take.config.video.fps)
    _write_manifest(cfg, take, made, path, time.perf_counter() - began)
    log.info(f"{len(made.timeline)} segments in {path}")
    return path


def print_plan(take: Take, made: Plan, limits: ModelLimits, store: SegmentStore, size: tuple[int, int, int]) -> None:
    """The table of a dry run: tokens and FLOPs of each segment, and what memory holds at most."""
    sampler: Any = take.module.sampler
    passes = 1 + sum(scale != 1 for scale in take.guidance.scales.values())
    flops = StepFlops(take.module, size, take.rollout_config.window_frames, sampler.num_inference_steps * passes)
    log.info(describe(made, tokens_per_latent=limits.tokens_per_latent, flops=flops, is_there=store.has))
    network: Any = take.module.get_submodule("network")
    tokens = {step.name: step.latents * limits.tokens_per_latent for step in made.steps}
    spent = context_tokens(network, made, size, take.device)
    for (name, rate), count in spent.items():
        log.info(f"{name} at rate {rate:g}: {count} context tokens, effective rate {tokens[name] / count:.2f}")
    context = max(sum(spent.get((source.name, source.rate), 0) for source in step.sources) for step in made.steps)
    weights = sum(parameter.numel() for parameter in take.module.parameters()) * 4 / 2**20
    kept = context * len(network.dit.blocks) * 2 * network.dit.width * 4 / 2**20
    log.info(f"memory: weights {weights:.0f} MiB, keys and values of the longest context {kept:.1f} MiB")


@torch.no_grad()
def context_tokens(
    network: Any, made: Plan, size: tuple[int, int, int], device: torch.device
) -> dict[tuple[str, float], int]:
    """How many context tokens each remembered segment has at each rate, by name and rate: an empty one is compressed.

    Whole tokens in a grid are rarely exactly as many as the rate asks for. size: c h w of the latents.
    """
    channels, height, width = size
    latents = {step.name: step.latents for step in made.steps}
    features = network.dit.text.project[0].in_features
    text, mask = torch.zeros(1, 1, features, device=device), torch.ones(1, 1, dtype=torch.bool, device=device)
    found = {}
    for source in (source for step in made.steps for source in step.sources):
        if (source.name, source.rate) not in found and network.compressor is not None:
            count = latents[source.name]
            video = torch.zeros(1, channels, count, height, width, device=device)
            segment = VideoBatch(video, torch.arange(count, device=device).unsqueeze(0), text, mask)
            encoded = network.compressor.encode(segment, torch.zeros(1, device=device), source.rate)
            found[source.name, source.rate] = encoded.tokens.shape[1]
    return found


def _write_manifest(cfg: DictConfig, take: Take, made: Plan, path: Path, seconds: float) -> None:
    steps = {step.name: step for step in made.steps}
    line = {
        "file": path.name,
        "storyboard": str(cfg.storyboard),
        "fps": take.config.video.fps,
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
        "weights": str(cfg.weights),
        "weights_hash": take.hash,
        "seconds": round(seconds, 2),
    }
    manifest = Path(cfg.output) / "manifest.jsonl"
    part = manifest.with_suffix(".part")
    part.write_text(json.dumps(line) + "\n")
    os.replace(part, manifest)
