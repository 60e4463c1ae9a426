"""What memory is worth to the DiT: validation loss with it and without it, by time, task and rate.

    python benchmarks/memory_gain.py weights=weights/lovic_freedoom_64 weights=weights/vin_lovic_freedoom_64

On test levels, with the same noise for every condition: each segment in the middle of a row is predicted (retrodicted,
interpolated) from
- the window alone: the few clean frames that adjoin it, and the learned null memory, which training shows too;
- the window and the memory of the other segments at each rate; a rate below those of training, such as 1, is full
  context through the compressor, which no training has shown;
- the same where the low-resolution branch alone speaks and what FlexFormer adds to it is withheld, if there is one;
- full context as clean frames: one canvas of all segments without compression. The network was never trained on
  canvases of that length, so this says what the weights make of it, not what full attention could learn.
Tasks: with the window; `windowless`, memory alone; `gap`, where the nearest segment is known to neither.
Other keys: split, walks, slots, rates, times, seeds, tasks, output; the rest are overrides of train.py for the videos.
Writes benchmarks/results/memory_gain.json and .md.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from einops import rearrange, repeat
from torch import Tensor

from benchmarks.report import Sheet
from benchmarks.trained import (
    cell,
    choose_walks,
    groups_of,
    interval,
    label,
    memory_module,
    num_slots,
    publish,
    read_request,
    rows_of,
    segment_data,
)
from lightning_modules.memory import MemoryModule
from lightning_modules.tasks import WINDOWLESS, SegmentTask, fixed_task
from longtake.cli.user_errors import explain
from networks.interfaces import Condition, SegmentBatch

PLAIN = ("prediction", "retrodiction", "interpolation")
OWN = {
    "split": "test",
    "walks": "48",
    "slots": "7",
    "rates": "1,4,8,16,32",
    "times": "",
    "seeds": "2",
    "tasks": ",".join([*PLAIN, *(f"{kind}_{task}" for kind in ("windowless", "gap") for task in PLAIN[:2])]),
    "output": str(Path(__file__).parent / "results"),
}
BATCH = 16
WINDOW, CANVAS, BRANCH = "window only", "clean canvas", "low resolution alone, "
Record = dict[str, Any]


def full_canvas(task: SegmentTask, batch: SegmentBatch) -> SegmentTask:
    """A task whose known segments all stand in the canvas, clean; segments that are not known are masked.

    Rows must be of one walk without gaps, and of one target.
    """
    starts = batch.frame_index[:, :, 0]
    known = (starts[:, :, None] == task.context.frame_index[:, None, :, 0]) & task.context.valid[:, None]
    slots, frames = batch.video.shape[1], batch.video.shape[3]
    target = int(task.target[0])
    assert bool((task.target == target).all())
    own = torch.arange(slots) == target
    mask = repeat(known.any(dim=-1) | own, "b s -> b (s f)", f=frames)
    video = rearrange(batch.video, "b s c f h w -> b c (s f) h w")
    return task._replace(
        video=video * rearrange(mask, "b f -> b 1 f 1 1"),
        frame_index=rearrange(batch.frame_index, "b s f -> b (s f)"),
        frame_mask=mask,
        own=repeat(own, "s -> (s f)", f=frames),
    )


@torch.no_grad()
def losses(
    module: MemoryModule, task: SegmentTask, condition: Condition, noise: Tensor, times: Sequence[float]
) -> Tensor:
    """Of each row at each time, b t; noise: b c f h w of the target's own frames."""
    network = module.network
    condition = network.encode_context(condition)  # once for all times
    spread = torch.zeros_like(task.video)
    spread[:, :, task.own] = noise
    found = []
    for value in times:
        time = torch.where(task.own, value, 0.0).expand(len(noise), -1).to(noise)
        prediction = network(module.objective.corrupt(task.video, time, spread), time, condition)
        errors = module.objective.frame_errors(prediction, task.video, spread, time)
        found.append(errors[:, task.own].mean(dim=1))
    return torch.stack(found, dim=1)


@contextmanager
def silent_compressor(module: MemoryModule) -> Iterator[None]:
    """Context tokens bear the low-resolution branch alone."""
    network: Any = module.network
    handle = network.adapter.register_forward_hook(lambda _, __, tokens: torch.zeros_like(tokens))
    try:
        yield
    finally:
        handle.remove()


