"""What to change where a training step does not fit into memory, with the figures of the cost model."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from longtake.cost.memory import ADAM_BYTES, training_bytes
from longtake.cost.sizes import NetworkSize, VideoSize, network_size
from networks.interfaces import Codec

_GIB = 2**30
_TEXT_TOKENS = 64
"""Of a caption, as texts are padded."""


def out_of_memory(cfg: Mapping[str, Any], module: nn.Module, codec: Codec, clips: int) -> str:
    """The two settings that lower a training step's memory most, and by how much.

    cfg: of the run; clips: that a device sees at once.
    """
    half = max(clips // 2, 1)
    fewer = "shorter clips in datamodule.num_frames" if clips == 1 else f"clips_per_device={half}"
    known = _predictable(cfg)
    if known is None:
        shared = "" if clips == 1 else f", which holds {half / clips:.0%} of the activations"
        return f"out of memory: use {fewer}{shared}, or a smaller network, or backbone.checkpoint_activations=true"
    size, data = known, cfg["datamodule"]
    longest = max(data["num_frames"])
    stored = data["cut_frames"] or (longest - 1) // codec.time_factor + 1
    side = codec.space_factor
    video = VideoSize(stored, data["height"] // side, data["width"] // side, _TEXT_TOKENS)
    element = 2 if "16" in str(cfg["trainer"]["precision"]) else 4
    spared = size._replace(dit=size.dit._replace(checkpointed=True))
    each, less = (training_bytes(one, stored, video, element) for one in (size, spared))
    state = ADAM_BYTES * sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    predicted = "" if clips == 1 else f" ({_gib(half * each)} of activations predicted, {_gib(clips * each)} now)"
    other = "a smaller backbone" if size.dit.checkpointed else "backbone.checkpoint_activations=true"
    other += "" if size.dit.checkpointed else f" ({_gib(clips * less)})"
    return (
        f"out of memory: use {fewer}{predicted}, or {other}; weights, gradients and optimizer need {_gib(state)} "
        "beside them, and global_batch_size stays as it is"
    )


def _predictable(cfg: Mapping[str, Any]) -> NetworkSize | None:
    """The network's size, where the cost of training it is known: rows of segments and wrapped models are not."""
    if not str(cfg["lightning_module"]["_target_"]).endswith(".DenoisingModule"):
        return None
    try:
        return network_size(cfg["network"])
    except (ValueError, KeyError):
        return None


def _gib(size: int) -> str:
    return f"{size / _GIB:.3g} GiB"
