"""What each rollout asks of the network: canvases, one after another, and the memory that each is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from longtake.cost.flops import step_flops
from longtake.cost.memory import sampling_bytes
from longtake.cost.remembering import Segment, num_memory_keys, remember_flops
from longtake.cost.sizes import MixingSize, NetworkSize, SlidingSize, VideoSize

MEMORIES = 1
"""Memories held at once: guidance's passes with the prompt and without it share one."""

MIXED = {"FreeNoise": "free_noise", "SpectralBlending": "spectral_blending"}
"""Rollouts with a self-attention of their own."""


class Canvas(NamedTuple):
    """Latent frames that are denoised together; segments: those remembered meanwhile; given: some frames are clean."""

    frames: int
    segments: tuple[Segment, ...]
    given: bool = False


class Plan(NamedTuple):
    """The network that a rollout uses, or its backbone, and its canvases in order."""

    network: NetworkSize
    canvases: tuple[Canvas, ...]


class SamplingCost(NamedTuple):
    """Of one video. step: FLOPs of the largest step of a canvas; memory: of making what LoViC remembers.

    network: of all steps, memory included; calls: how many; activations: bytes at the fullest moment.
    """

    step: int
    memory: int
    network: int
    calls: int
    activations: int


def suits(network: NetworkSize, rollout: Mapping[str, Any]) -> bool:
    """Whether the rollout works with the network: segments need a memory, mixed self-attention has no place for one.

    And `full` needs a DiT that is a network by itself, which the hybrid's is not.
    """
    kind = _kind(rollout)
    if kind == "Whole" and rollout["network_part"] and network.remembers and network.interface is not None:
        return False
    return network.remembers if kind == "Segmentwise" else not (network.remembers and kind in MIXED)


def plan(network: NetworkSize, rollout: Mapping[str, Any], num_latents: int) -> Plan:
    """The canvases of a resolved config of conf/rollout.

    Raises:
        ValueError: for a rollout whose cost is not known, or one that does not suit the network.
    """
    kind, whole = _kind(rollout), (Canvas(num_latents, ()),)
    if not suits(network, rollout):
        if kind == "Segmentwise":
            raise ValueError("rollout=segmentwise goes with network=lovic or vin_lovic, which remember segments")
        if kind == "Whole":
            raise ValueError("rollout=full runs the DiT alone, which in the hybrid lies within the window: use whole")
        raise ValueError(f"rollout={MIXED[kind]} goes with network=vin or dit, which attend to no memory")
    match kind:
        case "Whole":
            return Plan(network.backbone if rollout["network_part"] else network, whole)
        case "Autoregressive" | "Anchored":
            lengths = window_lengths(
                num_latents,
                rollout["window_frames"],
                rollout["context_frames"],
                anchor_frames=rollout.get("anchor_frames", 0),
            )
            windows = (Canvas(length, (), given=place > 0) for place, length in enumerate(lengths))
            return Plan(network.backbone, tuple(windows))
        case "GenLVideo":
            sliding = SlidingSize(rollout["window_frames"], rollout["overlap_frames"], rollout["windows_per_call"])
            return Plan(network.backbone._replace(sliding=sliding), whole)
        case "FreeNoise" | "SpectralBlending":
            mixing = MixingSize(rollout["window_frames"], rollout.get("stride_frames"))
            return Plan(network.backbone._replace(mixing=mixing), whole)
        case "Segmentwise":
            return Plan(network, tuple(_segments(rollout, num_latents)))
    raise ValueError(
        f"cost=true knows no rollout {kind}: use whole, full, autoregressive, anchored, free_noise, gen_l_video, "
        "spectral_blending or segmentwise"
    )


def _kind(rollout: Mapping[str, Any]) -> str:
    return str(rollout["_target_"]).rpartition(".")[2]


def window_lengths(num_latents: int, window_frames: int, context_frames: int, *, anchor_frames: int = 0) -> list[int]:
    """Latent frames of each window of rollout=autoregressive or anchored, clean context and anchor included."""
    lengths = [min(window_frames, num_latents)]
    done = lengths[0]
    while done < num_latents:
        start = done - context_frames
        end = min(start + window_frames - anchor_frames, num_latents)
        lengths.append(anchor_frames + end - start)
        done = end
    return lengths


def _segments(rollout: Mapping[str, Any], num_latents: int) -> list[Canvas]:
    size, canvases = rollout["segment_frames"], []
    for place, start in enumerate(range(0, num_latents, size)):
        ages = range(min(place, rollout["max_context"]))
        rates = [min(rollout["rate"] * rollout["rate_growth"] ** age, rollout["max_rate"]) for age in ages]
        frames = min(size, num_latents - start) + 2 * rollout["window_frames"]
        segments = tuple((size, float(rate)) for rate in rates)
        canvases.append(Canvas(frames, segments, given=place > 0 and rollout["window_frames"] > 0))
    return canvases


def sampling_cost(made: Plan, video: VideoSize, *, calls_per_canvas: int, element: int) -> SamplingCost:
    """Of one video; calls_per_canvas: inference steps times passes of guidance; element: bytes of a value."""
    network, steps, remembering, total, fullest = made.network, [], 0, 0, 0
    for canvas in made.canvases:
        keys = num_memory_keys(network, canvas.segments, video)
        steps.append(step_flops(network, canvas.frames, video, memory=keys, given=canvas.given))
        memory = MEMORIES * remember_flops(network, canvas.segments, video) if network.remembers else 0
        remembering += memory
        total += calls_per_canvas * steps[-1] + memory
        held = sampling_bytes(
            network, canvas.frames, video, memory=keys, memories=MEMORIES, element=element, given=canvas.given
        )
        fullest = max(fullest, held)
    return SamplingCost(max(steps), remembering, total, calls_per_canvas * len(steps), fullest)
