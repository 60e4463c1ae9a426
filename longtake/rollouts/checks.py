"""What a rollout asks of weights and sizes, refused in one sentence before anything is sampled."""

import logging
from collections.abc import Mapping
from typing import Any

from networks.interfaces import VideoNetwork

log = logging.getLogger("longtake")


def rollout_name(rollout: Mapping[str, Any]) -> str:
    """As `rollout=` names it: its file's name, but for `full`, which is `whole` of the backbone."""
    name = str(rollout["_target_"]).split(".")[-2]
    return "full" if name == "whole" and rollout.get("network_part") else name


def check_backbone(network_part: str, fusion: str | None, network: VideoNetwork, rollout: Mapping[str, Any]) -> None:
    """A rollout that runs the backbone alone fuses no chunks, and over a whole video needs a network that has one.

    The hybrid's DiT lies within its window: rollouts of windows run that window, but `full` would be `whole`.

    network_part: what the rollout asks for; fusion: of the call, None where it says nothing.

    Raises:
        ValueError: if it would be the same as another rollout, or fusion could not act.
    """
    if not network_part:
        return
    name = rollout_name(rollout)
    if name == "full" and network.has_memory and network.chunk_frames is not None:
        raise ValueError(
            "rollout=full runs the DiT alone, which in the hybrid lies within the window: use rollout=whole, or "
            "weights of network=vin or lovic"
        )
    if fusion not in (None, "none") and network.over_windows is not network:
        raise ValueError(f"network.fusion={fusion} joins VIN's chunks, and rollout={name} makes none: leave one out")


def check_memory(
    rollout: Mapping[str, Any], trained: Mapping[str, Any] | None, network: VideoNetwork, weights: str
) -> None:
    """A rollout that remembers segments needs a network that can, and segments no longer than those of its training.

    VIN inside the window sees chunks of its training's length whatever the segment's, so that a longer segment is
    new to the compressor alone: that is said, and not refused. Source: our choice.
    trained: the rollout that the weights were trained for, None where they name none; weights: what errors call them.

    Raises:
        ValueError: if it does not.
    """
    if "max_context" not in rollout:
        return
    if not network.has_memory:
        raise ValueError(
            f"rollout={rollout_name(rollout)} needs weights with a memory, of network=lovic or vin_lovic, "
            f"but weights={weights} have none: leave rollout out, or use rollout=autoregressive"
        )
    frames, most = rollout["segment_frames"], (trained or {}).get("segment_frames")
    if most is None or frames <= most:
        return
    longer = f"rollout.segment_frames={frames}: weights={weights} were trained with segments of {most} latent frames"
    if network.chunk_frames is None:
        raise ValueError(f"{longer}, and their attention has seen no longer ones: use at most {most}")
    log.warning(f"{longer}, and their compressor has not seen longer ones")


def check_rates(rollout: Mapping[str, Any], num_latents: int, tokens_per_latent: int) -> None:
    """The coarsest rate at which anything will be remembered must leave a token of it.

    Raises:
        ValueError: if it does not.
    """
    if "max_context" not in rollout:
        return
    rate, frames = rollout["rate"], rollout["segment_frames"]
    ages = min((num_latents - 1) // frames, rollout["max_context"])  # segments remembered at once
    tokens = frames * tokens_per_latent  # the last segment, which may be shorter, is remembered by none
    coarsest = min(rate * rollout["rate_growth"] ** (ages - 1), rollout["max_rate"]) if ages else 1.0
    if coarsest > tokens:
        grown = "" if coarsest == rate else f", grown to {coarsest:g} by rollout.rate_growth,"
        raise ValueError(
            f"rollout.rate={rate:g}{grown} leaves no token of a segment of {tokens} video tokens: use at most {tokens}"
        )
