"""Writes a run as a release folder: `python export.py run=runs/NAME/… output=weights/NAME`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
def main(cfg: DictConfig) -> None:
    """Loads the run's averaged weights and saves them in the diffusers format."""
    import torch

    if cfg.dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"dtype={cfg.dtype} must be float32, float16 or bfloat16")
    from lightning_modules.runs import release

    release(cfg.run, cfg.output, getattr(torch, cfg.dtype))


if __name__ == "__main__":
    from lightning_modules.user_errors import explain

    with explain():
        main()
