"""Everything that weights are sampled by, built from their checked config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from longtake.releases.bases import look_at_bases
from longtake.releases.building import build
from longtake.releases.reading import State, Trained, check_size, load_run, load_state


class SamplingParts(NamedTuple):
    """What weights are sampled by; module: in evaluation mode, with network, objective and sampler."""

    module: nn.Module
    codec: Any
    text_encoder: Any
    guidance: Any
    rollout: Any


def load_network(weights: str | Path) -> nn.Module:
    """The trained network alone, in evaluation mode and without gradients: a video network, or a compressor.

    Args:
        weights: a release folder, a run folder, a .ckpt, hub:USER/REPO/FOLDER, or the name of released weights.

    Returns:
        The network.

    Raises:
        ValueError: if they cannot be loaded, cannot be trusted, or hold a codec, which is no network.
    """
    network: nn.Module | None = getattr(load_run(weights)[1], "network", None)
    if network is None:
        raise ValueError(f"weights={weights} hold a codec: give those of a network")
    return network.eval().requires_grad_(False)


def refuse_no_videos(config: Mapping[str, Any], where: str) -> None:
    """Refuses weights of a codec or of a compressor alone.

    Args:
        config: config of the weights.
        where: the setting and the weights' name, for messages.

    Raises:
        ValueError: for these.
    """
    if config.get("network") is None or config.get("sampler") is None:
        kind = "a codec" if config.get("network") is None else "a compressor"
        raise ValueError(f"{where} hold {kind}, which makes no videos: give those of a network")


def sampling_parts(config: Mapping[str, Any], state: State, where: str) -> SamplingParts:
    """Builds network, codec, text encoder, sampler, guidance and rollout, and loads the weights.

    Args:
        config: config as `read_run` gives it, with changes; values that are no mappings count as parts that are built.
        state: tensors or folder, as `read_run` gives them.
        where: the setting and the weights' name, for messages.

    Returns:
        All parts, in host memory.

    Raises:
        ValueError: if the weights make no videos, or do not fit their config.
    """
    refuse_no_videos(config, where)
    for name in ("codec", "text", "guidance", "rollout"):
        if config.get(name) is None:
            raise ValueError(
                f"{where}: the config has no {name}, without which no video is made: take the weights anew"
            )
    check_size(config, state, where)
    look_at_bases(config)
    module = Trained(config)
    load_state(module, state)
    return SamplingParts(module.eval(), *(build(config[name]) for name in ("codec", "text", "guidance", "rollout")))
