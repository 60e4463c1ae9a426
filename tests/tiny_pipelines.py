"""Pretrained bases at tiny random sizes: whole folders in the real format, with all that an experiment reads of one."""

from pathlib import Path
from typing import Any

import tiny_cogvideox
import tiny_hunyuan
import tiny_ltx
import tiny_wan
from tiny_codecs import build_cogvideox, build_hunyuan, build_ltx, build_wan
from tiny_t5 import save_tiny_t5
from tiny_texts import POOLED, TEXT, save_tiny_llama


def save_tiny_pipelines(folder: Path) -> None:
    """Writes one folder a family, by its name; that of Wan holds two experts."""
    from diffusers import CogVideoXDDIMScheduler, FlowMatchEulerDiscreteScheduler

    ddim = CogVideoXDDIMScheduler(  # as CogVideoX 5B has it
        prediction_type="v_prediction",
        snr_shift_scale=1.0,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    flow = FlowMatchEulerDiscreteScheduler()
    wan, text = tiny_wan.tiny_transformer(text_dim=TEXT), {"text_embed_dim": TEXT}
    ltx = tiny_ltx.tiny_transformer(caption_channels=TEXT)
    cogvideox = tiny_cogvideox.tiny_transformer(**text)
    hunyuan = tiny_hunyuan.tiny_transformer(**text, pooled_projection_dim=POOLED)
    families: dict[str, dict[str, Any]] = {
        "wan": {"transformer": wan, "transformer_2": wan, "vae": build_wan(), "scheduler": flow},
        "ltx": {"transformer": ltx, "vae": build_ltx(), "scheduler": flow},
        "cogvideox": {
            "transformer": cogvideox,
            "vae": build_cogvideox(),
            "scheduler": ddim,
        },
        "hunyuan": {"transformer": hunyuan, "vae": build_hunyuan(), "scheduler": flow},
    }
    for name, parts in families.items():
        for place, part in parts.items():
            part.save_pretrained(folder / name / place)
        if name == "hunyuan":
            save_tiny_llama(folder / name)
        else:
            save_tiny_t5(folder / name, "umt5" if name == "wan" else "t5")
