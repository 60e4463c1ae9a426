"""What VIN costs beside full attention: FLOPs, time and memory as ratios measured in turns within one run.

    python benchmarks/vin_cost.py                       every part, about fifteen minutes on two CPU cores
    python benchmarks/vin_cost.py --device cuda --parts steps paper

Prints tables and writes benchmarks/results/vin_cost_DEVICE.json and .md. On a CPU `steps` and `split` use one thread,
since FLOPs a second are a core's; `cores` are the same steps with as many threads as PyTorch takes by itself, and
measure beside that how cores wait for one another and share caches; `medium` are those at matmul_precision=medium.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console

from benchmarks import sheets
from benchmarks.clock import in_turns, where_time_goes
from benchmarks.probes import in_fresh_process
from benchmarks.programs import help_cost, training_steps
from benchmarks.report import save, show
from benchmarks.setups import PAPER, SETUPS, Setup, build_network, count_flops, example, num_latents

ONE_THREAD = ("steps", "split")
MEDIUM = "medium"
FRAMES = [65, 129, 257, 513, 1025]
SAMPLED = [257, 1025]
MOST_TURNS = 15
Record = dict[str, Any]


def flops_record(setup: Setup, num_frames: int) -> Record:
    """Counted FLOPs of one step of each network, one video."""
    vin, full = (count_flops(setup, network, num_frames) for network in ("vin", "dit"))
    return {
        "preset": setup.name,
        "frames": num_frames,
        "latents": num_latents(num_frames),
        "vin_flops": vin.total,
        "full_flops": full.total,
        "flops_ratio": vin.total / full.total,
        "vin_attention_share": vin.attention / vin.total,
        "full_attention_share": full.attention / full.total,
    }


def _steps_of(setup: Setup, num_frames: int, networks: dict[str, Any], device: str) -> dict[str, Callable[[], object]]:
    inputs = example(setup, num_frames, device)
    return {name: partial(network, *inputs) for name, network in networks.items()}


@torch.inference_mode()  # as in sampling
def time_steps(setup: Setup, frames: Sequence[int], repeats: int, device: str) -> list[Record]:
    """Both networks at every length, in turns; with fresh weights, which take the time of trained ones."""
    networks = {"vin": build_network(setup, "vin", device), "full": build_network(setup, "dit", device)}
    records = []
    for num_frames in frames:
        record = flops_record(setup, num_frames)
        steps = _steps_of(setup, num_frames, networks, device)
        times = in_turns(steps, repeats=repeats, most=max(repeats, MOST_TURNS), device=device)
        pairs = [vin.wall / full.wall for vin, full in zip(times["vin"], times["full"], strict=True)]
        for name, turns in times.items():
            record[f"{name}_seconds"] = statistics.median(turn.wall for turn in turns)
            record[f"{name}_cpu_seconds"] = statistics.median(turn.cpu for turn in turns)
            record[f"{name}_flops_per_second"] = record[f"{name}_flops"] / record[f"{name}_seconds"]
        record["turns"] = len(pairs)
        record["cpu_time_ratio"] = record["vin_cpu_seconds"] / record["full_cpu_seconds"]
        record["time_ratio"] = record["vin_seconds"] / record["full_seconds"]
        record["time_ratio_spread"] = [min(pairs), max(pairs)]
        record["time_over_flops"] = record["time_ratio"] / record["flops_ratio"]
        records.append(record)
    return records


@torch.inference_mode()  # as in sampling
def split_times(setup: Setup, num_frames: int, device: str) -> list[Record]:
    """Seconds and FLOP/s of attention and of linear layers, and seconds of everything else: why time is not FLOPs."""
    records = []
    for name, network in (("vin", "vin"), ("full", "dit")):
        flops = count_flops(setup, network, num_frames)
        steps = _steps_of(setup, num_frames, {name: build_network(setup, network, device)}, device)
        steps[name]()
        spent = where_time_goes(steps[name], device)
        records.append(
            {
                "preset": setup.name,
                "frames": num_frames,
                "network": name,
                "attention_seconds": spent.attention,
                "linear_seconds": spent.linear,
                "other_seconds": spent.other,
                "attention_flops_per_second": flops.attention / spent.attention,
                "linear_flops_per_second": (flops.total - flops.attention) / spent.linear,
            }
        )
    return records


def peak_memory(setup: Setup, frames: Sequence[int], device: str) -> list[Record]:
    """Of one step, each from a fresh process, in MiB above weights and inputs."""
    return [
        {
            "preset": setup.name,
            "frames": num_frames,
            **{
                f"{name}_mib": in_fresh_process("step", setup.name, network, num_frames, device)["above_mib"]
                for name, network in (("vin", "vin"), ("full", "dit"))
            },
        }
        for num_frames in frames
    ]


def sampling_memory(device: str) -> Record:
    """Peak of sampling and streaming decode, long over short."""
    short, long = (in_fresh_process("sampling", num_frames, device) for num_frames in SAMPLED)
    return {
        "frames": SAMPLED,
        "mib": [short["mib"], long["mib"]],
        "above_mib": [short["above_mib"], long["above_mib"]],
        "ratio": long["mib"] / short["mib"],
        "above_ratio": long["above_mib"] / short["above_mib"],
    }


@contextmanager
def settings_of(part: str) -> Iterator[None]:
    """PyTorch's threads and precision of products inside."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads_of(part))
    torch.set_float32_matmul_precision(MEDIUM if part == MEDIUM else "highest")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def threads_of(part: str) -> int:
    """How many threads a part is measured with on a CPU."""
    return 1 if part in ONE_THREAD else torch.get_num_threads()


