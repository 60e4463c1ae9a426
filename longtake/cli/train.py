"""Trains what the config says: `python train.py`, `python train.py experiment=…`, any `key=value`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from longtake.cli.user_errors import start


def run(cfg: DictConfig) -> float | None:
    """Checks, trains; returns the validation loss, which sweepers minimise."""
    with no_folder_of_nothing():
        return _run(cfg)


def _run(cfg: DictConfig) -> float | None:
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import TrainSettings  # after Hydra has parsed: --help needs no torch
    from longtake.cli.together import check_together

    check_settings(cfg, TrainSettings)
    check_together(cfg)
    from longtake.cli.training import train

    return train(cfg)


@contextmanager
def no_folder_of_nothing() -> Iterator[None]:
    """Removes the folder that Hydra made for a run if the run is refused before it has written anything there.

    It holds the run's settings and an empty log by then. Mistakes of ours leave it, as reports of them may need it.
    """
    try:
        yield
    except Exception as error:
        from longtake.cli.user_errors import sentence

        if HydraConfig.initialized() and sentence(error) is not None and os.environ.get("LOCAL_RANK", "0") == "0":
            remove_unused(Path(HydraConfig.get().runtime.output_dir))
        raise


def remove_unused(folder: Path) -> None:
    """Removes a run's folder in which no run has written anything, and which no run is about to use."""
    from networks.files import CLAIM, claimed

    with suppress(ValueError, OSError), claimed(folder):
        if {path.name for path in folder.iterdir()} <= {"config", "train.log", CLAIM}:
            shutil.rmtree(folder)


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "train")
