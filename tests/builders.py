"""Tiny networks and inputs that several tests share."""

import os
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.codecs.causal import CausalVideoAutoencoder
from networks.dit import VideoDiT
from networks.interfaces import Condition, Context, SegmentBatch
from networks.lovic import LoViCNetwork
from networks.saving import save_pretrained
from networks.video_interface import PlanHead, VideoInterface
from networks.vin import VideoInterfaceNetwork

CHANNELS, TEXT, WIDTH, HEADS, FPS = 4, 6, 32, 2, 2.0


def tiny_dit(**changes) -> VideoDiT:
    settings = {
        "channels": CHANNELS,
        "width": WIDTH,
        "depth": 2,
        "num_heads": HEADS,
        "mlp_ratio": 2.0,
        "text_features": TEXT,
        "latent_fps": FPS,
        "rope_theta": 100.0,
        "checkpoint_activations": False,
    }
    return VideoDiT(**{**settings, **changes})


def tiny_vin(plan: bool = False, depth: int = 2, **changes) -> VideoInterfaceNetwork:
    interface = VideoInterface(
        num_tokens=5,
        width=48,
        depth=depth,
        num_heads=3,
        backbone_width=WIDTH,
        text_features=TEXT,
        keyframe_seconds=1.0,
        latent_fps=FPS,
    )
    settings = {
        "backbone": tiny_dit(depth=depth),
        "interface": interface,
        "plan": PlanHead(width=WIDTH, num_heads=HEADS, channels=CHANNELS, latent_fps=FPS) if plan else None,
        "chunk_frames": 4,
        "train_local_frames": 2,
        "local_frames": 3,
        "fusion": "none",
        "fusion_times": {"early": [0.4, 1.0], "mid": [0.2, 0.8], "late": [0.0, 0.6], "all": [0.0, 1.0]},
        "token_dropout": 0.0,
        "pooled_modulation": plan,
        "context_loss_rate": 0.0,
        "windows_per_call": 0,
    }
    return VideoInterfaceNetwork(**{**settings, **changes})


def tiny_lovic(window: nn.Module | None = None, memory: bool = True, low_resolution: bool = False) -> LoViCNetwork:
    from networks.flexformer import FlexFormer

    window = tiny_dit() if window is None else window

    compressor = FlexFormer(
        channels=CHANNELS,
        width=WIDTH,
        encoder_depth=1,
        decoder_depth=1,
        num_heads=HEADS,
        text_features=TEXT,
        block="joint",
        strategy="uniform",
        rule="centre",
        qk_gain=2.0,
        rope_theta=100.0,
        patch=window.patch,
    )
    return LoViCNetwork(
        window=window,
        compressor=compressor if memory else None,
        shot_gap=4.0,
        low_resolution=low_resolution,
    )


def context(
    starts: list[int],
    shots: list[int] | None = None,
    batch: int = 2,
    rate: float = 4.0,
    seed: int = 1,
    side: tuple[int, int] = (4, 4),
) -> Context:
    """One Context of segments of 4 frames that begin at these places, texts of 3 tokens."""
    generator = torch.Generator().manual_seed(seed)
    count = len(starts)
    index = torch.tensor(starts, dtype=torch.float32)[:, None] + torch.arange(4)
    segments = SegmentBatch(
        video=torch.randn(batch, count, CHANNELS, 4, *side, generator=generator),
        frame_index=index.expand(batch, -1, -1),
        text=torch.randn(batch, count, 3, TEXT, generator=generator),
        text_mask=torch.ones(batch, count, 3, dtype=torch.bool),
        shot=torch.tensor(shots or [0] * count).expand(batch, -1),
        valid=torch.ones(batch, count, dtype=torch.bool),
    )
    return Context(segments, torch.zeros(batch, count), rate)


def awake(network: nn.Module, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Adds noise to every parameter: zero-initialised gates would hide whatever lies behind them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def example(
    frames: int, batch: int = 2, seed: int = 0, side: tuple[int, int] = (4, 4)
) -> tuple[Tensor, Tensor, Condition]:
    """noisy b c f h w, time b f (one per video), condition with texts of 3 tokens."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(batch, CHANNELS, frames, *side, generator=generator)
    time = torch.linspace(0.3, 0.9, batch).unsqueeze(1).expand(-1, frames)
    text = torch.randn(batch, 3, TEXT, generator=generator)
    index = torch.arange(frames, dtype=torch.float32).expand(batch, -1)
    return noisy, time, Condition(index, text, torch.ones(batch, 3, dtype=torch.bool))


def remembering_example(
    frames: int, batch: int = 2, seed: int = 0, side: tuple[int, int] = (4, 4)
) -> tuple[Tensor, Tensor, Condition]:
    """The same with a past before a cut, a past and a future at another rate, noisy each to its own level.

    The last row lacks one segment, and has one word less in another.
    """
    noisy, time, condition = example(frames, batch, seed, side)
    before = context([-12], [-1], batch=batch, rate=8.0, seed=seed + 1, side=side)
    beside = context([-4, 16], batch=batch, rate=4.0, seed=seed + 2, side=side)
    level = torch.linspace(0.0, 0.3, 2 * batch).view(batch, 2)
    valid, known = beside.segments.valid.clone(), beside.segments.text_mask.clone()
    valid[-1, 1] = False
    known[-1, 0, -1] = False
    beside = Context(beside.segments._replace(valid=valid, text_mask=known), level, beside.rate)
    return noisy, time, condition._replace(shot=torch.zeros(batch, dtype=torch.long), context=(before, beside))


def new_folder(name: str) -> Path:
    """An empty folder that goes when the tests end, however many processes of theirs use it (conftest.py)."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=os.environ.get("TESTS_FOLDER")))


@cache
def tiny_codec() -> Path:
    """A folder of a small causal codec with the same random weights every time: one without a folder is refused."""
    folder = new_folder("tiny-codec")
    sizes = {"channels": CHANNELS, "fine_width": 8, "coarse_width": 8, "num_fine_blocks": 1, "num_coarse_blocks": 2}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        codec = CausalVideoAutoencoder(**sizes)
    save_pretrained(codec, {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", **sizes}, folder)
    return folder


def masked_calls(run) -> tuple[int, int]:
    """How many calls of attention have a mask, and how many there are."""
    found = []
    attend = F.scaled_dot_product_attention

    def counting(query, key, value, attn_mask=None, **more):
        found.append(attn_mask is not None)
        return attend(query, key, value, attn_mask=attn_mask, **more)

    with patch.object(F, "scaled_dot_product_attention", counting):
        run()
    return sum(found), len(found)
