"""Networks that really run, beside their predicted cost."""

import torch
from composing import composed, options_of
from hydra.utils import instantiate

from longtake.compat.torch import flop_counter
from longtake.cost.sampling import VideoSize
from networks.interfaces import Condition

TINY = ("backbone.width=32", "backbone.num_heads=2", "backbone.depth=2", "codec.channels=4")
SIDE, TEXT, FEATURES = 4, 5, 384
LOVIC = ("network=lovic", "compressor=flexformer")
HYBRID = ("network=vin_lovic", "compressor=flexformer_qformer")
WAN = ("backbone.width=32", "backbone.num_heads=2", "codec.channels=16", "text.features=384")
ROLLOUTS = options_of("rollout")


def configured(*overrides):
    return composed("evaluate", *overrides)


def built(*overrides):
    """A network and the rollouts by name."""
    cfg = configured(*TINY, *overrides)
    rollouts = {name: instantiate(node) for name, node in cfg.rollouts.items()}
    return instantiate(cfg.network).eval().requires_grad_(False), rollouts


def video_of(frames, channels=4):
    return VideoSize(frames, channels, SIDE, SIDE, TEXT, FEATURES)


def example(frames, *, shared_time=True):
    index = torch.arange(frames, dtype=torch.float32).unsqueeze(0)
    noisy = torch.randn(1, 4, frames, SIDE, SIDE)
    time = torch.full((1, 1 if shared_time else frames), 0.7)
    return noisy, time, Condition(index, torch.randn(1, TEXT, FEATURES), torch.ones(1, TEXT, dtype=torch.bool))


def counted(function, *arguments, **settings):
    with torch.no_grad(), flop_counter() as counter:
        function(*arguments, **settings)
    return counter.get_total_flops()
