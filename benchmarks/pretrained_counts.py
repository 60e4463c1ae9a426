"""What a pretrained family costs at its real size, part by part: full attention, VIN, LoViC, and the training of VIN.

Of benchmarks/pretrained_cost.py and pretrained_recipes.py. FLOPs and bytes are of tensors on the device meta.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from benchmarks.pretrained_families import (
    FAMILIES,
    TEXT_TOKENS,
    Counts,
    Depths,
    Family,
    build,
    real_depths,
    sized,
    vin_of,
)
from longtake.cost.counting import Counting
from longtake.cost.sampling import FULL, CanvasCounter, VideoSize
from longtake.cost.training import training_cost
from longtake.rollouts.interfaces import Canvas
from networks.pretrained.quantized import weight_bytes

STEPS = 50
DTYPE = torch.bfloat16
BASES = ("bfloat16", "int8", "nf4")
"""In which a frozen base is kept."""
SEGMENT, BESIDE, RATIO, REMEMBERED = 20, 4, 8.0, 5
"""Of LoViC: latents of a segment and of clean ones beside it, tokens a context token, segments remembered at most."""
LOVIC = (
    "network=lovic",
    "compressor=flexformer",
    "compressor.width=1024",
    "compressor.num_heads=16",
    f"rollouts.segmentwise.segment_frames={SEGMENT}",
    f"rollouts.segmentwise.window_frames={BESIDE}",
    f"rollouts.segmentwise.max_context={REMEMBERED}",
    f"rollouts.segmentwise.compression_ratio={RATIO}",
)


def _evaluated(network: Any) -> Any:
    return network.to(DTYPE).eval().requires_grad_(False)


def _parameters(network: nn.Module) -> int:
    return sum(x.numel() for x in network.parameters())


def step_of(network: Any, video: VideoSize, frames: int) -> Counts:
    """FLOPs of a step on a canvas of so many latents, and bytes of its activations; the network is evaluated."""
    counter = CanvasCounter(_evaluated(network), DTYPE)
    counter(video.noise(frames), video.condition(frames, DTYPE), None)
    return {"flops": counter.canvases[0].step.flops, "bytes": counter.canvases[0].step.bytes}


def full_counts(family: Family, video: VideoSize, lengths: list[int]) -> Counts:
    """Parameters of the transformer with adapters, and of each length FLOPs of a step and bytes of its activations."""

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, "network=dit")
        made: Counts = {"parameters": _parameters(network)}
        for frames in lengths:
            made |= {f"{name}_{frames}": value for name, value in step_of(network, video, frames).items()}
        return made

    return Depths.of(real_depths(family)).whole(count)


def vin_counts(family: Family, video: VideoSize, chunk: int, overlap: int, lengths: list[int]) -> Counts:
    """Of VIN: parameters, FLOPs of the opening window, of each further one, and of reads.

    Windows cost alike, so that the first is counted, and one more.
    """

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, *vin_of(chunk, overlap))
        made: Counts = {"parameters": _parameters(network)}
        one, two = (step_of(network, video, frames) for frames in (chunk, 2 * chunk))
        reads = {frames: _read(network, video, frames) for frames in {chunk, 2 * chunk, *lengths}}
        made["opening"] = one["flops"] - reads[chunk]["flops"]
        made["window"] = two["flops"] - reads[2 * chunk]["flops"] - made["opening"]
        made["window_bytes"] = two["bytes"]
        for frames in lengths:
            made |= {f"read_{name}_{frames}": value for name, value in reads[frames].items()}
        return made

    return Depths.of(real_depths(family)).whole(count)


def _read(network: Any, video: VideoSize, frames: int) -> Counts:
    noisy, condition = video.noise(frames), video.condition(frames, DTYPE)
    time = torch.empty(1, 1, device="meta")
    known = [*network.parameters(), *network.buffers(), noisy, time, condition.frame_index, condition.text]
    with torch.no_grad(), Counting(known) as counting:
        network.read(noisy, time, condition)
    return {"flops": counting.cost.flops, "bytes": counting.cost.bytes}


def lovic_counts(family: Family, video: VideoSize, lengths: list[int]) -> Counts:
    """Of LoViC: of each length FLOPs of all steps, of all memories, and bytes at the fullest moment of a canvas."""

    def count(depths: dict[str, int]) -> Counts:
        network, cfg = build(family, depths, *LOVIC)
        made: Counts = {"parameters": _parameters(network)}
        counter = CanvasCounter(_evaluated(network), DTYPE)
        rollout = instantiate(cfg.rollouts.segmentwise)
        for frames in lengths:
            counter.canvases.clear()
            rollout(counter, Canvas(video.noise(frames), video.condition(frames, DTYPE)))
            canvases = counter.canvases
            made[f"steps_{frames}"] = sum(canvas.step.flops for canvas in canvases)
            made[f"memories_{frames}"] = sum(canvas.memory.flops for canvas in canvases)
            made[f"step_{frames}"] = max(canvas.step.flops for canvas in canvases)
            made[f"bytes_{frames}"] = max(
                max(canvas.step.bytes + canvas.kept_bytes, canvas.memory.bytes) for canvas in canvases
            )
        return made

    return Depths.of(real_depths(family)).whole(count)


def _canvases(video: VideoSize, latents: int) -> float:
    """Bytes of what a sampler holds of the whole video."""
    return 5 * FULL * video.channels * latents * video.height * video.width


def sampling_rows(name: str, size: str, method: str, lengths: list[int]) -> list[dict[str, Any]]:
    """FLOPs of a step and of a video, and bytes at the fullest moment, of one method at each length.

    method: "full", "lovic", or "vin CHUNK+OVERLAP".
    """
    family, video = FAMILIES[name], sized(name, size)
    calls, rows = STEPS * family.passes, []
    kind, _, chunks = method.partition(" ")
    if kind == "full":
        found = full_counts(family, video, lengths)
        for latents in lengths:
            flops = found[f"flops_{latents}"]
            rows.append({"step": flops, "video": calls * flops, "peak": found[f"bytes_{latents}"]})
    elif kind == "vin":
        chunk, overlap = map(int, chunks.split("+"))
        lengths = [latents for latents in lengths if latents >= chunk]  # below is one window, which is full attention
        found = vin_counts(family, video, chunk, overlap, lengths)
        for latents in lengths:
            flops = found[f"read_flops_{latents}"] + found["opening"] + (-(-latents // chunk) - 1) * found["window"]
            held = max(found["window_bytes"], found[f"read_bytes_{latents}"])
            rows.append({"step": flops, "video": calls * flops, "peak": held})
    else:
        found = lovic_counts(family, video, lengths)
        for latents in lengths:
            flops = found[f"memories_{latents}"] + calls * found[f"steps_{latents}"]
            rows.append({"step": found[f"step_{latents}"], "video": flops, "peak": found[f"bytes_{latents}"]})
    weights = DTYPE.itemsize * found["parameters"]
    for latents, row in zip(lengths, rows, strict=True):
        row["peak"] += weights + _canvases(video, latents)
    return [
        {
            "latents": latents,
            "frames": (latents - 1) * family.factors[0] + 1,
            "method": method,
            **row,
        }
        for latents, row in zip(lengths, rows, strict=True)
    ]


def training_of(name: str, size: str, chunk: int, overlap: int, chunks: int) -> dict[str, Any]:
    """Of the training of VIN on clips of so many chunks: weights, and bytes of the frozen base and of activations."""
    family, settings = FAMILIES[name], vin_of(chunk, overlap)

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, *settings)
        learning = sum(x.numel() for x in network.parameters() if x.requires_grad)
        made: Counts = {"parameters": _parameters(network), "learning": learning}
        return made | stored_counts(lambda dtype: build(family, depths, *settings, f"backbone.dtype={dtype}")[0])

    found = Depths.of(real_depths(family)).whole(count)
    found |= activation_counts(family, sized(name, size, chunks * chunk), chunk, overlap)
    return {
        "chunk": chunk,
        "overlap": overlap,
        "latents": chunks * chunk,
        "parameters": found["parameters"],
        "learning": found["learning"],
        "activations": found["activations"],
        "activations_by_window": found["activations_by_window"],
        "bases": {dtype: found[dtype] for dtype in BASES},
    }


def stored_counts(made: Callable[[str], nn.Module]) -> Counts:
    """Bytes of a frozen base by its dtype, which are sums over blocks.

    made: a network on meta by the dtype of its base.
    """
    networks: Mapping[str, nn.Module] = {dtype: made(dtype) for dtype in BASES}
    return {dtype: float(weight_bytes(x) - weight_bytes(x, learnt=True)) for dtype, x in networks.items()}


def activation_counts(family: Family, clip: VideoSize, chunk: int, overlap: int) -> Counts:
    """Bytes of activations of a step on a clip, with blocks computed again in the backward pass.

    Counted with one block of each kind; of every other one its input is kept, in the type in which tokens flow. By
    window, activations of one window at a time are held, and computed again.
    """
    real, chunks = real_depths(family), clip.num_latents // chunk
    network, _ = build(family, dict.fromkeys(real, 1), *vin_of(chunk, overlap))
    frames = (chunks * chunk + (chunks - 1) * overlap) // network.backbone.frame_patch
    tokens = frames * clip.per_frame(network.patch) + chunks * (len(network.interface.tokens) + TEXT_TOKENS)
    blocks = sum(count - 1 for count in real.values())
    window = (chunk + overlap) // network.backbone.frame_patch * clip.per_frame(network.patch)
    window += len(network.interface.tokens) + TEXT_TOKENS
    made: Counts = {}
    for name, most, inputs in (("activations", 0, tokens), ("activations_by_window", 1, window)):
        network.train_windows_per_call = most
        kept = blocks * inputs * network.width * DTYPE.itemsize
        made[name] = training_cost(network, clip, DTYPE).bytes + kept
    return made
