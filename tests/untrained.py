"""Checkpoints of weights that nothing has trained, for the measurements of trained ones."""

import torch
from composing import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from benchmarks.setups import compose_config
from longtake.releases.checkpoints import CONFIG_KEY

CAPTIONS = (
    "A marine in blue armour is walking through a green level.",
    "Third-person view of a marine in a red suit in a blue level.",
    "First-person view of a blue level.",
    "The camera follows a green-suited marine.",
)


def awake(overrides, path):
    """A checkpoint of the weights that these overrides of train.py build, none of them zero."""
    torch.manual_seed(0)
    cfg = compose_config((f"paths.root_dir={ROOT}", "paths.run_dir=.", *overrides))
    cfg.pretrained = None
    module = instantiate(cfg.lightning_module)
    with torch.no_grad():
        for parameter in module.parameters():  # gates that begin at zero would hide what lies behind them
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = OmegaConf.to_container(cfg, resolve=True)
    torch.save({CONFIG_KEY: config, "state_dict": module.state_dict(), "global_step": cfg.trainer.max_steps}, path)
    return path
