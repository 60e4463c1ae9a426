"""Networks that really run, beside their predicted cost."""

import torch
from composing import composed, options_of
from hydra.utils import instantiate
from omegaconf import OmegaConf

from longtake.compat.torch import flop_counter
from longtake.cost.sizes import VideoSize, network_size
from networks.interfaces import Condition

TINY = ("backbone.width=32", "backbone.num_heads=2", "backbone.depth=2", "codec.channels=4")
SIDE, TEXT = 4, 5
LOVIC = ("network=lovic", "compressor=flexformer")
HYBRID = ("network=vin_lovic", "compressor=flexformer_qformer")
ROLLOUTS = options_of("rollout")


def configured(*overrides):
    return composed("evaluate", *overrides)


def built(*overrides):
    """A network, its predicted size, and the rollouts' configs."""
    cfg = configured(*TINY, *overrides)
    size = network_size(OmegaConf.to_container(cfg.network, resolve=True))
    return instantiate(cfg.network).eval().requires_grad_(False), size, OmegaConf.to_container(cfg.rollouts)


def video_of(frames):
    return VideoSize(frames, SIDE, SIDE, TEXT)


def example(size, frames, *, shared_time=True):
    index = torch.arange(frames, dtype=torch.float32).unsqueeze(0)
    text = torch.randn(1, TEXT, size.dit.text_features)
    noisy = torch.randn(1, size.dit.channels, frames, SIDE, SIDE)
    time = torch.full((1, 1 if shared_time else frames), 0.7)
    return noisy, time, Condition(index, text, torch.ones(1, TEXT, dtype=torch.bool))


def counted(function, *arguments, **settings):
    with torch.no_grad(), flop_counter() as counter:
        function(*arguments, **settings)
    return counter.get_total_flops()
