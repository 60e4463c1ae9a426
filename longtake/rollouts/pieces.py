"""Where the pieces of a long video meet: what manifests name, and metrics of seams look at. In latent frames."""

from collections.abc import Mapping
from typing import Any


def piece_starts(rollout: Mapping[str, Any], num_latents: int, chunk_frames: int | None) -> list[int]:
    """The latent frames at which a new chunk, window or segment begins, all but the first.

    rollout: a resolved config of conf/rollout; chunk_frames: of the network that it calls, None where that sees all
    frames at once. Windows that overlap and are merged meet at the first frame that the window before does not cover.
    Attention in windows of its own has no such frame, since every frame has its windows around it: there, the places
    at which windows follow each other, which is where FreeNoise repeats its noise. Source: our choice.
    """
    if "segment_frames" in rollout:
        return list(range(rollout["segment_frames"], num_latents, rollout["segment_frames"]))
    if "overlap_frames" in rollout:
        size = rollout["window_frames"]
        return [start + size for start in window_starts(size, rollout["overlap_frames"], num_latents)[:-1]]
    if "context_frames" in rollout:
        new_frames = rollout["window_frames"] - rollout["context_frames"] - rollout.get("anchor_frames", 0)
        return list(range(rollout["window_frames"], num_latents, new_frames))
    size = rollout.get("window_frames", chunk_frames)
    return [] if size is None else list(range(size, num_latents, size))


def window_starts(window_frames: int, overlap_frames: int, num_latents: int) -> list[int]:
    """The first latent frame of each of `SlidingWindows`; the last window is flush with the end."""
    last = max(num_latents - window_frames, 0)
    return [*range(0, last, window_frames - overlap_frames), last]
