"""What is compared: VIN and full attention over the same backbone, built from the shipped config, and their inputs."""

from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from benchmarks import ROOT
from longtake.compat.torch import flop_counter
from networks.interfaces import Condition
from networks.rope import RotaryEmbedding3D

CHANNELS, TIME_FACTOR = 16, 4  # of the shipped codec
LINEAR = ("aten.addmm", "aten.mm")


class Setup(NamedTuple):
    """One backbone and its Video Interface.

    shared: overrides of the training config for both networks; vin_only: further ones that only `network=vin` has.
    height, width: of the latents, whose 2 x 2 patches are tokens; text_tokens: length of a caption.
    """

    name: str
    shared: tuple[str, ...]
    vin_only: tuple[str, ...]
    height: int
    width: int
    text_tokens: int


SMALL = Setup("dit_tiny", (), (), 8, 8, 20)
WIDER = Setup("dit_s", ("backbone=dit_s",), (), 8, 8, 20)
PAPER = Setup(
    "paper",
    ("backbone=dit_xl", "backbone.latent_fps=5", "text=t5"),  # 5 latents a second and one keyframe a second
    (
        "interface.num_tokens=512",
        "interface.width=4096",
        "interface.num_heads=32",
        "network.chunk_frames=20",
        "network.train_local_frames=8",
        "network.local_frames=12",
    ),
    24,
    40,
    226,
)
SETUPS = {setup.name: setup for setup in (SMALL, WIDER, PAPER)}


def compose_config(overrides: tuple[str, ...]) -> DictConfig:
    """The training config as shipped, without the user's own `conf/local`."""
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return compose("train", overrides=["~local", *overrides])


def build_network(setup: Setup, network: str, device: str) -> nn.Module:
    """`vin` or `dit` with fresh weights, for sampling; on `meta` nothing is allocated and nothing computed."""
    own = setup.vin_only if network == "vin" else ()
    cfg = compose_config((f"network={network}", *setup.shared, *own))

    def rope(**arguments: Any) -> RotaryEmbedding3D:
        # Its table comes from repeat_interleave, whose size depends on data: that does not run on meta.
        with torch.device("cpu"):
            return RotaryEmbedding3D(**arguments).to(device)

    with torch.device(device), patch("networks.dit.RotaryEmbedding3D", rope):
        module: nn.Module = instantiate(cfg.network)
    return module.eval().requires_grad_(False)


def num_latents(num_frames: int) -> int:
    """Latent frames of a video of 4n + 1 pixel frames."""
    assert (num_frames - 1) % TIME_FACTOR == 0
    return (num_frames - 1) // TIME_FACTOR + 1


def example(setup: Setup, num_frames: int, device: str) -> tuple[Tensor, Tensor, Condition]:
    """One noisy canvas in the fused part of sampling, and its condition; num_frames in pixel frames."""
    frames = num_latents(num_frames)
    features = int(compose_config(setup.shared).text.features)
    noisy = torch.randn(1, CHANNELS, frames, setup.height, setup.width, device=device)
    time = torch.full((1, 1), 0.7, device=device)  # of all frames, as a sampler has it
    index = torch.arange(frames, device=device, dtype=torch.float32).unsqueeze(0)
    text = torch.randn(1, setup.text_tokens, features, device=device)
    return noisy, time, Condition(index, text, torch.ones(1, setup.text_tokens, dtype=torch.bool, device=device))


class Flops(NamedTuple):
    """FLOPs of one step, and those of them inside scaled dot-product attention."""

    total: int
    attention: int


@torch.no_grad()
def count_flops(setup: Setup, network: str, num_frames: int) -> Flops:
    """Counted on `meta`, where attention is two products of batches of matrices and all the rest is linear layers."""
    module = build_network(setup, network, "meta")
    with flop_counter() as counter:
        module(*example(setup, num_frames, "meta"))
    linear = sum(n for operator, n in counter.get_flop_counts()["Global"].items() if str(operator) in LINEAR)
    return Flops(counter.get_total_flops(), counter.get_total_flops() - linear)
