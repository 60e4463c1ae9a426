"""NaN and infinity are refused before a video is written from them or weights are released."""

from collections.abc import Mapping

import torch
from torch import Tensor

NOT_FINITE = (
    "lower the guidance (guidance_scale=1), or use other weights: these may be of a training whose loss stopped being "
    "a number"
)
"""What to do about latents that are none."""


class NotFinite(ValueError):
    """Tensors that hold NaN or infinity."""


def check_finite(tensors: Mapping[str, Tensor] | Tensor, name: str, advice: str) -> None:
    """Refuses tensors that hold NaN or infinity.

    Args:
        tensors: one, or several by name, of any type.
        name: what they are, such as "weights=runs/a".
        advice: what to do.

    Raises:
        NotFinite: naming the first tensor that does, and how many of its numbers are not finite.
    """
    named = {"": tensors} if isinstance(tensors, Tensor) else tensors
    for key, tensor in named.items():
        if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
            continue
        count = int((~torch.isfinite(tensor.detach())).sum())
        if count == 0:
            continue
        what = f"{name}: {key}" if key else name
        raise NotFinite(f"{what} holds NaN or infinity in {count} of {tensor.numel()} numbers: {advice}")
