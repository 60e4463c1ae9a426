"""Distance of pictures in the features of a frozen image model, as a loss. Axes: n frames, c h w."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.metrics.features import efficientnet_lite0


class FeatureDistance:
    """Squared distance of unit feature vectors, averaged over places and summed over the first stages of a network.

    The pixels that err least are the mean of all textures that would fit, a blur; features of edges and texture tell
    the two apart. No module, so that checkpoints do not hold the network.
    Source: LPIPS (arXiv 1801.03924) without its learned weights; EfficientNet-Lite0 because a package ships it.
    """

    STAGES = (0, 1, 2)  # at a half, a quarter and an eighth of the side that the network is shown

    def __init__(self, *, size: int) -> None:
        """size: height and width at which the network is shown a frame."""
        shipped = efficientnet_lite0(size=size)
        self.size, self.mean, self.std = size, shipped.mean, shipped.std
        self.network: Any = shipped.model

    def _stages(self, frames: Tensor) -> list[Tensor]:
        frames = F.interpolate(frames.float(), size=(self.size, self.size), mode="bilinear")
        mean, std = (rearrange(frames.new_tensor(value), "c -> c 1 1") for value in (self.mean, self.std))
        shown = ((frames + 1) / 2 - mean) / std
        found = self.network.to(frames.device).forward_intermediates(
            shown, indices=list(self.STAGES), intermediates_only=True
        )
        return [F.normalize(stage.float(), dim=1) for stage in found]

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """Two sets of frames n 3 h w in [-1, 1], pair by pair; a scalar, with a gradient to `made` alone."""
        with torch.no_grad():
            targets = self._stages(real)
        pairs = zip(self._stages(made), targets, strict=True)
        return torch.stack([(one - other).square().sum(dim=1).mean() for one, other in pairs]).sum()