def hardware(device: str, part: str) -> str:
    """What a part was measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads_of(part)} thread(s)"
    return f"{name}, matmul_precision={MEDIUM}" if part == MEDIUM else name


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every part that was asked for."""
    setups = [SETUPS[name] for name in args.presets]
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} core(s)"
    results: dict[str, Any] = {"hardware": name, "torch": torch.__version__, "command": " ".join(["python", *sys.argv])}

    def steps() -> list[Record]:
        return [r for s in setups for r in time_steps(s, args.frames, args.repeats, args.device)]

    parts: dict[str, Callable[[], Any]] = {
        "paper": lambda: [flops_record(PAPER, num_frames) for num_frames in args.frames],
        "steps": steps,
        "cores": steps,
        MEDIUM: steps,
        "split": lambda: [r for s in setups for r in split_times(s, max(args.frames), args.device)],
        "memory": lambda: peak_memory(setups[0], args.frames, args.device),
        "sampling": lambda: sampling_memory(args.device),
        "training": lambda: training_steps(args.device),
        "help": lambda: help_cost(args.repeats),
    }
    for part in args.parts:
        with settings_of(part):
            results[part] = parts[part]()
    return results


def main() -> None:
    """Measures, shows and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each comparison; more where steps are short")
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="pixel frames, 4n + 1 each")
    parser.add_argument("--presets", nargs="+", choices=list(SETUPS), default=["dit_tiny", "dit_s"])
    parser.add_argument("--parts", nargs="+", choices=list(sheets.SHEETS), default=list(sheets.SHEETS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    args = parser.parse_args()
    wrong = [num_frames for num_frames in args.frames if num_frames % 4 != 1]
    if wrong:
        parser.error(f"--frames {wrong[0]} breaks the codec's rule 4n + 1: use {wrong[0] // 4 * 4 + 1}")
    if args.device == "cuda" or torch.get_num_threads() == 1:
        args.parts = [part for part in args.parts if part != "cores"]  # they are those of `steps`
    results = measure(args)
    tables = [sheets.SHEETS[part](results[part], hardware(args.device, part)) for part in args.parts]
    for table in tables:
        show(table, Console())
    save(args.output, f"vin_cost_{args.device}", results, tables)


if __name__ == "__main__":
    main()
