"""Dense optical flow between two frames. Axes: c h w; flows are h w 2, across and down, in pixels."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from longtake.metrics.per_video import floats
from networks.ranges import Text

Flow = npt.NDArray[np.float32]


class OpticalFlow(Protocol):
    """What a metric asks of a flow."""

    name: str
    min_side: int  # pixels; smaller pictures tell it too little

    def __call__(self, before: Tensor, after: Tensor) -> Flow:
        """Where each pixel of `before` is in `after`, relative to where it was: frames 3 h w in [-1, 1] to h w 2."""
        ...


class DisFlow:
    """OpenCV's dense inverse search, which needs no weights."""

    name = "DIS (OpenCV, medium)"
    min_side = 32  # below, there are too few of its 8 × 8 patches to say anything

    def __call__(self, before: Tensor, after: Tensor) -> Flow:
        """Flow of one pair, on its grey levels."""
        import cv2

        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        greys = [cv2.cvtColor(pixels(frame), cv2.COLOR_RGB2GRAY) for frame in (before, after)]
        found: Flow = flow.calc(*greys, None)  # type: ignore[call-overload]
        return found


class RaftFlow(nn.Module):
    """A RAFT network of torchvision."""

    min_side = 32

    def __init__(self, *, model: nn.Module, name: str) -> None:
        """Take a network of frames n 3 h w in [-1, 1]; `optical_flow` loads one by name."""
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.name = name

    @torch.no_grad()
    def forward(self, before: Tensor, after: Tensor) -> Flow:
        """Flow of one pair; the network sees it enlarged to 128 pixels at least, and to a multiple of 8."""
        height, width = before.shape[-2:]
        scale = max(1.0, 128 / min(height, width))
        size = tuple(8 * round(scale * side / 8 + 0.49) for side in (height, width))
        pair = functional.interpolate(torch.stack([before, after]).float(), size=size, mode="bilinear")
        found = self.model.eval()(pair[:1], pair[1:])[-1]
        found = functional.interpolate(found, size=(height, width), mode="bilinear")[0]
        factors = found.new_tensor([width / size[1], height / size[0]])
        return rearrange(found * rearrange(factors, "two -> two 1 1"), "two h w -> h w two").cpu().numpy()


DIS = DisFlow()


def optical_flow(*, name: Text) -> OpticalFlow:
    """Build a flow by name: dis, or raft_large and raft_small of torchvision, whose weights are downloaded once.

    Args:
        name: dis, raft_large or raft_small.

    Returns:
        The flow between two frames, as a network.

    Raises:
        ValueError: there is no such flow, or its weights are neither on this machine nor to be had.
    """
    from torchvision.models import optical_flow as raft

    if name == "dis":
        return DIS
    if name not in ("raft_large", "raft_small"):
        raise ValueError(f"flow.name={name}: take dis, raft_large or raft_small")
    try:
        model = getattr(raft, name)(weights="DEFAULT", progress=False)
    except OSError as error:  # urllib's errors are among these
        raise ValueError(
            f"flow.name={name}: its weights are not on this machine, and fetching them failed ({error}); "
            "flow.name=dis needs none"
        ) from error
    return RaftFlow(model=model, name=f"{name} (torchvision)")


def flow_norms(video: Tensor, flow: OpticalFlow = DIS) -> Iterator[Flow]:
    """Length of the optical flow, h w in pixels, for each pair of neighbouring frames of c f h w in [-1, 1]."""
    for before, after in pairs(video):
        yield np.linalg.norm(flow(before, after), axis=2).astype(np.float32)


def pairs(video: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Neighbouring frames c h w in [-1, 1] of c f h w."""
    yield from zip(map(floats, video[:, :-1].unbind(1)), map(floats, video[:, 1:].unbind(1)), strict=True)


def pixels(frame: Tensor) -> npt.NDArray[Any]:
    """A frame 3 h w, in [-1, 1] or uint8, as h w 3 in whole grey levels of 0 to 255."""
    levels = frame if frame.dtype == torch.uint8 else ((frame.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return rearrange(levels, "c h w -> h w c").contiguous().cpu().numpy()
