"""How much each slot of a window counts where windows overlap.

Axes: b batch, k windows, j frames of a window, f frames of the canvas.
"""

import torch
from torch import Tensor

from networks.chunks import Windows


def sampling_weights(windows: Windows, time: Tensor, *, fused_times: tuple[float, float] | None) -> Tensor:
    """The owner's prediction, or a cross-fade at times of fusion, decided by each video's time.

    A clean context frame does not count: the canvas's time is that of its noisiest frame.

    Args:
        windows: windows of one size.
        time: b f in [0, 1], or 1 1.
        fused_times: (lowest, highest] time of fusion, None for no fusion.

    Returns:
        Weights b k j, or 1 k j where videos share their time.
    """
    own = _own(windows, time)
    if fused_times is None:
        return own
    lowest, highest = fused_times
    canvas_time = time.amax(dim=1)
    fuse = (canvas_time > lowest) & (canvas_time <= highest)
    return torch.where(fuse[:, None, None], windows.fused, own)


def training_weights(windows: Windows, time: Tensor, *, next_owns: Tensor | None) -> Tensor:
    """The owner's prediction, or the following chunk's for videos whose overlaps are scored on that alone.

    Args:
        windows: windows of one size.
        time: b f in [0, 1], or 1 1.
        next_owns: b, True where the following chunk is scored; None for no video.

    Returns:
        Weights b k j.
    """
    own = _own(windows, time)
    if next_owns is None:
        return own
    follows = (windows.fused > 0) & ~windows.own
    yielded = windows.own & (windows.fused < 1)
    return torch.where(next_owns[:, None, None], torch.where(follows, 1.0, torch.where(yielded, 0.0, own)), own)


def _own(windows: Windows, time: Tensor) -> Tensor:
    return windows.own.float().expand(time.shape[0], -1, -1)
