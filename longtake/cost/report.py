"""The cost model's answer for one config: every rollout's FLOPs, memory and seconds, and those of a training step."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from longtake.cost.codec import CodecSize
from longtake.cost.counting import Cost, on_meta
from longtake.cost.devices import BYTES_8BIT, MOMENTS, DeviceMemory, Strategy, as_record, training_memory
from longtake.cost.guests import Guests
from longtake.cost.sampling import ADAM_BYTES, FULL, Counters, Payback, VideoSize
from longtake.cost.speed import TERA, UNKNOWN, Speed, given_speed, measure_speed
from longtake.cost.training import training_cost
from longtake.rollouts.checks import unfit
from longtake.rollouts.rollout import Rollout
from longtake.settings.kinds import Precision, TrainingOptimizer
from networks.codecs.rules import check_lengths
from networks.interfaces import VideoNetwork
from networks.pretrained.quantized import weight_bytes

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
GIB = 2**30


class Unit(NamedTuple):
    """A unit of the table, and how many FLOPs or bytes it is."""

    name: str
    size: float


FLOP_UNITS = (Unit("PFLOP", 1e15), Unit("TFLOP", TERA), Unit("GFLOP", 1e9), Unit("MFLOP", 1e6))
BYTE_UNITS = (Unit("GiB", GIB), Unit("MiB", 2**20))
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
    measure_speed: bool
    device: str
    training_devices: Sequence[int] = ()
    training_precisions: Sequence[Precision] = ()
    training_optimizer: TrainingOptimizer = "adamw"


def check(settings: Settings) -> None:
    """Refuses settings out of range.

    Args:
        settings: what is said of the video and the device.

    Raises:
        ValueError: naming the setting that is out of range.
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
    if min(settings.training_devices, default=1) < 1:
        raise ValueError(f"training_devices={list(settings.training_devices)} must be numbers of at least 1")
    for name in ("peak_tflops", "measured_tflops"):
        value = getattr(settings, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value} must be above 0, in 10¹² FLOP a second")


