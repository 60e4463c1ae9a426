"""HunyuanVideo at a tiny random size: models of the real class, saved in the real format."""

from functools import cache
from pathlib import Path

import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake
from tiny_base import GATED, base_settings, saved

from networks.pretrained.hunyuan import HunyuanVideoBackbone

POOLED = 5


def tiny_transformer(**changes):
    from diffusers import HunyuanVideoTransformer3DModel

    settings = {
        "num_attention_heads": HEADS,
        "attention_head_dim": WIDTH // HEADS,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_embed_dim": TEXT,
        "pooled_projection_dim": POOLED,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
        "rope_axes_dim": (4, 6, 6),
    }
    torch.manual_seed(0)
    return awake(HunyuanVideoTransformer3DModel(**{**settings, **changes}).eval(), scale=0.1)


@cache
def tiny_hunyuan() -> Path:
    """The folder of a pipeline with such a model, the same one every time."""
    return saved("hunyuan", tiny_transformer)


def settings_of(folder, **changes):
    return {**base_settings(folder), **GATED, "rope_theta": 256.0, "told_guidance": 6.0, "patch": 2, **changes}


def backbone_of(folder, **changes):
    torch.manual_seed(0)  # of the adapters
    return HunyuanVideoBackbone(**settings_of(folder, **changes)).eval()


def loaded(noisy, time, condition):
    """What diffusers' class makes of the same; time: b."""
    text, mask = condition.text, condition.text_mask
    scale = torch.full((len(noisy),), 6000.0)
    return tiny_transformer()(noisy, 1000 * time, text[:, 1:], mask[:, 1:], text[:, 0, :POOLED], scale).sample
