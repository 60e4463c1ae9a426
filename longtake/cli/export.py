"""Writes a run as a release folder: `python export.py run=runs/NAME/… output=weights/NAME`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from longtake.arguments import argument, command
from longtake.cli.user_errors import start

log = logging.getLogger("longtake")


def run(cfg: DictConfig) -> None:
    """Checks, loads the run's averaged weights and saves them in the diffusers format."""
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import ExportSettings

    check_settings(cfg, ExportSettings)
    import torch

    from longtake.cli.processes import alone_in
    from longtake.parallel import Mesh
    from longtake.releases.locating import NETWORK_FOLDER
    from longtake.releases.reading import read_run
    from longtake.releases.writing import release
    from networks.saving import WEIGHTS

    folder = Path(cfg.output)
    if folder.is_file():
        raise ValueError(f"output={folder} is a file: give a folder")
    if any((folder / "checkpoints").glob("*.ckpt")):  # which a release in it would hide from whoever loads the folder
        raise ValueError(f"output={folder} is the folder of a run: give another, such as weights/NAME")
    if cfg.format != "release":
        if cfg.average.weights is not None:
            raise ValueError(
                f"average.weights with format={cfg.format}: adapters are not averaged: leave it out, or take "
                "format=release"
            )
        with alone_in(folder, Mesh()):
            _export_adapters(cfg)
        return
    config = read_run(cfg.run, key="run")[0]
    replaced = any((place / WEIGHTS).is_file() for place in (folder, folder / NETWORK_FOLDER))
    bases = {part: cfg[part].pretrained for part in ("text", "codec", "backbone") if cfg[part].pretrained is not None}
    with alone_in(folder, Mesh()):
        average = None if cfg.average.weights is None else (cfg.average.weights, cfg.average.share)
        release(cfg.run, folder, getattr(torch, cfg.dtype), decoder=cfg.decoder, bases=bases, average=average)
    log.info(f"released in {folder}{', where an earlier release was replaced' if replaced else ''}")
    log.info(f"next: {next_command(config, folder, length_of(cfg.run))}")


def _export_adapters(cfg: DictConfig) -> None:
    """Writes what diffusers reads, and says what it cannot read."""
    import torch

    from longtake.releases.adapters import Adapters

    base = cfg.backbone.pretrained
    adapters = Adapters(cfg.run, {} if base is None else {"backbone": base}, rounded=cfg.format == "lora")
    if adapters.left_out:
        log.warning(
            f"{len(adapters.left_out)} learnt tensors are left out, as diffusers has no place for them, such as "
            f"{adapters.left_out[0]}, so videos of diffusers will differ; format=release keeps all"
        )
    if cfg.format == "lora":
        log.info(f"adapters in {adapters.save_lora(Path(cfg.output), getattr(torch, cfg.dtype))}")
    else:
        log.info(f"merged in {adapters.save_merged(Path(cfg.output))}, beside the other parts of the pipeline")


def length_of(run: str) -> int | None:
    """Pixel frames of a run's own sample videos, which suit what it trained; None where its folder does not say.

    run: a run folder, or a checkpoint in one.
    """
    for folder in (Path(run), Path(run).parent.parent):
        if (file := folder / "config" / "config.yaml").is_file():
            frames = OmegaConf.select(OmegaConf.load(file), "callbacks.samples.num_frames")
            return frames if isinstance(frames, int) else None
    return None


def next_command(config: Mapping[str, Any], folder: Path, num_frames: int | None = None) -> str:
    """The command that uses a release: train.py for a codec or a compressor, generate.py for all else.

    num_frames: pixel frames of a video that suits it; None: as many as generate.py makes by default.
    """
    if config.get("network") is None:
        return command("train.py", [argument("codec.folder", folder), f"codec.channels={config['codec']['channels']}"])
    if config.get("sampler") is None:
        return command("train.py", ["experiment=lovic_freedoom", argument("pretrained.compressor", folder)])
    frames = [] if num_frames is None else [argument("num_frames", num_frames)]
    return command("generate.py", [argument("weights", folder), *frames, argument("output", f"outputs/{folder.name}")])


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "export")
