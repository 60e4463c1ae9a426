"""A long take, from a composed config to mp4 files and their manifest."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress
from torch import Tensor

from lightning_modules.denoising import DenoisingModule
from longtake.control import control_for
from longtake.generation import part_of
from longtake.pipeline import Pipeline
from longtake.process import peak_resident_gib, set_matmul_precision
from longtake.releases.disclosure import public_name, refuse_secrets
from longtake.releases.reading import load_run, override, read_run, weights_hash
from longtake.rollouts.checks import check_backbone, check_memory, check_rates
from longtake.rollouts.kept import KeptWindows
from longtake.rollouts.pieces import piece_starts
from longtake.settings.check import check_groups
from networks.codecs.rules import PATCH_AREA, check_lengths
from networks.files import remove_unfinished, whole

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


def bases_of(cfg: DictConfig) -> dict[str, str]:
    """By part, the folders or hub names that the command line gives pretrained models."""
    return {part: cfg[part].pretrained for part in ("text", "codec", "backbone") if cfg[part].pretrained is not None}


def reach_window(changes: DictConfig, config: DictConfig, weights: Any) -> DictConfig:
    """The same changes with `network`'s keys where these weights keep them: VIN's are network.window's in the hybrid.

    Raises:
        ValueError: if the network has no such setting.
    """
    if "network" not in changes:
        return changes
    own, inner = config.network, config.network.get("window") or {}
    for key, value in changes.network.items():
        if key not in own and key not in inner:
            settings = "fusion, local_frames and windows_per_call are of VIN's chunks"
            raise ValueError(
                f"network.{key}={value} is no setting of weights={weights}: leave it out, since {settings}"
            )
    network: dict[Any, Any] = {key: value for key, value in changes.network.items() if key in own}
    if moved := {key: value for key, value in changes.network.items() if key not in own}:
        network["window"] = moved
    return OmegaConf.create({**{key: changes[key] for key in changes}, "network": network})


WHOLE = {"_target_": "longtake.rollouts.whole.Whole", "network_part": ""}


def rollout_of(cfg: DictConfig, config: DictConfig) -> DictConfig:
    """The rollout of the command line, or else the one that the weights were trained for; with its rate, if given.

    Raises:
        ValueError: if a rate is given to a rollout that compresses nothing, or one that it cannot have.
    """
    chosen = config.get("rollout", WHOLE) if cfg.get("rollout") is None else cfg.rollout
    if cfg.rate is None:
        return OmegaConf.create(chosen)
    if "rate" not in chosen:
        raise ValueError(f"rate={cfg.rate} goes with rollout=segmentwise, which compresses what it has made")
    most = chosen.max_rate
    if not 1 <= cfg.rate <= most:
        raise ValueError(f"rate={cfg.rate} must be a number from 1 to {most:g}, which is rollout.max_rate")
    return OmegaConf.merge(chosen, {"rate": cfg.rate})  # type: ignore[return-value]


def prompts_of(cfg: DictConfig, config: DictConfig) -> list[str]:
    """The texts to make videos of, one a video.

    Raises:
        ValueError: if there would be none.
    """
    if cfg.num_videos < 1:
        raise ValueError(f"num_videos={cfg.num_videos} must be at least 1")
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
        set_matmul_precision(cfg.matmul_precision)
        self.matmul_precision = cfg.matmul_precision
        trained, changes = read_run(cfg.weights)[0], overrides(cfg)
        if trained.get("network") is None:
            raise ValueError(f"weights={cfg.weights} hold a codec, which makes no videos: give those of a network")
        changes = reach_window(changes, trained, cfg.weights)
        check_groups(override(trained, changes), list(map(str, changes)))
        self.config, self.module = load_run(cfg.weights, changes, bases=bases_of(cfg))
        if not isinstance(self.module, DenoisingModule):
            raise ValueError(f"weights={cfg.weights} hold a compressor, which makes no videos: give those of a network")
        self.network = self.module.network
        self.rollout_config = rollout_of(cfg, trained)
        check_memory(self.rollout_config, trained.get("rollout"), self.network, cfg.weights)
        self.hash = weights_hash(self.module)
        self.without = cfg.without
        if cfg.without is not None and cfg.without not in self.network.ablations:
            choices = ", ".join(self.network.ablations) or "nothing"
            raise ValueError(f"without={cfg.without}: these weights can go without {choices}")
        if cfg.control_file is not None and cfg.storyboard is not None:
            raise ValueError(f"control_file={cfg.control_file} goes with one video: leave it out with a storyboard")
        self.control = control_for(self.network, cfg.control_file, cfg.num_frames)
        self.codec = instantiate(self.config.codec)
        self.height = self.config.video.height if cfg.height is None else cfg.height
        self.width = self.config.video.width if cfg.width is None else cfg.width
        check_lengths(cfg.num_frames, self.height, self.width, self.codec)
        self.num_frames = cfg.num_frames
        self.num_latents = (cfg.num_frames - 1) // self.codec.time_factor + 1
        self.rollout = instantiate(self.rollout_config)
        check_backbone(self.rollout.network_part, cfg.network.fusion, self.network, self.rollout_config)
        if cfg.storyboard is None:  # whose segments have lengths and rates of their own
            area = (self.height // self.codec.space_factor) * (self.width // self.codec.space_factor)
            check_rates(self.rollout_config, self.num_latents, area // PATCH_AREA)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module.to(self.device).requires_grad_(False)
        self.guidance, self.text_encoder = instantiate(self.config.guidance), instantiate(self.config.text)
        self.pipeline = Pipeline(
            module=self.module,
            guidance=self.guidance,
            rollout=self.rollout,
            codec=self.codec,
            text_encoder=self.text_encoder,
            height=self.height,
            width=self.width,
            fps=self.config.video.fps,
            without=() if cfg.without is None else (cfg.without,),
        )

    def fingerprint(self, *more: Any) -> str:
        """Short hash of the weights, of all that changes what they make but prompt and seed, and of `more`.

        Of the network's settings, windows_per_call decides about memory alone.
        """
        settings: Any = OmegaConf.to_container(self.config, resolve=True)
        settings = {key: settings[key] for key in ("network", "sampler", "guidance")}
        if self.matmul_precision != "highest":
            settings["matmul_precision"] = self.matmul_precision
        for part in (settings["network"], settings["network"].get("window") or {}):
            part.pop("windows_per_call", None)
        if self.control is not None:
            settings["control"] = hashlib.sha256(self.control.numpy().tobytes()).hexdigest()
        described = [self.hash, self.without, self.height, self.width, settings, *more]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def settings(self) -> str:
        """Hash of all that determines a video but its prompt and seed."""
        return self.fingerprint(OmegaConf.to_container(self.rollout_config), self.num_latents)

    def latents(self, prompt: str, seed: int, on_step: Callable[..., None], keep: KeptWindows | None = None) -> Tensor:
        """One video's latents, 1 c f h w; the same seed gives the same video whatever else is made."""
        return self.pipeline.latents(
            [prompt], num_frames=self.num_frames, seed=seed, on_step=on_step, keep=keep, control=self.control
        )

    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels 3 f h w, piece by piece; NaN and infinity raise ValueError before the first."""
        return (piece[0] for piece in self.pipeline.frames(latents))


def make_videos(cfg: DictConfig, write_video: Callable[..., None]) -> list[Path]:
    """Samples every prompt and writes output/*.mp4 and output/manifest.jsonl.

    A video that the manifest there names with this prompt and seed, and these weights and settings, is not made again,
    nor are the finished windows of one that a kill cut short.
    """
    take = Take(cfg)
    texts = prompts_of(cfg, take.config)
    refuse_secrets(texts, "prompt")  # the manifest names it
    output = Path(cfg.output)
    output.mkdir(parents=True, exist_ok=True)
    remove_unfinished(output)
    wanted = [(f"{number:03d}.mp4", prompt, cfg.seed + number) for number, prompt in enumerate(texts)]
    finished = _finished(output, wanted, take.settings)
    if finished:
        log.info(f"{len(finished)} of {len(wanted)} video(s) are in {output} already")
    if len(finished) < len(wanted):  # nothing names a video that is about to be replaced
        _write_manifest(output / "manifest.jsonl", [finished[name] for name, *_ in wanted if name in finished])
    with Progress() as progress:
        for number, (name, prompt, seed) in enumerate(wanted, 1):
            if name in finished:
                continue
            began = time.perf_counter()
            bar = progress.add_task(f"video {number} of {len(wanted)}", total=None)
            windows = KeptWindows(output / "windows" / take.fingerprint(take.settings, prompt, seed))
            latents = take.latents(prompt, seed, lambda *_: progress.advance(bar), windows)  # noqa: B023
            write_video(output / name, take.frames(latents), fps=take.config.video.fps)
            progress.update(bar, total=1, completed=1)
            finished[name] = _manifest_line(cfg, take, name, prompt, seed, time.perf_counter() - began)
            _write_manifest(output / "manifest.jsonl", [finished[each] for each, *_ in wanted if each in finished])
            windows.forget()
    log.info(f"{len(wanted)} video(s) of {cfg.num_frames} frames in {output}")
    return [output / name for name, *_ in wanted]


def _finished(output: Path, wanted: Sequence[tuple[str, str, int]], settings: str) -> dict[str, dict[str, Any]]:
    """The lines of an earlier run's manifest, by file, whose videos are there and are those that are wanted."""
    manifest = output / "manifest.jsonl"
    found = {}
    for text in manifest.read_text().splitlines() if manifest.is_file() else []:
        try:
            line = json.loads(text)
            made = (line["file"], line["prompt"], line["seed"])
            if made in wanted and line["settings"] == settings and (output / line["file"]).is_file():
                found[line["file"]] = line
        except (ValueError, RecursionError, KeyError, TypeError):
            continue  # of a storyboard, or of somebody else
    return found


def _manifest_line(cfg: DictConfig, take: Take, name: str, prompt: str, seed: int, seconds: float) -> dict[str, Any]:
    factor = take.codec.time_factor
    chunk = part_of(take.network, take.rollout).chunk_frames
    starts = piece_starts(take.rollout_config, take.num_latents, chunk)
    on_cuda = take.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_cuda else peak_resident_gib()
    sampler: Any = take.module.sampler
    return {
        "file": name,
        "prompt": prompt,
        "seed": seed,
        "rollout": OmegaConf.to_container(take.rollout_config),
        "without": cfg.without,
        **({} if cfg.control_file is None else {"control": Path(cfg.control_file).name}),
        "num_inference_steps": sampler.num_inference_steps,
        "guidance_scales": take.guidance.scales,
        "fps": take.config.video.fps,
        "num_frames": cfg.num_frames,
        "boundaries": [1 + (start - 1) * factor for start in starts],
        "weights": public_name(cfg.weights),
        "weights_hash": take.hash,
        "matmul_precision": take.matmul_precision,
        "settings": take.settings,
        "seconds": round(seconds, 2),
        "peak_gib": round(peak, 3),
    }


def _write_manifest(path: Path, lines: list[dict[str, Any]]) -> None:
    with whole(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines))
