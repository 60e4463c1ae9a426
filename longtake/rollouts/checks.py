"""What a rollout asks of a network and of sizes, refused in one sentence before anything is sampled."""

import logging

from longtake.rollouts.rollout import Rollout
from networks.interfaces import VideoNetwork

log = logging.getLogger("longtake")


def unfit(rollout: Rollout, network: VideoNetwork, weights: str = "") -> str:
    """Why a rollout cannot run with a network, and what would; "" where it can.

    The hybrid's DiT lies within its window: rollouts of windows run that window, but one of the backbone over a whole
    video would be the same as the whole network.

    Args:
        rollout: how the video is made.
        network: built, if only on the device meta.
        weights: what the sentence calls those of the network, "" where there are none.

    Returns:
        A sentence, or "".
    """
    segments = network.takes_segments
    if rollout.memory is not None and not segments:
        have = f", but weights={weights} have none: leave rollout out, or use rollout=autoregressive" if weights else ""
        return f"rollout={rollout.name} needs weights with a memory, of network=lovic or vin_lovic{have}"
    if rollout.replaces_attention and segments:
        return (
            f"rollout={rollout.name} needs a network without memory, network=vin or dit: with this one use "
            "rollout=segmentwise"
        )
    if rollout.replaces_attention and network.joint_text:
        return (
            f"rollout={rollout.name} puts another attention in the place of the video's own, which is one with the "
            "text's in this backbone: use rollout=single_pass, full_attention or autoregressive"
        )
    hybrid = segments and network.chunk_frames is not None
    if hybrid and rollout.network_part and any(canvas.joins is None for canvas in rollout.plan(1)):
        return (
            f"rollout={rollout.name} runs the DiT alone, which in the hybrid lies within the window: use "
            "rollout=single_pass, or weights of network=vin or lovic"
        )
    return ""


def check_network(
    rollout: Rollout, network: VideoNetwork, *, weights: str, fusion: str | None, trained_segments: int | None
) -> None:
    """Refuses a rollout that a network cannot run, or whose settings could not act.

    VIN inside the window sees chunks of its training's length whatever the segment's, so that a longer segment is
    new to the compressor alone: that is said, and not refused. Source: our choice.

    Args:
        rollout: how the video is made.
        network: the network with its weights.
        weights: what errors call them.
        fusion: network.fusion of the call, None where it says nothing.
        trained_segments: latent frames of the longest segment that the weights were trained with; None: unknown.

    Raises:
        ValueError: naming what would do.
    """
    if reason := unfit(rollout, network, weights):
        raise ValueError(reason)
    if rollout.memory is not None and not network.has_memory:
        log.warning(f"weights={weights} have no compressor: a segment sees the frames beside it, and no memory")
    if fusion not in (None, "none") and rollout.network_part and network.over_windows is not network:
        raise ValueError(
            f"network.fusion={fusion} joins VIN's chunks, and rollout={rollout.name} makes none: leave one out"
        )
    frames = rollout.segment_frames
    if frames is None or trained_segments is None or frames <= trained_segments:
        return
    longer = (
        f"rollout.segment_frames={frames}: weights={weights} were trained with segments of {trained_segments} latent "
        "frames"
    )
    if network.chunk_frames is None:
        raise ValueError(f"{longer}, and their attention has seen no longer ones: use at most {trained_segments}")
    log.warning(f"{longer}, and their compressor has not seen longer ones")


def check_ratios(rollout: Rollout, num_latents: int, tokens_per_latent: int) -> None:
    """Refuses a compression ratio that would leave no token of a remembered segment, at the coarsest.

    Args:
        rollout: how the video is made.
        num_latents: latent frames of the video.
        tokens_per_latent: video tokens of a latent frame.

    Raises:
        ValueError: if it does not.
    """
    if rollout.memory is None:
        return
    for segment in (each for canvas in rollout.plan(num_latents) for each in canvas.remembered):
        ratio, tokens = segment.compression_ratio, segment.frames * tokens_per_latent
        if ratio > tokens:
            stated = rollout.memory.compression_ratio
            grown = "" if ratio == stated else f", grown to {ratio:g} by rollout.ratio_growth,"
            raise ValueError(
                f"rollout.compression_ratio={stated:g}{grown} leaves no token of a segment of {tokens} video tokens: "
                f"use at most {tokens}"
            )
