"""Distance of pictures in the features of a frozen image model, as a loss. Axes: n frames, c h w."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.metrics.features import efficientnet_lite0


class FeatureDistance:
    """Squared error of features over their variance, averaged over channels and over the first stages of a network.

    The pixels that err least are the mean of all textures that would fit, a blur; features of edges and texture tell
    the two apart. No module, so that checkpoints do not hold the network.
    Source: after LPIPS (arXiv 1801.03924), whose learned weights the variances replace (unit vectors, as there, have
    steep gradients where a picture is flat); EfficientNet-Lite0 because a package ships it.
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
        return [stage.float() for stage in found]

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """Two sets of frames n 3 h w in [-1, 1], pair by pair: 0 for equal ones, about 1 for pictures that say nothing.

        The gradient reaches `made` alone.
        """
        with torch.no_grad():
            targets = self._stages(real)
        pairs = zip(self._stages(made), targets, strict=True)
        return torch.stack([_missed(one, other) for one, other in pairs]).mean()


def _missed(made: Tensor, real: Tensor) -> Tensor:
    """Error over variance, n c h w to a scalar; channels that are silent in these frames do not count for more."""
    places = (0, 2, 3)
    variance = real.var(dim=places)
    return ((made - real).square().mean(dim=places) / (variance + 0.1 * variance.mean())).mean()
