"""Trains what the config says: `python train.py`, `python train.py experiment=…`, any `key=value`."""

from omegaconf import DictConfig


def main(cfg: DictConfig) -> float | None:
    """Checks, trains; returns the validation loss, which sweepers minimise."""
    from lightning_modules.schemas import TrainSettings  # after Hydra has parsed: --help needs no torch
    from lightning_modules.settings import check_settings
    from lightning_modules.together import check_together

    check_settings(cfg, TrainSettings)
    check_together(cfg)
    from lightning_modules.training import train

    return train(cfg)


if __name__ == "__main__":
    from lightning_modules.user_errors import start

    start(main, "train")
