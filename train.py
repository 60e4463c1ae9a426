"""Trains what the config says: `python train.py`, `python train.py experiment=…`, any `key=value`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Composes, checks, trains; returns the validation loss, which sweepers minimise."""
    from lightning_modules.training import train  # after Hydra has parsed: --help needs no torch

    return train(cfg)


if __name__ == "__main__":
    from lightning_modules.host import settle
    from lightning_modules.stopping import stopping_tidily
    from lightning_modules.user_errors import explain

    settle()  # before torch loads; see README, "On a CPU"
    with explain(), stopping_tidily():
        main()
