"""Trains what the config says: `python train.py`, `python train.py experiment=…`, any `key=value`."""

from omegaconf import DictConfig

from longtake.cli.user_errors import start


def run(cfg: DictConfig) -> float | None:
    """Checks, trains; returns the validation loss, which sweepers minimise."""
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import TrainSettings  # after Hydra has parsed: --help needs no torch
    from longtake.cli.together import check_together

    check_settings(cfg, TrainSettings)
    check_together(cfg)
    from longtake.cli.training import train

    return train(cfg)


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "train")
