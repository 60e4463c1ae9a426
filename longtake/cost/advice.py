"""What to change where a training step does not fit into memory, with the figures of the cost model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from longtake.cost.counting import on_meta
from longtake.cost.sampling import ADAM_BYTES, VideoSize, training_cost
from networks.interfaces import Codec, VideoNetwork

_GIB = 2**30
_TEXT_TOKENS = 64
"""Of a caption, as texts are padded."""


def out_of_memory(cfg: Mapping[str, Any], module: nn.Module, codec: Codec, clips: int) -> str:
    """The two settings that lower a training step's memory most, and by how much.

    cfg: of the run; clips: that a device sees at once.
    """
    half, network = max(clips // 2, 1), module.get_submodule("network") if hasattr(module, "network") else module
    fewer = "shorter clips in datamodule.num_frames" if clips == 1 else f"clips_per_device={half}"
    data = cfg["datamodule"]
    stored = data["cut_frames"] or (max(data["num_frames"]) - 1) // codec.time_factor + 1
    side = codec.space_factor
    size = (codec.channels, data["height"] // side, data["width"] // side)
    video = VideoSize(stored, *size, _TEXT_TOKENS, int(cfg["text"]["features"]))
    dtype = torch.bfloat16 if "16" in str(cfg["trainer"]["precision"]) else torch.float32
    checkpointed = any(getattr(part, "checkpoint_activations", False) for part in network.modules())
    each = _bytes(network, video, dtype)
    if each is None:
        shared = "" if clips == 1 else f", which holds {half / clips:.0%} of the activations"
        return f"out of memory: use {fewer}{shared}, or a smaller network, or backbone.checkpoint_activations=true"
    state = ADAM_BYTES * sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    predicted = "" if clips == 1 else f" ({_gib(half * each)} of activations predicted, {_gib(clips * each)} now)"
    other = "a smaller backbone" if checkpointed else "backbone.checkpoint_activations=true"
    if not checkpointed and (less := _bytes(network, video, dtype, checkpointed=True)) is not None:
        other += f" ({_gib(clips * less)})"
    return (
        f"out of memory: use {fewer}{predicted}, or {other}; weights, gradients and optimizer need {_gib(state)} "
        "beside them, and global_batch_size stays as it is"
    )


def _bytes(network: nn.Module, video: VideoSize, dtype: torch.dtype, *, checkpointed: bool = False) -> int | None:
    """Activations of one clip, where they can be counted: rows of segments are another thing."""
    if not isinstance(network, VideoNetwork) or network.takes_segments:
        return None  # of a codec or a compressor, or of rows of segments
    copied = on_meta(network)
    for part in copied.modules() if checkpointed else ():
        if hasattr(part, "checkpoint_activations"):
            setattr(part, "checkpoint_activations", True)  # noqa: B010
    return training_cost(copied, video, dtype).bytes


def _gib(size: int) -> str:
    return f"{size / _GIB:.3g} GiB"
