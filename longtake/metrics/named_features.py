"""Features by name, of frames and of clips, for metrics. Axes: n frames or clips, c h w, d features."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from longtake.metrics.features import (
    ColourTextureFeatures,
    FrameFeatures,
    efficientnet_lite0,
    offline_features,
)
from longtake.metrics.fetched_features import clip_features, timm_features
from networks.ranges import Text
from networks.reading import read_json

NETWORKS_OF_VBENCH = {"dino": "vit_base_patch16_224.dino", "clip": "openai/clip-vit-base-patch32"}


class Remembered(nn.Module):
    """Features that are computed once for each picture, since several metrics ask for those of the same frames."""

    def __init__(self, *, features: FrameFeatures, most: int = 8192) -> None:
        """Take the features, and how many pictures' are kept."""
        super().__init__()
        self.features = features
        self.name, self.sees = features.name, features.sees
        self.most = most
        self.known: dict[bytes, Tensor] = {}

    def forward(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to n d."""
        keys = [hashlib.blake2b(frame.cpu().numpy().tobytes(), digest_size=16).digest() for frame in frames]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        found = self.features(frames[list(new.values())]).cpu() if new else torch.zeros(0)
        at_hand = self.known | dict(zip(new, found, strict=True))
        self.known = dict(list(at_hand.items())[-self.most :])
        return torch.stack([at_hand[key] for key in keys]).to(frames.device)


@cache
def frame_features(*, name: Text) -> FrameFeatures:
    """Load features of frames by name, once: whoever asks for the same name gets the same.

    Args:
        name: offline (the best that needs no download), histograms, efficientnet_lite0; dino and clip, which are the
            networks that VBench takes (DINO ViT-B/16, CLIP ViT-B/32) on frames prepared as it does; any pretrained
            timm model; a CLIP of transformers, as owner/model; or a folder with either. Models that are not on this
                machine are downloaded once. VBench reads videos at their own size, and we at `short_side`, so figures
                come near to its own without being the same.

    Returns:
        Features of frames.

    Raises:
        ValueError: there is no such model, or it cannot be had.
    """
    return Remembered(features=_load(name))


def _load(name: str) -> FrameFeatures:
    if name == "offline":
        return offline_features()
    if name == "histograms":
        return ColourTextureFeatures()
    if name == "efficientnet_lite0":
        return efficientnet_lite0()
    setting, model = f"features.name={name}", NETWORKS_OF_VBENCH.get(name, name)
    if "/" in model and not _is_timms(Path(model)):
        return clip_features(model_name=model, setting=setting)
    return timm_features(model_name=model, setting=setting)


def _is_timms(folder: Path) -> bool:
    """Whether timm wrote the folder."""
    config = folder / "config.json"
    return config.is_file() and "architecture" in read_json(config)


class WithoutCentre(nn.Module):
    """Features of frames whose middle is hidden: of the background, where subjects keep to the middle.

    The middle is filled with its own frame's mean colour around it.

    Source: our choice.
    """

    def __init__(self, *, features: FrameFeatures, share: float = 0.5) -> None:
        """Keeps the features.

        Args:
            features: feature model of the frames whose centre is hidden.
            share: part of height and of width that is hidden, in (0, 1).

        Raises:
            ValueError: share is not in (0, 1).
        """
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"background: share is {share}, but must lie between 0 and 1")
        self.features = features
        self.share = share
        self.sees = features.sees
        self.name = f"{features.name}, middle {share:.0%} of height and width hidden"

    def forward(self, frames: Tensor) -> Tensor:
        """Frames n 3 h w in [-1, 1] to n d."""
        height, width = frames.shape[-2:]
        hidden = torch.zeros(height, width, dtype=torch.bool, device=frames.device)
        top, left = (round(side * (1 - self.share) / 2) for side in (height, width))
        hidden[top : height - top, left : width - left] = True
        colour = rearrange(frames[..., ~hidden].float().mean(dim=-1), "n c -> n c 1 1").to(frames.dtype)
        return self.features(torch.where(hidden, colour, frames))


def background_features(*, name: Text) -> FrameFeatures:
    """Features of the background: `offline_without_centre`, or those that `frame_features` knows by this name.

    Args:
        name: see there.

    Returns:
        Features of frames.

    Raises:
        ValueError: there is no such model, or it cannot be had.
    """
    if name == "offline_without_centre":
        return WithoutCentre(features=frame_features(name="offline"))
    try:
        return frame_features(name=name)
    except ValueError as error:  # which opens with the other setting
        raise ValueError(f"background_{error}") from error


class ClipFeatures(Protocol):
    """What a Fréchet distance between videos asks of a model."""

    name: str
    sees: str  # the size that frames are brought to, in words
    num_frames: int  # of a clip

    def __call__(self, clips: Tensor) -> Tensor:
        """Clips n 3 f h w in [-1, 1] to features n d, float32."""
        ...


class FramesAndChanges(nn.Module):
    """Of a clip, the mean of its frames' features and the mean size of their change from frame to frame.

    Source: our choice, as no video network comes with a package. What it gives is no FVD.
    """

    def __init__(self, *, features: FrameFeatures, num_frames: int = 16) -> None:
        super().__init__()
        self.features = features
        self.num_frames = num_frames
        self.sees = features.sees
        self.name = f"{features.name}: mean, and mean change between frames"

    def forward(self, clips: Tensor) -> Tensor:
        """Clips n 3 f h w in [-1, 1] to n 2d."""
        found = self.features(rearrange(clips, "n c f h w -> (n f) c h w"))
        found = rearrange(found, "(n f) d -> n f d", n=len(clips))
        return torch.cat([found.mean(dim=1), found.diff(dim=1).abs().mean(dim=1)], dim=1)


class KineticsFeatures(nn.Module):
    """A video network of torchvision, trained on Kinetics-400, without its classifier."""

    def __init__(self, *, model: nn.Module, name: str, size: int = 112, num_frames: int = 16) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.size = size
        self.sees = f"{size} × {size} pixels, stretched"
        self.num_frames = num_frames

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Clips n 3 f h w in [-1, 1] to n d, one at a time to bound memory."""
        self.model.eval()
        return torch.cat([self._features(clip) for clip in clips.split(1)])

    def _features(self, clip: Tensor) -> Tensor:
        frames = rearrange(clip.float(), "1 c f h w -> f c h w")
        frames = functional.interpolate(frames, size=(self.size, self.size), mode="bilinear", antialias=True)
        # Source: torchvision's preprocessing of its Kinetics networks
        mean, std = frames.new_tensor([0.43216, 0.394666, 0.37645]), frames.new_tensor([0.22803, 0.22145, 0.216989])
        frames = ((frames + 1) / 2 - rearrange(mean, "c -> c 1 1")) / rearrange(std, "c -> c 1 1")
        return self.model(rearrange(frames, "f c h w -> 1 c f h w")).float()


def video_features(*, name: Text) -> ClipFeatures:
    """Load features of 16-frame clips by name: offline, or torchvision's r3d_18, mc3_18 or r2plus1d_18.

    Args:
        name: see there.

    Returns:
        Features of clips.

    Raises:
        ValueError: there is no such model, or its weights are neither on this machine nor to be had.
    """
    if name == "offline":
        return FramesAndChanges(features=frame_features(name="offline"))
    if name not in ("r3d_18", "mc3_18", "r2plus1d_18"):
        raise ValueError(
            f"video_features.name={name} is not known: the names are offline, r3d_18, mc3_18 and r2plus1d_18"
        )
    from torchvision.models import video

    try:
        model: Any = getattr(video, name)(weights="DEFAULT", progress=False)
    except OSError as error:
        raise ValueError(
            f"video_features.name={name}: its weights are not on this machine, and fetching them failed ({error}); "
            "video_features.name=offline needs none"
        ) from error
    model.fc = nn.Identity()
    return KineticsFeatures(model=model, name=f"{name} (torchvision, Kinetics-400)")
