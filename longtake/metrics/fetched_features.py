"""Features of frames by pretrained networks, from a folder or downloaded once. Axes: n frames, c h w."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longtake.metrics.features import Fit, TimmFeatures
from longtake.metrics.hub import refusal
from networks.model_folder import check_pretrained
from networks.reading import UNREADABLE, read_json, reason_of, refused

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

WAYS_OUT = "the name offline needs no download, and that of a folder with a copy of such a model's files does as well"


def timm_features(*, model_name: str, size: int = 224, setting: str = "features") -> TimmFeatures:
    """Load a pretrained timm model, by name or from a folder with its config.json and weights.

    DINO's transformers get frames of their own shape, all others square ones.

    Args:
        model_name: timm's name, or the folder.
        size: pixels of height and width, or of the short side.
        setting: name of the setting that asked for it, which errors begin with.

    Returns:
        Features of frames.

    Raises:
        ValueError: timm has no such model, or its weights are neither on this machine nor to be had.
    """
    import timm
    from timm.data.config import resolve_model_data_config

    config = Path(model_name, "config.json")
    if config.is_file():
        source, overlay = f"local-dir:{model_name}", None
        check_pretrained(model_name)
        kept = read_json(config)
        about = kept.get("pretrained_cfg")
        full_name = f"{kept.get('architecture')}.{about.get('tag') if isinstance(about, dict) else None}"
    elif timm.is_model(model_name):
        source, overlay, full_name = model_name, _weights_at_hand(model_name, setting), model_name
    else:
        raise ValueError(f"{setting}: timm has no model '{model_name}'; timm.list_models() names them")
    is_dino = full_name.startswith("vit_") and full_name.endswith(".dino")
    given: dict[str, Any] = {"dynamic_img_size": True} if is_dino else {}
    fit: Fit = "short side" if is_dino else "stretched"
    # what is kept of stretched frames is not to be taken for this
    name = f"{full_name}, short side {size}" if is_dino else model_name
    try:
        model = timm.create_model(source, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **given)
        wanted = resolve_model_data_config(model)
        features = TimmFeatures(model=model, name=name, mean=wanted["mean"], std=wanted["std"], size=size, fit=fit)
        features(torch.zeros(1, 3, size, size))  # timm looks at many a setting only then
    except UNREADABLE as error:
        raise ValueError(f"{setting}: '{model_name}' cannot be used ({reason_of(error)}); {WAYS_OUT}") from error
    return features


def _weights_at_hand(model_name: str, setting: str) -> dict[str, str] | None:
    """The file with a timm model's weights, where one was fetched before; None where timm may fetch it.

    Raises:
        ValueError: they were not, and cannot be.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    known: Any = timm.get_pretrained_cfg(model_name)
    repository = None if known is None else known.hf_hub_id
    if not repository:
        return None
    file = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(file, str):
        return {"file": file}
    if reason := refusal(repository):
        raise ValueError(f"{setting}: its weights are not on this machine ({reason}); {WAYS_OUT}")
    return None


def clip_features(*, model_name: str, setting: str = "features") -> TimmFeatures:
    """Load the picture half of a CLIP of transformers, from its hub or a folder.

    Args:
        model_name: owner/model, or the folder.
        setting: name of the setting that asked for it, which errors begin with.

    Returns:
        Features of frames.

    Raises:
        ValueError: it is neither there nor to be had.
    """
    from transformers import CLIPVisionModelWithProjection

    try:
        model = CLIPVisionModelWithProjection.from_pretrained(model_name, local_files_only=True)
    except UNREADABLE as error:
        on_hub = model_name.count("/") == 1 and not Path(model_name).exists()
        reason = refusal(model_name) if on_hub else reason_of(error)
        if reason:
            raise ValueError(
                f"{setting}: '{model_name}' is neither a folder with a CLIP nor to be had ({reason}); {WAYS_OUT}"
            ) from error
        model = _from_hub(model_name, setting)
    # Source: CLIP's own preprocessing
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    size: Any = model.config.image_size
    name = f"{model_name}, middle square"  # what is kept of stretched frames is not to be taken for this
    features = TimmFeatures(model=_ImageEmbeddings(model), name=name, mean=mean, std=std, size=size, fit="centre")
    with refused(f"{setting}: the CLIP in '{model_name}' cannot be used"):
        features(torch.zeros(1, 3, size, size))  # transformers looks at many a setting only then
    return features


def _from_hub(model_name: str, setting: str) -> "CLIPVisionModelWithProjection":
    from transformers import CLIPVisionModelWithProjection

    try:
        return CLIPVisionModelWithProjection.from_pretrained(model_name)
    except UNREADABLE as error:
        raise ValueError(f"{setting}: fetching '{model_name}' failed ({reason_of(error)}); {WAYS_OUT}") from error


class _ImageEmbeddings(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model(pixel_values=frames).image_embeds
