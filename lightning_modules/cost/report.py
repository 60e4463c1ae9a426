"""The cost model's answer for one config: every rollout's FLOPs, memory and seconds, and those of a training step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning_modules.cost.codec import codec_size
from lightning_modules.cost.flops import step_flops
from lightning_modules.cost.memory import ADAM_BYTES, FULL, training_bytes
from lightning_modules.cost.rollouts import plan, sampling_cost
from lightning_modules.cost.sizes import NetworkSize, VideoSize, network_size
from lightning_modules.take import check_lengths

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB, TERA = 2**30, 1e12
BACKWARD = 3
"""Forward and backward over forward: the gradient of a product is two products."""


class Settings(NamedTuple):
    """What is made, and on what; sides in pixels. See conf/evaluate.yaml."""

    num_frames: int
    height: int
    width: int
    text_tokens: int
    num_inference_steps: int
    guidance_passes: int
    dtype: str
    peak_tflops: float | None
    efficiency: float
    measured_tflops: float | None


class Speed(NamedTuple):
    """tflops: reached, None where nothing is known; mfu: its share of the peak; source: where it comes from."""

    tflops: float | None
    mfu: float | None
    source: str


def speed_of(settings: Settings) -> Speed:
    """Measured FLOP/s where they are given, else the peak's assumed share."""
    peak, measured = settings.peak_tflops, settings.measured_tflops
    if measured is not None:
        return Speed(measured, None if peak is None else measured / peak, f"measured: {measured:g} TFLOP/s")
    if peak is None:
        return Speed(None, None, "unknown: give peak_tflops=…, or measured_tflops=… of a run")
    share = f"assumed: {settings.efficiency:.0%} of {peak:g} TFLOP/s"
    return Speed(peak * settings.efficiency, settings.efficiency, share)


def check(settings: Settings) -> None:
    """Settings must be possible.

    Raises:
        ValueError: naming the one that is not.
    """
    if settings.dtype not in BYTES:
        raise ValueError(f"dtype={settings.dtype} is unknown: use {', '.join(BYTES)}")
    for name in ("num_inference_steps", "guidance_passes"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}={getattr(settings, name)} must be at least 1")
    if settings.text_tokens < 0:
        raise ValueError(f"text_tokens={settings.text_tokens} must be at least 0")
    if not 0 < settings.efficiency <= 1:
        raise ValueError(f"efficiency={settings.efficiency} must lie above 0 and be at most 1: a share of peak_tflops")
    for name in ("peak_tflops", "measured_tflops"):
        value = getattr(settings, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value} must be above 0, in 10¹² FLOP a second")


def predict(
    settings: Settings,
    *,
    network: Mapping[str, Any],
    codec: Mapping[str, Any],
    rollouts: Mapping[str, Mapping[str, Any]],
    parameters: int,
) -> dict[str, Any]:
    """Everything for the table and for cost.json.

    network, codec, rollouts: resolved configs; parameters: of the network. FLOPs are of one video; bytes are of
    tensors, the codec's aside.

    Raises:
        ValueError: for a network, codec or rollout whose cost is not known, and sizes that do not fit the codec.
    """
    check(settings)
    size, decoder = network_size(network), codec_size(codec)
    check_lengths(settings.num_frames, settings.height, settings.width, decoder)
    video = VideoSize(
        num_latents=(settings.num_frames - 1) // decoder.time_factor + 1,
        height=settings.height // decoder.space_factor,
        width=settings.width // decoder.space_factor,
        text_tokens=settings.text_tokens,
    )
    decode = None if decoder.decode_flops is None else decoder.decode_flops * _places(video)
    speed = speed_of(settings)
    return {
        "settings": settings._asdict(),
        "latents": video.num_latents,
        "tokens": video.num_latents * video.per_frame,
        "parameters": parameters,
        "weight_bytes": parameters * BYTES[settings.dtype],
        "decode_flops": decode,
        "speed": speed._asdict(),
        "rollouts": [
            {"rollout": name, **_rollout(settings, size, rollout, video, decode or 0, parameters, speed)}
            for name, rollout in rollouts.items()
            if size.remembers or "segment_frames" not in rollout
        ],
        "training": _training(settings, size, video, parameters),
    }


def _places(video: VideoSize) -> int:
    return video.num_latents * video.height * video.width


def _rollout(
    settings: Settings,
    network: NetworkSize,
    rollout: Mapping[str, Any],
    video: VideoSize,
    decode: int,
    parameters: int,
    speed: Speed,
) -> dict[str, Any]:
    element = BYTES[settings.dtype]
    calls = settings.num_inference_steps * settings.guidance_passes
    cost = sampling_cost(plan(network, rollout, video.num_latents), video, calls_per_canvas=calls, element=element)
    total = cost.network + decode
    return {
        "step_flops": cost.step,
        "network_calls": cost.calls,
        "memory_flops": cost.memory,
        "video_flops": total,
        "activation_bytes": cost.activations,
        "peak_bytes": cost.activations + parameters * element,
        "seconds": None if speed.tflops is None else total / (speed.tflops * TERA),
    }


def _training(settings: Settings, network: NetworkSize, video: VideoSize, parameters: int) -> dict[str, Any]:
    """One clip of this length, the network on the whole canvas, Adam; below float32 in mixed precision."""
    element = BYTES[settings.dtype]
    keys = 1 if network.remembers else 0
    state = parameters * (ADAM_BYTES + (element if element < FULL else 0))
    activations = training_bytes(network, video.num_latents, video, element)
    return {
        "step_flops": BACKWARD * step_flops(network, video.num_latents, video, memory=keys, training=True),
        "activation_bytes": activations,
        "peak_bytes": activations + state,
    }


def table_of(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads, rows and notes of the table on the terminal."""
    heads = ["", "TFLOP a step", "calls", "TFLOP a video", "live GiB", "peak GiB", "seconds"]
    rows = [
        [
            row["rollout"],
            f"{row['step_flops'] / TERA:.4g}",
            f"{row['network_calls']:,}",
            f"{row['video_flops'] / TERA:.4g}",
            f"{row['activation_bytes'] / GIB:.3g}",
            f"{row['peak_bytes'] / GIB:.3g}",
            "–" if row["seconds"] is None else f"{row['seconds']:.4g}",
        ]
        for row in record["rollouts"]
    ]
    training, decode = record["training"], record["decode_flops"]
    rows.append(
        ["training", f"{training['step_flops'] / TERA:.4g}", "", ""]
        + [f"{training[key] / GIB:.3g}" for key in ("activation_bytes", "peak_bytes")]
        + [""]
    )
    mfu = record["speed"]["mfu"]
    decoding = "not counted" if decode is None else f"{decode / TERA:.3g} TFLOP, in each video"
    notes = [
        f"{record['parameters']:,} parameters in {record['settings']['dtype']}; {record['tokens']:,} tokens in "
        f"{record['latents']} latent frames; decoding: {decoding}",
        f"speed {record['speed']['source']}" + ("" if mfu is None else f"; MFU {mfu:.0%}"),
        "live: tensors at the fullest moment of a call; peak: with the weights, in training with gradients and Adam;"
        " libraries, codec and text encoder come on top; training: one clip of this length, the network as it trains",
    ]
    return heads, rows, notes
