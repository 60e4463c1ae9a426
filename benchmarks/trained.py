"""What the measurements of trained weights share: arguments, test videos as rows of segments, and intervals.

Axes: b batch, s slots of a row, c channels, f frames, h height, w width (latents).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from torch import Tensor

from benchmarks import ROOT
from benchmarks.report import Sheet, save, show
from benchmarks.setups import compose_config
from datamodules.clips import Clip
from datamodules.rows import Row, fixed_row
from datamodules.segments import SegmentDataModule
from datamodules.video_datamodule import VideoDataModule
from lightning_modules.memory import MemoryModule
from longtake.releases.building import build
from longtake.releases.reading import RELEASE_CONFIG, load_run
from longtake.reports.intervals import RESAMPLES as RESAMPLES
from longtake.reports.intervals import interval as interval
from networks.interfaces import SegmentBatch


class Request(NamedTuple):
    """weights: each given; options: a program's own keys; overrides: those of train.py, for the videos."""

    weights: list[str]
    options: dict[str, str]
    overrides: list[str]


def read_request(arguments: Sequence[str], defaults: Mapping[str, str]) -> Request:
    """Sorts `key=value` arguments; weights may be given several times.

    Raises:
        ValueError: if no weights are given.
    """
    weights, options, overrides = [], dict(defaults), []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "weights":
            weights.append(value)
        elif key in defaults:
            options[key] = value
        else:
            overrides.append(argument)
    if not weights:
        raise ValueError("no weights: give weights=FOLDER_OR_CHECKPOINT, once or several times")
    return Request(weights, options, overrides)


def label(weights: str, config: Mapping[str, Any]) -> str:
    """What a table calls weights: a release by its folder, a run by the run's name."""
    return Path(weights).name if (Path(weights) / RELEASE_CONFIG).is_file() else str(config["name"])


def memory_module(weights: str) -> tuple[dict[str, Any], Any]:
    """The config of weights with a memory, and the module that trains such: by the run's settings, or by conf's.

    Raises:
        ValueError: if they have no memory.
    """
    config, module = load_run(weights)
    if not isinstance(module, MemoryModule):
        if not getattr(module.network, "takes_segments", False):
            raise ValueError(f"weights={weights} were not trained with a memory: give those of lovic or vin_lovic")
        cfg = compose_config(("experiment=lovic_freedoom", f"paths.root_dir={ROOT}", "paths.run_dir=."))
        node: Any = OmegaConf.to_container(cfg.lightning_module, resolve=True)
        built = {name: getattr(module, name) for name in ("network", "objective", "sampler")}
        trains_compressor = getattr(module.network.compressor, "decoder", None) is not None
        rest = {key: value for key, value in node.items() if key not in (*built, "optimizer", "scheduler")}
        rest["reconstruction_weight"] *= trains_compressor
        module = instantiate(rest, **built, optimizer=None, scheduler=None).eval()
    return config, module


def compressor_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of weights says of the compressor, alone or inside a network."""
    found: dict[str, Any] = config["network"]["compressor"]
    return found


def trained_rates(config: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest and highest rate that a compressor was trained at, as a run or a release says it."""
    if "rates" in config:
        return tuple(config["rates"])
    law = config["lightning_module"]["rates"]
    return law["lowest"], law["highest"]


def segment_data(config: Mapping[str, Any], overrides: Sequence[str]) -> SegmentDataModule:
    """The videos of the overrides (by default Freedoom's) as latents of the weights' codec, in their segments.

    config: of trained weights.
    """
    group = [] if any(each.startswith("datamodule=") for each in overrides) else ["datamodule=freedoom_segments"]
    cfg = compose_config((*group, *overrides, f"paths.root_dir={ROOT}", "paths.run_dir=."))
    rollout = config.get("rollout") or {}
    data: SegmentDataModule = instantiate(
        cfg.datamodule,
        codec=build(config["codec"]).eval(),
        text_encoder=build(config["text"]),
        segment_frames=rollout.get("segment_frames", cfg.datamodule.segment_frames),
        global_batch_size=1,
        batch_size=1,
        seed=0,
    )
    data.prepare_data()
    data.setup("test")
    return data


def choose_walks(data: SegmentDataModule, split: str, count: int) -> list[Clip]:
    """At most `count` of a split's longest clips, evenly spread.

    Raises:
        ValueError: if the split holds none.
    """
    if not data.clips.get(split):
        raise ValueError(f"split={split} holds no video; use one of {', '.join(k for k, v in data.clips.items() if v)}")
    longest = max(clip.num_frames for clip in data.clips[split])
    clips = [clip for clip in data.clips[split] if clip.num_frames == longest]
    step = max(len(clips) / count, 1.0)
    return [clips[int(number * step)] for number in range(min(count, len(clips)))]


def num_slots(data: SegmentDataModule, clip: Clip) -> int:
    """How many segments a clip holds."""
    return data.frames_of(clip) // data.rule.segment_frames


def rows_of(data: SegmentDataModule, clips: Sequence[Clip], slots: int, share: float) -> SegmentBatch:
    """One row a clip: `slots` adjoining segments, from its start (share 0) to its end (share 1)."""
    data.rule = data.rule._replace(num_slots=slots)
    return data.segments([Row((clip,), fixed_row(data.rule, data.frames_of(clip), share)) for clip in clips])


def real_pixels(data: VideoDataModule, clip: Clip) -> Tensor:
    """A clip's own frames: 3 f h w in [-1, 1]."""
    frames = data.cache.settings.read(clip.entry.path, 0.5)
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1


def frames_of_latents(first: int, last: int, time_factor: int) -> range:
    """The pixel frames of latents first … last - 1: the first latent of all is one frame, every other time_factor."""
    return range(max(time_factor * (first - 1) + 1, 0), time_factor * (last - 1) + 1)


@torch.no_grad()
def decode(codec: Any, latents: Tensor, batch: int = 4) -> Tensor:
    """Latents b c f h w that begin a video, to pixels b 3 f h w, a few at a time."""
    return torch.cat([codec.decode(part.float()) for part in latents.split(batch)])


def psnr(made: Tensor, real: Tensor) -> list[float]:
    """In dB, of each along the first axis over all pixels of it, which are in [-1, 1]; at most 100."""
    error = (made.float() - real.float()).square().flatten(1).mean(dim=1)
    found: list[float] = (10 * torch.log10(4 / error)).clamp(max=100.0).tolist()
    return found


def groups_of(clips: Sequence[Clip]) -> list[str]:
    """What is independent: levels, or the clips themselves where all lie in one folder."""
    levels = [clip.entry.path.parent.name for clip in clips]
    return levels if len(set(levels)) > 1 else [clip.entry.path.stem for clip in clips]


def cell(found: Sequence[float], digits: int) -> str:
    """Mean and interval as a table's cell."""
    mean, low, high = found
    return "-" if not np.isfinite(mean) else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def publish(name: str, results: dict[str, Any], sheets: Sequence[Sheet], folder: Path) -> None:
    """Shows the tables and writes name.json, with null for what could not be measured, and name.md."""
    for sheet in sheets:
        show(sheet, Console())
    results["request"]["options"].pop("output", None)  # a path of this machine
    save(folder, name, _plain(results), sheets)


def _plain(value: Any) -> Any:
    """The same without what JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
