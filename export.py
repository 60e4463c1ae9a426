"""Writes a run as a release folder: `python export.py run=runs/NAME/… output=weights/NAME`."""

import logging
import shlex
from pathlib import Path

from omegaconf import DictConfig

log = logging.getLogger("longtake")


def main(cfg: DictConfig) -> None:
    """Checks, loads the run's averaged weights and saves them in the diffusers format."""
    from lightning_modules.schemas import ExportSettings
    from lightning_modules.settings import check_settings

    check_settings(cfg, ExportSettings)
    import torch

    from lightning_modules.runs import NETWORK_FOLDER, read_run, release
    from networks.saving import WEIGHTS

    config, folder = read_run(cfg.run, key="run")[0], Path(cfg.output)
    replaced = any((place / WEIGHTS).is_file() for place in (folder, folder / NETWORK_FOLDER))
    release(cfg.run, folder, getattr(torch, cfg.dtype), decoder=cfg.decoder)
    log.info(f"released in {folder}{', where an earlier release was replaced' if replaced else ''}")
    log.info(f"next: {next_command(config, folder)}")


def next_command(config: DictConfig, folder: Path) -> str:
    """What a release is for, as it is typed: a codec and a compressor are trained upon, all else makes videos."""
    if config.get("network") is None:
        return f"python train.py {shlex.quote(f'codec.folder={folder}')} codec.channels={config.codec.channels}"
    if str(config.lightning_module._target_).endswith(".CompressingModule"):
        return f"python train.py experiment=lovic_freedoom {shlex.quote(f'pretrained.compressor={folder}')}"
    return f"python generate.py {shlex.quote(f'weights={folder}')} output=outputs/{shlex.quote(folder.name)}"


if __name__ == "__main__":
    from lightning_modules.user_errors import start

    start(main, "export")
