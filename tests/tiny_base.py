"""What the tiny models of pretrained families share: how they are saved, and what their backbones are told."""

from pathlib import Path

import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, new_folder


def saved(name, make) -> Path:
    """The folder of a pipeline with the transformer that `make` builds; it goes when the tests end."""
    folder = new_folder(f"tiny-{name}")
    with torch.random.fork_rng([]):
        make().save_pretrained(folder / "transformer")
    return folder


def base_settings(folder):
    """Of every family's backbone."""
    return {
        "pretrained": str(folder),
        "subfolder": "transformer",
        "dtype": "float32",
        "channels": CHANNELS,
        "width": WIDTH,
        "num_heads": HEADS,
        "text_features": TEXT,
        "latent_fps": 2.0,
        "rope_theta": 10000.0,
        "lora_rank": 4,
        "lora_alpha": 4,
        "checkpoint_activations": False,
    }


GATED = {"control": None, "context_attention": "gated"}
"""Of those families whose constructors ask for it."""