def conditions(
    module: MemoryModule, name: str, batch: SegmentBatch, rates: Sequence[float]
) -> list[tuple[str, SegmentTask, Condition]]:
    """What is compared in one task, by name."""
    task = fixed_task(name, batch, module.tasks)
    level = torch.zeros(len(task.video))
    alone = module.condition(task, level, 1.0)._replace(context=())
    network: Any = module.network
    kinds = (
        [] if network.compressor is None else [(f"rate {r:g}", task, module.condition(task, level, r)) for r in rates]
    )
    found = [(WINDOW, task, alone), *kinds]
    if kinds and network.low_resolution:
        found += [(f"{BRANCH}{name}", task, known) for name, task, known in kinds]
    if not name.startswith(WINDOWLESS):
        wide = full_canvas(task, batch)
        found.append((CANVAS, wide, alone._replace(frame_index=wide.frame_index, frame_mask=wide.frame_mask)))
    return found


def measure_task(
    module: MemoryModule, name: str, batch: SegmentBatch, rates: Sequence[float], times: Sequence[float], seeds: int
) -> dict[str, Tensor]:
    """Losses b t of every condition of one task, averaged over seeds of the noise."""
    rows, _, channels, frames, height, width = batch.video.shape
    found: dict[str, list[Tensor]] = {}
    for begin in range(0, rows, BATCH):
        part = batch.map(itemgetter(slice(begin, begin + BATCH)))
        generators = [torch.Generator().manual_seed(1000 * seed + begin) for seed in range(seeds)]
        noises = [torch.randn(len(part.video), channels, frames, height, width, generator=g) for g in generators]
        for kind, task, condition in conditions(module, name, part, rates):
            with silent_compressor(module) if kind.startswith(BRANCH) else nullcontext():
                made = [losses(module, task, condition, noise, times) for noise in noises]
            found.setdefault(kind, []).append(torch.stack(made).mean(dim=0))
    return {kind: torch.cat(parts) for kind, parts in found.items()}


def records_of(task: str, found: dict[str, Tensor], groups: list[str], times: Sequence[float]) -> list[Record]:
    """Mean losses, and what each condition gains over the window alone, with intervals over levels."""
    alone = found[WINDOW]
    return [
        {
            "task": task,
            "condition": kind,
            "loss": interval(values.mean(dim=1).tolist(), groups),
            "gain": interval((alone - values).mean(dim=1).tolist(), groups),
            "loss_by_time": {f"{t:g}": float(values[:, i].mean()) for i, t in enumerate(times)},
            "gain_by_time": {f"{t:g}": interval((alone - values)[:, i].tolist(), groups) for i, t in enumerate(times)},
        }
        for kind, values in found.items()
    ]


def sheet_of(weights: str, records: list[Record], times: Sequence[float], size: str) -> Sheet:
    """One row for each task and condition."""
    rows = [
        [
            r["task"],
            r["condition"],
            *(f"{value:.4f}" for value in r["loss_by_time"].values()),
            cell(r["loss"], 4),
            "-" if r["condition"] == WINDOW else cell(r["gain"], 4),
        ]
        for r in records
    ]
    notes = [
        f"{size}; 95 % intervals over levels; gain: loss of the window alone minus loss, on the same noise.",
        "Rates below those of training and the clean canvas were never trained.",
    ]
    heads = ["task", "context", *(f"time {time:g}" for time in times), "mean loss", "gain"]
    return Sheet(f"Validation loss with memory: {weights}", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    request = read_request(sys.argv[1:], OWN)
    options = request.options
    rates, seeds = [float(rate) for rate in options["rates"].split(",")], int(options["seeds"])
    results: dict[str, Any] = {"request": request._asdict()}
    sheets = []
    for weights in request.weights:
        config, module = memory_module(weights)
        times = [float(t) for t in options["times"].split(",")] if options["times"] else module.validation_times
        data = segment_data(config, request.overrides)
        clips = choose_walks(data, options["split"], int(options["walks"]))
        slots = min(int(options["slots"]), num_slots(data, clips[0]))
        slots -= slots % 2 == 0  # an odd number: as much before the middle as after it
        batch = rows_of(data, clips, slots, 0.5)
        records = []
        for task in options["tasks"].split(","):
            records += records_of(task, measure_task(module, task, batch, rates, times, seeds), groups_of(clips), times)
        size = f"{len(clips)} walks of {slots} segments, {seeds} seed(s) of noise"
        results[str(weights)] = {"size": size, "records": records}
        sheets.append(sheet_of(label(weights, config), records, times, size))
    publish("memory_gain", results, sheets, Path(options["output"]))


if __name__ == "__main__":
    with explain():
        main()
