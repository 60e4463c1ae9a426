"""A pretrained Wan transformer out of its folder: what it must be, what fits it, and the adapters that learn."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from safetensors import SafetensorError

from networks.pretrained.wan_blocks import THETA
from networks.reading import check_pretrained, reason_of
from networks.sequence import PATCH

CLASS_NAME = "WanTransformer3DModel"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"]
"""What LoRA is put into, in self- and cross-attention. Source: diffusers' examples for Wan and other transformers."""


def check_words(dtype: str, lora_rank: int, lora_alpha: int) -> None:
    """Refuses settings that do not go together, before anything is read."""
    if dtype not in DTYPES:
        raise ValueError(f"backbone: dtype is '{dtype}', but must be one of {', '.join(DTYPES)}")
    if lora_rank < 0:
        raise ValueError(f"backbone: lora_rank is {lora_rank}, but must be 0 (train all weights) or more")
    if lora_rank > 0 and lora_alpha <= 0:
        raise ValueError(f"backbone: lora_alpha is {lora_alpha}, but must be above 0 for adapters to say anything")
    if lora_rank == 0 and dtype != "float32":
        raise ValueError(
            f"backbone: lora_rank=0 trains all weights, and in {dtype} they are too coarse for small steps: set "
            "backbone.dtype=float32 (trainer.precision=bf16-mixed computes in bfloat16 all the same) or lora_rank=64"
        )
    # accelerate: diffusers asks for it to load a model some parts of which stay in float32
    for library in ("accelerate", *(["peft"] * (lora_rank > 0))):
        if find_spec(library) is None:
            raise ValueError(f'backbone: Wan needs the library {library}: pip install -e ".[lora]"')


def load(pretrained: str, subfolder: str, dtype: torch.dtype, asked: Mapping[str, float]) -> Any:
    """The transformer, with every weight from its folder; asked: what the configuration counts on."""
    from diffusers import WanTransformer3DModel

    place = f"{pretrained}/{subfolder}" if subfolder else pretrained
    check_pretrained(pretrained, subfolder)
    try:
        config = WanTransformer3DModel.load_config(pretrained, subfolder=subfolder)
        _check(place, dict(config), asked)  # before gigabytes are read
        if torch.get_default_device().type == "meta":  # to be counted: its config says enough
            return WanTransformer3DModel.from_config(config).to(dtype).train()
        model, found = WanTransformer3DModel.from_pretrained(
            pretrained, subfolder=subfolder, torch_dtype=dtype, output_loading_info=True, use_safetensors=True
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"backbone: no {CLASS_NAME} could be loaded from '{place}': {reason_of(error)}") from error
    if found["missing_keys"]:
        raise ValueError(
            f"backbone: '{place}' lacks {len(found['missing_keys'])} weights of its {CLASS_NAME}, among them "
            f"{found['missing_keys'][0]}: download it again"
        )
    return model.train()


def _check(place: str, config: dict[str, Any], asked: Mapping[str, float]) -> None:
    """Refuses a model of another kind, and settings that are not the model's."""
    if config.get("_class_name") != CLASS_NAME:
        raise ValueError(f"backbone: '{place}' holds a {config.get('_class_name')}, but must hold a {CLASS_NAME}")
    for name in ("added_kv_proj_dim", "image_dim"):
        if config.get(name) is not None:
            raise ValueError(
                f"backbone: '{place}' is conditioned on images ({name}={config[name]}), which nothing here gives: take "
                "a text-to-video model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
            )
    if tuple(config["patch_size"]) != (1, PATCH, PATCH):
        raise ValueError(f"backbone: '{place}' has patches of {tuple(config['patch_size'])}, but must have (1, 2, 2)")
    if config["out_channels"] != config["in_channels"]:
        raise ValueError(
            f"backbone: '{place}' reads {config['in_channels']} channels and writes {config['out_channels']}: it is "
            "given more than a noisy video, so take a text-to-video model"
        )
    has = {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_dim"],
        "rope_theta": THETA,
    }
    for name, value in asked.items():
        if value != has[name]:
            group = {"channels": "codec.channels", "text_features": "text.features"}.get(name, f"backbone.{name}")
            raise ValueError(f"backbone: {name} is {value}, but '{place}' has {has[name]}: set {group}={has[name]}")


def add_lora(model: Any, rank: int, alpha: int) -> None:
    """Freezes a model and puts adapters into its attention, which add nothing until they have learned."""
    from peft import LoraConfig

    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=ADAPTED, init_lora_weights=True))
    for parameter in model.parameters():
        if parameter.requires_grad:  # learned in float32, whatever the frozen ones are
            parameter.data = parameter.data.float()