def predict(
    settings: Settings,
    *,
    network: VideoNetwork,
    codec: CodecSize,
    rollouts: Mapping[str, Rollout],
    text_features: int,
    text_bytes: int | None = None,
) -> dict[str, Any]:
    """Everything for the table and for cost.json.

    FLOPs are of one video; bytes are of tensors, the codec's and the text encoder's aside but for those of devices.

    Args:
        settings: what is said of the video and the device.
        network: on meta.
        codec: what is known of it.
        rollouts: rollouts by the names that the table gives them.
        text_features: features of a caption's token.
        text_bytes: bytes of the text encoder's weights; None where not known.

    Returns:
        What cost.json holds.

    Raises:
        ValueError: for sizes that do not fit the codec, or a device that is not there to be measured.
    """
    check(settings)
    check_lengths(settings.num_frames, settings.height, settings.width, codec, network.patch, network.frame_patch)
    video = VideoSize(
        num_latents=(settings.num_frames - 1) // codec.time_factor + 1,
        channels=codec.channels,
        height=settings.height // codec.space_factor,
        width=settings.width // codec.space_factor,
        text_tokens=settings.text_tokens,
        text_features=text_features,
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    places = video.num_latents * video.height * video.width
    decode = None if codec.decode_flops is None else codec.decode_flops * places
    speed = _speed(settings, network, video)
    suited = {name: rollout for name, rollout in rollouts.items() if not unfit(rollout, network)}
    computes = on_meta(network).to(DTYPES[settings.dtype]).requires_grad_(False)
    weights = weight_bytes(computes)
    counters = Counters(computes, DTYPES[settings.dtype])
    payback = counters.pays_from(video)
    training = training_cost(on_meta(network), video, DTYPES[settings.dtype])
    return {
        "settings": settings._asdict(),
        "latents": video.num_latents,
        "tokens": video.num_latents * video.per_frame(network.patch),
        "parameters": parameters,
        "weight_bytes": weights,
        "decode_flops": decode,
        "decode_bytes": codec.decode_bytes(video.num_latents, video.height * video.width),
        "codec_weight_bytes": codec.weight_bytes,
        "speed": speed._asdict(),
        "pays_from": None if payback is None else _payback(payback, codec.time_factor),
        "rollouts": [
            {"rollout": name, **_rollout(settings, counters, rollout, video, decode or 0, speed, weights)}
            for name, rollout in suited.items()
        ],
        "left_out": [name for name in rollouts if name not in suited],
        "training": _training(settings, network, training),
        "devices": as_record(devices_of(settings, network, video, guests_of(codec, video, text_bytes), training)),
    }


def _speed(settings: Settings, network: VideoNetwork, video: VideoSize) -> Speed:
    given = given_speed(
        peak_tflops=settings.peak_tflops, efficiency=settings.efficiency, measured_tflops=settings.measured_tflops
    )
    if given is not None or not settings.measure_speed:
        return given or UNKNOWN
    return measure_speed(network, video, dtype=DTYPES[settings.dtype], device=settings.device)


def _rollout(
    settings: Settings,
    counters: Counters,
    rollout: Rollout,
    video: VideoSize,
    decode: int,
    speed: Speed,
    weights: int,
) -> dict[str, Any]:
    calls = settings.num_inference_steps * settings.guidance_passes
    cost = counters.sampling_cost(rollout, video, calls_per_canvas=calls, texts_per_canvas=settings.guidance_passes)
    total = cost.network + decode
    return {
        "step_flops": cost.step,
        "network_calls": cost.calls,
        "memory_flops": cost.memory,
        "video_flops": total,
        "activation_bytes": cost.activations,
        "peak_bytes": cost.activations + weights,
        "seconds": None if speed.tflops is None else total / (speed.tflops * TERA),
        "mfu": speed.mfu,
    }


def guests_of(codec: CodecSize, video: VideoSize, text: int | None) -> Guests:
    """What visits each device between steps.

    Args:
        codec: what is known of it.
        video: size of the samples that are decoded between steps.
        text: bytes of the text encoder's weights; None where not known.

    Returns:
        Their bytes.
    """
    weights = codec.weight_bytes
    decoding = codec.decode_bytes(video.num_latents, video.height * video.width)
    return Guests(None if weights is None else weights + (decoding or 0), weights, text)


def devices_of(
    settings: Settings, network: VideoNetwork, video: VideoSize, guests: Guests, training: Cost
) -> list[tuple[str, DeviceMemory]]:
    """What each device of a training on clips of this length holds, by precision, strategy and number of devices.

    Args:
        settings: name the precisions and numbers.
        network: on meta.
        video: the clip.
        guests: codec and text encoder.
        training: what a step costs on the whole clip, in the settings' type as `training_cost` takes it.

    Returns:
        A name and the figures of each; without chunk-parallel ones where a device would have no window.
    """
    found: list[tuple[str, DeviceMemory]] = []
    alike: Precision = "32-true" if settings.dtype == "float32" else "bf16-mixed"
    counted: dict[tuple[Precision, int], int] = {(alike, 1): training.bytes}  # by precision and parts of the clip
    windows = network.num_windows(video.num_latents)
    for precision in settings.training_precisions:
        for devices in settings.training_devices:
            strategies: list[Strategy] = ["ddp", "fsdp2"] if devices > 1 else ["ddp"]
            strategies += ["chunks"] if 1 < devices <= windows else []
            for strategy in strategies:
                name = f"{precision}, {devices} x {strategy}" if devices > 1 else f"{precision}, one device"
                own: dict[str, Any] = {"precision": precision, "strategy": strategy, "devices": devices}
                own["optimizer"] = settings.training_optimizer
                kind = precision, devices if strategy == "chunks" else 1
                held = training_memory(network, video, **own, activations=counted.get(kind), guests=guests)
                counted[kind] = held.activations
                found.append((name, held))
    return found


def _payback(found: Payback, time_factor: int) -> dict[str, int]:
    return {
        "latents": found.num_latents,
        "num_frames": (found.num_latents - 1) * time_factor + 1,
        "step_flops": found.step,
        "full_step_flops": found.full_step,
    }


def _training(settings: Settings, network: VideoNetwork, cost: Cost) -> dict[str, Any]:
    """One clip of this length, the network on the whole canvas, Adam; below float32 in mixed precision."""
    element = BYTES[settings.dtype]
    weights = list(network.parameters())
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    moments = MOMENTS * FULL if settings.training_optimizer == "adamw" else BYTES_8BIT
    state = weight_bytes(network) - weight_bytes(network, learnt=True)
    state += round(learning * (ADAM_BYTES - MOMENTS * FULL + moments))
    state += sum(weight.numel() * element for weight in weights if element < weight.element_size())
    return {
        "step_flops": BACKWARD * cost.flops,
        "activation_bytes": cost.bytes,
        "peak_bytes": cost.bytes + state,
    }


def devices_table(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """What each device of a training holds, for the terminal.

    Args:
        record: as `predict` gives it.

    Returns:
        Heads of the columns, and a row for each precision, strategy and number of devices; none where none is asked.
    """
    parts = ["weights", "gradients", "optimizer", "average", "exchanged", "casts", "activations"]
    parts += ["codec", "text", "device", "host"]
    found = record["devices"]
    unit = _unit([each[part] for each in found for part in parts if each[part]], BYTE_UNITS)

    def figure(size: int | None) -> str:
        return "–" if size is None else _figure(size / unit.size)

    rows = [[each["training"], *(figure(each[part]) for part in parts)] for each in found]
    return [f"a training, {unit.name}", *parts], rows


def devices_notes(record: Mapping[str, Any]) -> list[str]:
    """What the table of devices does not say by itself.

    Args:
        record: as `predict` gives it.

    Returns:
        Lines; none where no device is asked for.
    """
    if not record["devices"]:
        return []
    lines = [
        "codec and text encoder are on a device between steps alone: the codec for samples and pictures, with what it "
        "decodes where that is known, the text encoder once, for captions of samples; before the training they fill "
        "the caches, without the network; device: the fullest moment; host: host memory of one process, with both"
    ]
    unknown = [
        name for name, key in (("codec", "codec"), ("text encoder", "text")) if record["devices"][0][key] is None
    ]
    if unknown:
        folders = " and ".join(f"{name.partition(' ')[0]}.pretrained" for name in unknown)
        lines.append(
            f"–: nothing is known of this {' and '.join(unknown)}, which comes on top: give a folder on this disk as "
            f"{folders}, whose files say how large it is"
        )
    return lines


def table_of(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """The predicted cost as a table for the terminal: the heads of its columns, its rows, and the notes below it."""
    rollouts, training = record["rollouts"], record["training"]
    lines = [*rollouts, training]
    step = _unit([line["step_flops"] for line in lines], FLOP_UNITS)
    video = _unit([row["video_flops"] for row in rollouts], FLOP_UNITS)
    memory = _unit([line["activation_bytes"] for line in lines], BYTE_UNITS)
    heads = ["", f"{step.name}\na step", "calls", f"{video.name}\na video"]
    heads += [f"live\n{memory.name}", f"peak\n{memory.name}", "seconds", "MFU"]
    rows = [
        [
            row["rollout"],
            _figure(row["step_flops"] / step.size),
            f"{row['network_calls']:,}",
            _figure(row["video_flops"] / video.size),
            *(_figure(row[key] / memory.size) for key in ("activation_bytes", "peak_bytes")),
            "–" if row["seconds"] is None else _figure(row["seconds"]),
            "–" if row["mfu"] is None else f"{row['mfu']:.0%}",
        ]
        for row in rollouts
    ]
    rows.append(
        ["training", _figure(training["step_flops"] / step.size), "", ""]
        + [_figure(training[key] / memory.size) for key in ("activation_bytes", "peak_bytes")]
        + ["", ""]
    )
    notes = [
        f"{record['parameters']:,} parameters in {record['settings']['dtype']}; {record['tokens']:,} tokens in "
        f"{record['latents']} latent frames; {_decoding(record)}",
        f"speed {record['speed']['source']}",
        "live: tensors at the fullest moment of sampling; peak: these and the network's weights; training: one clip of "
        "this length, with gradients and Adam; text encoder and libraries need more, and so do MKL's buffers and the "
        "allocator's gaps on a CPU: half of live and more, next to nothing with MALLOC_MMAP_THRESHOLD_=131072",
    ]
    if record["pays_from"] is not None:
        found = record["pays_from"]
        notes.append(
            f"chunks cost less than full attention from {found['latents']} latents ({found['num_frames']} frames) on: "
            f"{found['step_flops'] / TERA:.3g} against {found['full_step_flops'] / TERA:.3g} TFLOP a step; lengths are "
            "tried in whole chunks"
        )
    if record["left_out"]:
        notes.append(f"not with this network: {', '.join(record['left_out'])}")
    return heads, rows, notes


def _unit(values: Sequence[float], units: Sequence[Unit]) -> Unit:
    """The largest unit in which no value of a column is below 1: such numbers are short."""
    return next((unit for unit in units if min(values, default=0) >= unit.size), units[-1])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _decoding(record: Mapping[str, Any]) -> str:
    if record["decode_flops"] is None:
        return "decoding: not counted, and the codec's memory comes on top"
    return (
        f"decoding: {record['decode_flops'] / TERA:.3g} TFLOP, in each video; it comes after sampling, beside the "
        f"network's weights, with {record['decode_bytes'] / GIB:.3g} GiB and {record['codec_weight_bytes'] / GIB:.3g} "
        "GiB of the codec's"
    )
