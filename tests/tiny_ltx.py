"""LTX-Video at a tiny random size: models of the real class, saved in the real format."""

from functools import cache
from pathlib import Path

import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake
from tiny_base import GATED, base_settings, saved

from networks.pretrained.ltx import LtxBackbone


def tiny_transformer(**changes):
    from diffusers import LTXVideoTransformer3DModel

    settings = {
        "num_attention_heads": HEADS,
        "attention_head_dim": WIDTH // HEADS,
        "cross_attention_dim": WIDTH,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "caption_channels": TEXT,
        "num_layers": 2,
    }
    torch.manual_seed(0)
    return awake(LTXVideoTransformer3DModel(**{**settings, **changes}).eval(), scale=0.1)


@cache
def tiny_ltx() -> Path:
    """The folder of a pipeline with such a model, the same one every time."""
    return saved("ltx", tiny_transformer)


def settings_of(folder, **changes):
    return {**base_settings(folder), **GATED, "latent_fps": 3.125, "space_factor": 32, "patch": 1, **changes}


def backbone_of(folder, **changes):
    torch.manual_seed(0)  # of the adapters
    return LtxBackbone(**settings_of(folder, **changes)).eval()
