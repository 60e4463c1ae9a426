"""Times of steps, taken in turns, and where they go."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

Made = TypeVar("Made")
LEAST_SECONDS = 2.0
"""Short steps are repeated until all of them together took so long."""


class Seconds(NamedTuple):
    """Of one step: by the clock on the wall, and by the CPU, which a busy machine does not stretch."""

    wall: float
    cpu: float


def timed(step: Callable[[], Made], device: str) -> tuple[Made, Seconds]:
    """What a step made, and how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = step()
    if device == "cuda":
        torch.cuda.synchronize()
    return made, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def in_turns(
    steps: Mapping[str, Callable[[], object]], *, repeats: int, most: int, device: str
) -> dict[str, list[Seconds]]:
    """Seconds of each step, A B A B …, after an unmeasured turn: `repeats` turns, up to `most` where they are short."""
    for step in steps.values():
        timed(step, device)
    times: dict[str, list[Seconds]] = {name: [] for name in steps}
    turn, spent = 0, 0.0
    while turn < repeats or (turn < most and spent < LEAST_SECONDS):
        for name, step in steps.items():
            times[name].append(timed(step, device)[1])
            spent += times[name][-1].wall
        turn += 1
    return times


class Spent(NamedTuple):
    """Seconds of one step by kind of work: attention, linear layers, and everything else."""

    attention: float
    linear: float
    other: float


def where_time_goes(step: Callable[[], object], device: str) -> Spent:
    """Profiles one step; on CUDA the time of kernels, so that `other` holds no waiting."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        timed(step, device)
    attention = linear = total = 0.0
    for event in profiler.key_averages():
        if not event.key.startswith("aten::"):
            continue
        spent = (event.self_device_time_total if device == "cuda" else event.self_cpu_time_total) / 1e6
        total += spent
        if (
            "scaled_dot_product" in event.key
            or "attention" in event.key
            or event.key in ("aten::bmm", "aten::_softmax")
        ):
            attention += spent
        elif event.key in ("aten::addmm", "aten::mm"):
            linear += spent
    return Spent(attention, linear, total - attention - linear)
