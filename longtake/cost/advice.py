"""What to change where a training step does not fit into memory, with the figures of the cost model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from longtake.cost.counting import on_meta
from longtake.cost.sampling import ADAM_BYTES, VideoSize
from longtake.cost.training import RowSize, compression_cost, row_cost, training_cost
from networks.flexformer import ContextCompressor
from networks.interfaces import Codec, VideoNetwork

_GIB = 2**30
_TEXT_TOKENS = 64
"""Of a caption, as texts are padded."""
_WORTH_SAYING = 0.9
"""A setting that leaves more than this share of the activations is no remedy."""


class _Row(NamedTuple):
    """What a network on meta has to hold for one row of a batch.

    now: bytes of its activations; shorter: the setting that makes a row smaller, "" where it is as small as it can be;
    then: bytes with that.
    """

    now: Callable[[nn.Module], int]
    shorter: str
    then: Callable[[nn.Module], int]


def out_of_memory(cfg: Mapping[str, Any], module: nn.Module, codec: Codec, clips: int) -> str:
    """The two settings that lower a training step's memory most, and by how much.

    cfg: config of the run; clips: number of clips that a device sees at once.
    """
    half, network = max(clips // 2, 1), module.get_submodule("network") if hasattr(module, "network") else module
    row = _row_of(cfg, network, codec)
    if row is None:
        fewer = "shorter clips in datamodule.num_frames" if clips == 1 else f"clips_per_device={half}"
        shared = "" if clips == 1 else f", which holds {half / clips:.0%} of the activations"
        return f"out of memory: use {fewer}{shared}, or a smaller network"
    copied = on_meta(network)
    now, found = row.now(copied), []
    if clips > 1:
        found.append((f"clips_per_device={half}", half * now))
    blocks = [part for part in copied.modules() if hasattr(part, "checkpoint_activations")]
    if blocks and not any(part.checkpoint_activations for part in blocks):
        for part in blocks:
            setattr(part, "checkpoint_activations", True)  # noqa: B010 - a Module's own type knows no such attribute
        if (then := row.now(copied)) < _WORTH_SAYING * now:
            found.append(("backbone.checkpoint_activations=true", clips * then))
    if row.shorter:
        found.append((row.shorter, clips * row.then(on_meta(network))))
    settings = [f"{setting} ({_gib(size)})" for setting, size in found[:2]]
    said = ", or ".join(settings if len(settings) == 2 else [*settings, "a smaller network"])
    state = ADAM_BYTES * sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return (
        f"out of memory: use {said}, where {_gib(clips * now)} of activations are predicted now; weights, gradients "
        f"and optimizer need {_gib(state)} beside them, and global_batch_size stays as it is"
    )


def _row_of(cfg: Mapping[str, Any], network: nn.Module, codec: Codec) -> _Row | None:
    """What the network learns from, or None for a codec, whose activations are not counted."""
    data, side = cfg["datamodule"], codec.space_factor
    size = (codec.channels, data["height"] // side, data["width"] // side, _TEXT_TOKENS, int(cfg["text"]["features"]))
    dtype = torch.bfloat16 if "16" in str(cfg["trainer"]["precision"]) else torch.float32
    if isinstance(network, ContextCompressor):
        return _segments(cfg, VideoSize(data["segment_frames"], *size), dtype)
    if not isinstance(network, VideoNetwork):
        return None
    if network.takes_segments:
        return _remembered(cfg, VideoSize(data["segment_frames"], *size), dtype)
    longest, factor = data["cut_frames"] or (max(data["num_frames"]) - 1) // codec.time_factor + 1, codec.time_factor
    half = (longest + 1) // 2
    shorter = f"num_frames=[{(half - 1) * factor + 1}]" if data["cut_frames"] is None else f"cut_frames={half}"

    def count(latents: int) -> Callable[[Any], int]:
        return lambda copied: training_cost(copied, VideoSize(latents, *size), dtype).bytes

    return _Row(count(longest), f"datamodule.{shorter}" if half < longest else "", count(half))


def _segments(cfg: Mapping[str, Any], segment: VideoSize, dtype: torch.dtype) -> _Row:
    """Of a compressor alone: the segments of a row are reconstructed."""
    own: Any = {"frames": segment.num_latents, "rate": cfg["lightning_module"]["rates"]["lowest"], "dtype": dtype}

    def count(segments: int) -> Callable[[Any], int]:
        return lambda copied: compression_cost(copied, segment, segments=segments, **own).bytes

    now = cfg["datamodule"]["segments_per_row"]
    half = max(now // 2, 1)
    return _Row(count(now), f"datamodule.segments_per_row={half}" if half < now else "", count(half))


def _remembered(cfg: Mapping[str, Any], segment: VideoSize, dtype: torch.dtype) -> _Row:
    """Of a network with memory: one segment of a row is denoised, and others are remembered."""
    own = cfg["lightning_module"]
    window, lowest, reconstructed = own["tasks"]["window_frames"], own["rates"]["lowest"], own["reconstruction_weight"]

    def count(segments: int) -> Callable[[Any], int]:
        row = RowSize(segments, segment.num_latents, window, lowest, int(reconstructed > 0))
        return lambda copied: row_cost(copied, segment, row, dtype).bytes

    now = own["tasks"]["max_context"]
    half = max(now // 2, 2)
    return _Row(count(now), f"lightning_module.tasks.max_context={half}" if half < now else "", count(half))


def _gib(size: int) -> str:
    return f"{size / _GIB:.3g} GiB"
