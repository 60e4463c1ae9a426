"""`generate.py given=FILE`: the storyboard that goes on from a video, written down so that it can be changed."""

import math
import os
from pathlib import Path

import yaml
from omegaconf import DictConfig

from lightning_modules.storyboard.schema import ModelLimits

NAME = "continuation.yaml"


def continuation_file(cfg: DictConfig) -> str:
    """Where the storyboard of a call with given=… lies.

    Raises:
        ValueError: if the call names a storyboard as well.
    """
    if cfg.storyboard is not None:
        raise ValueError(f"given={cfg.given} and storyboard={cfg.storyboard}: give one; a storyboard names its videos")
    return str(Path(cfg.output) / NAME)


def write_continuation(cfg: DictConfig, limits: ModelLimits) -> None:
    """Whole segments until num_frames is reached, each under the next prompt of the list; the last prompt stays.

    Raises:
        ValueError: if the video is not there.
    """
    video = Path(cfg.given).absolute()
    if not video.is_file():
        raise ValueError(f"given={cfg.given}: no such file; give a video to go on from")
    prompts = [cfg.prompt or ""] if cfg.prompt is None or isinstance(cfg.prompt, str) else [str(x) for x in cfg.prompt]
    count = max(math.ceil((cfg.num_frames - 1) / (limits.max_latents * limits.time_factor)), 1)
    segments = [{"name": f"part_{n + 1}", "prompt": prompts[min(n, len(prompts) - 1)]} for n in range(count)]
    board = {
        "seed": cfg.seed,
        "video": {"path": str(video), "role": "first", "prompt": prompts[0]},
        "segments": segments,
    }
    file = Path(cfg.storyboard)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(yaml.safe_dump(board, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(part, file)
