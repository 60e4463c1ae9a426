"""Wan at a tiny random size: models of the real class, saved in the real format."""

from functools import cache
from pathlib import Path

import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake
from tiny_base import base_settings, saved

from networks.pretrained.wan import WanBackbone

OF_ITS_OWN = {"place.project.weight", "place.project.bias"}


def tiny_transformer(**changes):
    from diffusers import WanTransformer3DModel

    settings = {
        "num_attention_heads": HEADS,
        "attention_head_dim": WIDTH // HEADS,  # 16: 8 for frames, 4 and 4 for rows and columns
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": TEXT,
        "freq_dim": 16,
        "ffn_dim": 48,
        "num_layers": 2,
    }
    torch.manual_seed(0)
    return awake(WanTransformer3DModel(**{**settings, **changes}).eval(), scale=0.1)


@cache
def tiny_wan() -> Path:
    """The folder of a pipeline with such a model, the same one every time."""
    return saved("wan", tiny_transformer)


def settings_of(folder, **changes):
    return {**base_settings(folder), **changes}


def backbone_of(folder, **changes):
    torch.manual_seed(0)  # of the adapters
    return WanBackbone(**settings_of(folder, **changes)).eval()


def learnt(backbone, seed=3):
    """With adapters and places that say something; the loaded weights as they are."""
    for name, parameter in backbone.named_parameters():
        if "lora" in name or name in OF_ITS_OWN:
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            parameter.data.add_(0.2 * noise)
    return backbone
