"""CogVideoX at a tiny random size: models of the real class, saved in the real format."""

import json
from functools import cache
from pathlib import Path

import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake
from tiny_base import GATED, base_settings, saved

from networks.pretrained.cogvideox import CogVideoXBackbone

KINDS = {
    "2b": {},
    "5b": {"use_rotary_positional_embeddings": True},
    "1.5": {"use_rotary_positional_embeddings": True, "patch_size_t": 2, "patch_bias": False},
}


def tiny_transformer(kind="5b", **changes):
    from diffusers import CogVideoXTransformer3DModel

    settings = {
        "num_attention_heads": HEADS,
        "attention_head_dim": WIDTH // HEADS,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "time_embed_dim": 24,
        "text_embed_dim": TEXT,
        "max_text_seq_length": 8,
        "num_layers": 2,
        "sample_height": 4,
        "sample_width": 6,
        "sample_frames": 17,
        **KINDS[kind],
    }
    torch.manual_seed(0)
    return awake(CogVideoXTransformer3DModel(**{**settings, **changes}).eval(), scale=0.1)


@cache
def tiny_cogvideox(kind="5b") -> Path:
    """The folder of a pipeline with such a model, the same one every time."""
    return saved("cogvideox", lambda: tiny_transformer(kind))


def _frame_patch(folder) -> int:
    """Of the model that lies there; 1 where none does."""
    path = Path(folder) / "transformer" / "config.json"
    return (json.loads(path.read_text()).get("patch_size_t") or 1) if path.is_file() else 1


def settings_of(folder, **changes):
    return {**base_settings(folder), **GATED, "patch": 2, "frame_patch": _frame_patch(folder), **changes}


def backbone_of(folder, **changes):
    torch.manual_seed(0)  # of the adapters
    return CogVideoXBackbone(**settings_of(folder, **changes)).eval()


def loaded(kind, noisy, time, condition):
    """What diffusers' class makes of the same, with the places that its pipeline hands over; time: b."""
    from diffusers import CogVideoXPipeline

    model = tiny_transformer(kind)
    frames, height, width = noisy.shape[2:]
    text = condition.text * condition.text_mask.unsqueeze(-1)
    text = torch.nn.functional.pad(text, (0, 0, 0, 8 - text.shape[1]))
    pipeline = type("Fake", (), {"transformer": model, "vae_scale_factor_spatial": 8})()
    turned = None
    if model.config.use_rotary_positional_embeddings:
        make = CogVideoXPipeline._prepare_rotary_positional_embeddings
        turned = make(pipeline, 8 * height, 8 * width, frames, torch.device("cpu"))
    steps = 1000 * time - 1
    return model(noisy.transpose(1, 2), text, steps, image_rotary_emb=turned).sample.transpose(1, 2)
