"""A long take, from a composed config to mp4 files and their manifest."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress
from torch import Tensor

from lightning_modules.callbacks.memory import peak_resident_gib
from lightning_modules.denoising import DenoisingModule
from lightning_modules.generation import generate
from lightning_modules.runs import load_run, weights_hash
from networks.codecs.rules import nearest_num_frames
from networks.interfaces import Condition

log = logging.getLogger("longtake")


def overrides(cfg: DictConfig) -> DictConfig:
    """What the command line changes in the config of the weights: every key that is not null."""
    changed: dict[str, Any] = {key: value for key, value in cfg.network.items() if value is not None}
    tree: dict[str, Any] = {"network": changed} if changed else {}
    if cfg.get("sampler") is not None:
        tree["sampler"] = OmegaConf.to_container(cfg.sampler)
    if cfg.num_inference_steps is not None:
        tree.setdefault("sampler", {})["num_inference_steps"] = cfg.num_inference_steps
    if cfg.get("guidance") is not None:
        tree["guidance"] = OmegaConf.to_container(cfg.guidance)
    if cfg.guidance_scale is not None:
        if "scales" in tree.get("guidance", {}):
            raise ValueError("guidance_scale goes with one scale: here set guidance.scales.text and its neighbours")
        tree.setdefault("guidance", {})["scale"] = cfg.guidance_scale
    return OmegaConf.create(tree)


WHOLE = {"_target_": "lightning_modules.rollouts.whole.Whole", "network_part": ""}


def rollout_of(cfg: DictConfig, config: DictConfig) -> DictConfig:
    """The rollout of the command line, or else the one that the weights were trained for; with its rate, if given.

    Raises:
        ValueError: if a rate is given to a rollout that compresses nothing.
    """
    chosen = config.get("rollout", WHOLE) if cfg.get("rollout") is None else cfg.rollout
    if cfg.rate is None:
        return OmegaConf.create(chosen)
    if "rate" not in chosen:
        raise ValueError(f"rate={cfg.rate} goes with rollout=segmentwise, which compresses what it has made")
    return OmegaConf.merge(chosen, {"rate": cfg.rate})  # type: ignore[return-value]


def check_lengths(num_frames: int, height: int, width: int, codec: Any) -> None:
    """Frames, height and width must fit codec and patches.

    Raises:
        ValueError: naming the nearest sizes that do.
    """
    factor, side = codec.time_factor, codec.space_factor * 2
    for name, value in (("num_frames", num_frames), ("height", height), ("width", width)):
        if not isinstance(value, int):
            raise ValueError(f"{name}={value} must be a whole number")
    if num_frames < 1 or (num_frames - 1) % factor:
        near = " or ".join(str(size) for size in dict.fromkeys(nearest_num_frames(num_frames, factor)))
        raise ValueError(f"num_frames={num_frames} breaks the codec's rule {factor}n + 1: use {near}")
    for name, value in (("height", height), ("width", width)):
        if value < side or value % side:
            near_size = max(round(value / side), 1) * side
            raise ValueError(f"{name}={value} must be a multiple of {side} (codec and patch): use {near_size}")


def prompts_of(cfg: DictConfig, config: DictConfig) -> list[str]:
    """The texts to make videos of, one a video."""
    if cfg.prompt is None:
        own = list(config.prompts)
        if not own:
            log.info('these weights bring no prompts: making videos of no text; prompt="…" gives one')
            own = [""]
        return [own[i % len(own)] for i in range(cfg.num_videos)]
    texts = [cfg.prompt] if isinstance(cfg.prompt, str) else list(cfg.prompt)
    return [text for text in texts for _ in range(cfg.num_videos)]


class Take:
    """Loaded weights, ready to make one video at a time."""

    def __init__(self, cfg: DictConfig) -> None:
        """Loads network, codec and text encoder.

        Raises:
            ValueError: if the weights or the sizes do not fit, before anything is sampled.
        """
        self.config, self.module = load_run(cfg.weights, overrides(cfg))
        if self.config.get("network") is None:
            raise ValueError(f"weights={cfg.weights} hold a codec, which makes no videos: give those of a network")
        if not isinstance(self.module, DenoisingModule):
            raise ValueError(f"weights={cfg.weights} hold a compressor, which makes no videos: give those of a network")
        self.hash = weights_hash(self.module)
        self._ablation = ExitStack()  # holds for as long as the take does
        if cfg.without is not None:
            self._ablate(cfg.without)
        self.codec = instantiate(self.config.codec)
        self.height = self.config.video.height if cfg.height is None else cfg.height
        self.width = self.config.video.width if cfg.width is None else cfg.width
        check_lengths(cfg.num_frames, self.height, self.width, self.codec)
        self.num_latents = (cfg.num_frames - 1) // self.codec.time_factor + 1
        self.rollout_config = rollout_of(cfg, self.config)
        self.rollout = instantiate(self.rollout_config)
        self.guidance = instantiate(self.config.guidance)
        self.text_encoder = instantiate(self.config.text)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module.to(self.device)

    def _ablate(self, ablation: str) -> None:
        network: Any = self.module.get_submodule("network")
        if ablation not in network.ablations:
            choices = ", ".join(network.ablations) or "nothing"
            raise ValueError(f"without={ablation}: these weights can go without {choices}")
        self._ablation.enter_context(network.without(ablation))

    def latents(self, prompt: str, seed: int, on_step: Callable[..., None]) -> Tensor:
        """One video's latents, 1 c f h w; the same seed gives the same video whatever else is made."""
        side = self.codec.space_factor
        shape = (1, self.codec.channels, self.num_latents, self.height // side, self.width // side)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        text, mask = self.text_encoder.encode([prompt])
        index = torch.arange(self.num_latents, device=self.device, dtype=torch.float32).unsqueeze(0)
        condition = Condition(index, text.to(self.device), mask.to(self.device))
        return generate(self.module, noise, condition, rollout=self.rollout, guidance=self.guidance, on_step=on_step)

    @torch.no_grad()
    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels 3 f h w, piece by piece."""
        codec = self.codec.to(self.device)
        for piece in codec.decode_stream(latents.float()):
            yield piece[0].cpu()


def make_videos(cfg: DictConfig, write_video: Callable[..., None]) -> list[Path]:
    """Samples every prompt and writes output/*.mp4 and output/manifest.jsonl; finished videos are not made again."""
    take = Take(cfg)
    output = Path(cfg.output)
    output.mkdir(parents=True, exist_ok=True)
    prompts = prompts_of(cfg, take.config)
    lines: list[dict[str, Any]] = []
    with Progress() as progress:
        for number, prompt in enumerate(prompts):
            began = time.perf_counter()
            bar = progress.add_task(f"video {number + 1} of {len(prompts)}", total=None)
            latents = take.latents(prompt, cfg.seed + number, lambda *_: progress.advance(bar))  # noqa: B023
            path = output / f"{number:03d}.mp4"
            write_video(path, take.frames(latents), fps=take.config.video.fps)
            progress.update(bar, total=1, completed=1)
            lines.append(_manifest_line(cfg, take, path, prompt, cfg.seed + number, time.perf_counter() - began))
            _write_manifest(output / "manifest.jsonl", lines)
    log.info(f"{len(prompts)} video(s) of {cfg.num_frames} frames in {output}")
    return [output / line["file"] for line in lines]


def piece_starts(take: Take) -> range:
    """The latent frames at which a new chunk, window or segment begins, all but the first."""
    rollout = take.rollout_config
    if "segment_frames" in rollout:
        return range(rollout.segment_frames, take.num_latents, rollout.segment_frames)
    if "context_frames" in rollout:
        new_frames = rollout.window_frames - rollout.context_frames - rollout.get("anchor_frames", 0)
        return range(rollout.window_frames, take.num_latents, new_frames)
    chunk = getattr(take.module.get_submodule("network"), "chunk_frames", None)
    if take.rollout.network_part or chunk is None:  # full attention, or windows that are merged at every step
        return range(0)
    return range(chunk, take.num_latents, chunk)


def _manifest_line(cfg: DictConfig, take: Take, path: Path, prompt: str, seed: int, seconds: float) -> dict[str, Any]:
    factor = take.codec.time_factor
    on_cuda = take.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_cuda else peak_resident_gib()
    sampler: Any = take.module.sampler
    return {
        "file": path.name,
        "prompt": prompt,
        "seed": seed,
        "rollout": OmegaConf.to_container(take.rollout_config),
        "without": cfg.without,
        "num_inference_steps": sampler.num_inference_steps,
        "guidance_scales": take.guidance.scales,
        "fps": take.config.video.fps,
        "num_frames": cfg.num_frames,
        "boundaries": [1 + (start - 1) * factor for start in piece_starts(take)],
        "weights": str(cfg.weights),
        "weights_hash": take.hash,
        "seconds": round(seconds, 2),
        "peak_gib": round(peak, 3),
    }


def _write_manifest(path: Path, lines: list[dict[str, Any]]) -> None:
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(part, path)
