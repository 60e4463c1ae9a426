"""How fast a device computes: from the config, or measured in a few seconds on one short step and one large product."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from longtake.cost.counting import on_meta
from longtake.cost.sampling import CanvasCounter, VideoSize
from longtake.process import check_device
from networks.interfaces import Condition, VideoNetwork

TERA = 1e12
MOST_PARAMETERS = 10**8
"""Of a network that is measured whole; a larger one is with one block of each kind. Source: our choice, 0.4 GB."""
TOKENS = 1024
"""Video tokens of the measured step, a frame at the least. Source: our choice, a second or two on one CPU core."""
LEAST_SECONDS, MOST_TURNS = 1.0, 10
PRODUCT_SIDE = {"cpu": 2048, "cuda": 8192}
"""Side of the matrices whose product stands for the peak; other devices take the smaller one."""


class Speed(NamedTuple):
    """tflops: reached, None where nothing is known; mfu: its share of the peak; source: where it comes from."""

    tflops: float | None
    mfu: float | None
    source: str


UNKNOWN = Speed(None, None, "unknown: give peak_tflops=…, measured_tflops=… of a run, or measure_speed=true")


def given_speed(*, peak_tflops: float | None, efficiency: float, measured_tflops: float | None) -> Speed | None:
    """The speed from the measured FLOP/s, else from an assumed share of the peak; None where neither is given."""
    if measured_tflops is not None:
        mfu = None if peak_tflops is None else measured_tflops / peak_tflops
        return Speed(measured_tflops, mfu, f"measured: {measured_tflops:g} TFLOP/s")
    if peak_tflops is None:
        return None
    share = f"assumed: {efficiency:.0%} of {peak_tflops:g} TFLOP/s"
    return Speed(peak_tflops * efficiency, efficiency, share)


@torch.no_grad()
def measure_speed(network: VideoNetwork, video: VideoSize, *, dtype: torch.dtype, device: str) -> Speed:
    """One step with random weights on a few frames of the video, and a product of large matrices for the peak.

    Args:
        network: on meta; a large one is measured with one block of each kind.
        video: size of the video that is to be made.
        dtype: type of weights and activations.
        device: device that is measured.

    Returns:
        What the step reached, and its share of the peak.

    Raises:
        ValueError: for a device that is not there.
    """
    try:
        check_device(device)
    except ValueError as error:
        missing = f"device={device} is not here to be measured: give peak_tflops=… of it, or use device=cpu"
        raise ValueError(missing) from error
    small, what = on_meta(network).to(dtype).eval().requires_grad_(False), "the network"
    if sum(parameter.numel() for parameter in small.parameters()) > MOST_PARAMETERS:
        small, what = _shortened(small), "the network with one block of each kind"
    frames = min(max(TOKENS // video.per_frame(network.patch), 1), video.num_latents)
    noise, condition = video.noise(frames), video.condition(frames, dtype)
    counter = CanvasCounter(small, dtype)
    counter(noise, condition, None)
    made = _filled(on_meta(small).to_empty(device=device))
    seconds = min(_turns(_step(made, noise, condition, device), device))  # others' work on the machine only adds
    tflops = counter.canvases[0].step.flops / seconds / TERA
    peak = peak_tflops(dtype, device)
    side = PRODUCT_SIDE.get(torch.device(device).type, PRODUCT_SIDE["cpu"])
    return Speed(
        tflops,
        tflops / peak,
        f"measured on {_name(device)}: {tflops:.3g} TFLOP/s in {what} on {frames} latent frames, {seconds:.2g} s a "
        f"step; peak {peak:.3g} TFLOP/s in a product of matrices of {side} x {side}",
    )


def _shortened(network: VideoNetwork) -> VideoNetwork:
    """The network with the first of each list of layers."""
    for module in list(network.modules()):
        for name, layers in module.named_children():
            if isinstance(layers, nn.ModuleList):
                setattr(module, name, layers[:1])
    return network


def _filled(network: VideoNetwork) -> VideoNetwork:
    """Small random weights, and buffers of zeros, which are places and frequencies: values do not change the speed."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    for buffer in network.buffers():
        buffer.zero_()
    return network


def peak_tflops(dtype: torch.dtype, device: str) -> float:
    """TFLOP/s of a product of two large matrices, the best of three; no network exceeds it."""
    side = PRODUCT_SIDE.get(torch.device(device).type, PRODUCT_SIDE["cpu"])
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = [_seconds(lambda: left @ right, device) for _ in range(4)][1:]
    return 2 * side**3 / min(seconds) / TERA


def _step(network: VideoNetwork, noise: Tensor, condition: Condition, device: str) -> Callable[[], object]:
    """One call on noise, with a caption, and the memory that holds nothing; noise, condition: on meta."""
    noisy = torch.randn(noise.shape, device=device)
    condition = Condition(
        torch.arange(noise.shape[2], device=device, dtype=torch.float32).unsqueeze(0),
        torch.randn(condition.text.shape, device=device, dtype=condition.text.dtype),
        None,
    )
    condition = network.encode_context(condition)
    times = torch.full((1, 1), 0.7, device=device)
    return lambda: network(noisy, times, condition)


def _turns(step: Callable[[], object], device: str) -> list[float]:
    """Seconds of each turn after an unmeasured one, until they are many or long enough."""
    _seconds(step, device)
    turns = [_seconds(step, device)]
    while sum(turns) < LEAST_SECONDS and len(turns) < MOST_TURNS:
        turns.append(_seconds(step, device))
    return turns


def _seconds(step: Callable[[], object], device: str) -> float:
    began = time.perf_counter()
    step()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device} with {torch.get_num_threads()} thread(s)" if device == "cpu" else device
