"""LoViC's Figure 2 as a curve: one DiT step with compressed memory, beside full context and a sliding window.

    python benchmarks/lovic_cost.py                    about half an hour on a CPU core
    python benchmarks/lovic_cost.py --device cuda --side 64 --depth 12

For each number of segments, all times in turns within one run: a step over every segment at full attention, a step of
one segment with the others in memory at each rate (keys and values made once), and a step of one segment with a window
of clean frames alone. With backward, also a joint step: it makes the memory of all the others as it goes, and its
gradient runs through keys, values and compressor, as in training. The compressor is timed apart, as in sampling: there
it runs once a segment, not once a step. Peak memory comes from fresh processes. Writes
benchmarks/results/lovic_cost_DEVICE.json and .md.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra.utils import instantiate
from rich.console import Console
from torch import Tensor

from benchmarks.clock import in_turns
from benchmarks.probes import Peak
from benchmarks.report import Sheet, save, show
from benchmarks.setups import CHANNELS, compose_config
from networks.interfaces import Condition, Context, SegmentBatch
from networks.lovic import LoViCNetwork

SEGMENT, WINDOW, TEXT = 10, 2, 20
Record = dict[str, Any]
JOINT = "joint "
"""Before a rate: the memory is made within the step."""
LIMITS = {"time": 0.12, "memory": 0.30}
"""Of full context at 8 segments and rate 8."""


def build(args: argparse.Namespace) -> LoViCNetwork:
    """The network with fresh weights, which take the time of trained ones."""
    overrides = ("network=lovic", "compressor=flexformer", f"backbone={args.backbone}")
    cfg = compose_config((*overrides, f"backbone.depth={args.depth}"))
    network: LoViCNetwork = instantiate(cfg.network).to(args.device)
    return network.train(False)


def canvas(frames: int, side: int, device: str) -> tuple[Tensor, Tensor, Condition]:
    """A noisy canvas of one video and its condition; side in latents."""
    noisy = torch.randn(1, CHANNELS, frames, side, side, device=device)
    index = torch.arange(frames, device=device, dtype=torch.float32).unsqueeze(0)
    text = torch.randn(1, TEXT, 384, device=device)
    condition = Condition(index, text, torch.ones(1, TEXT, dtype=torch.bool, device=device))
    return noisy, torch.full((1, frames), 0.7, device=device), condition


def past(count: int, side: int, rate: float, device: str) -> tuple[Context, ...]:
    """Finished segments right before the canvas."""
    if count == 0:
        return ()
    index = -SEGMENT * torch.arange(1, count + 1, device=device)[:, None] + torch.arange(SEGMENT, device=device)
    segments = SegmentBatch(
        video=torch.randn(1, count, CHANNELS, SEGMENT, side, side, device=device),
        frame_index=index.unsqueeze(0).float(),
        text=torch.randn(1, count, TEXT, 384, device=device),
        text_mask=torch.ones(1, count, TEXT, dtype=torch.bool, device=device),
        shot=torch.zeros(1, count, dtype=torch.long, device=device),
        valid=torch.ones(1, count, dtype=torch.bool, device=device),
    )
    return (Context(segments, torch.zeros(1, count, device=device), rate),)


def step_of(network: LoViCNetwork, name: str, count: int, args: argparse.Namespace) -> Callable[[], Tensor]:
    """One step: name is "full", "window", a rate, or a joint rate."""
    if name == "full":
        return partial(network.backbone, *canvas(count * SEGMENT, args.side, args.device))
    noisy, time, condition = canvas(SEGMENT + WINDOW, args.side, args.device)
    if name == "window":
        return partial(network.backbone, noisy, time, condition)
    rate = float(name.removeprefix(JOINT))
    condition = condition._replace(context=past(count - 1, args.side, rate, args.device))
    if not name.startswith(JOINT):
        with torch.no_grad():
            condition = network.encode_context(condition)
    return partial(network, noisy, time, condition)


def without_gradient(step: Callable[[], Tensor]) -> Callable[[], object]:
    """The forward pass alone."""

    def run() -> object:
        with torch.no_grad():
            return step()

    return run


def with_gradient(network: LoViCNetwork, step: Callable[[], Tensor]) -> Callable[[], object]:
    """Forward and backward."""

    def run() -> None:
        step().square().mean().backward()
        network.zero_grad(set_to_none=True)

    return run


def peak_mib(name: str, count: int, kind: str) -> float:
    """Above weights and inputs, from a fresh process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--probe", name, str(count), kind]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def probe(args: argparse.Namespace) -> float:
    """What a fresh process measures."""
    name, count, kind = args.probe
    network = build(args)
    wrap = without_gradient if kind == "forward" else partial(with_gradient, network)
    wrap(step_of(network, "window", 1, argparse.Namespace(**{**vars(args), "side": 4})))()  # what loads late
    step = wrap(step_of(network, name, int(count), args))
    peak = Peak(args.device)
    step()
    return peak.result()["above_mib"]


def measure(network: LoViCNetwork, count: int, args: argparse.Namespace) -> list[Record]:
    """Every way at one number of segments, forward and forward with backward."""
    rates = [f"{rate:g}" for rate in args.rates]
    records = []
    for kind in ("forward", "backward"):
        joint = [f"{JOINT}{rate}" for rate in rates if kind == "backward" and count > 1]
        names = ["full", *rates, *joint, "window"]
        wrap = without_gradient if kind == "forward" else partial(with_gradient, network)
        steps = {name: wrap(step_of(network, name, count, args)) for name in names}
        times = in_turns(steps, repeats=args.repeats, most=3 * args.repeats, device=args.device)
        seconds = {name: statistics.median(turn.wall for turn in turns) for name, turns in times.items()}
        mib = {name: peak_mib(name, count, kind) for name in names}
        records += [
            {
                "segments": count,
                "kind": kind,
                "way": name,
                "seconds": seconds[name],
                "time_ratio": seconds[name] / seconds["full"],
                "mib": mib[name],
                "memory_ratio": mib[name] / mib["full"],
            }
            for name in names
        ]
    return records


def compressor_times(network: LoViCNetwork, args: argparse.Namespace) -> list[Record]:
    """Seconds to remember one segment (compress it, and make its keys and values), by rate."""
    _, _, condition = canvas(SEGMENT, args.side, args.device)
    steps: dict[str, Callable[[], object]] = {}
    for rate in args.rates:
        context = past(1, args.side, rate, args.device)
        steps[f"{rate:g}"] = without_gradient(partial(_remember, network, condition._replace(context=context)))
    times = in_turns(steps, repeats=args.repeats, most=3 * args.repeats, device=args.device)
    return [{"rate": name, "seconds": statistics.median(turn.wall for turn in turns)} for name, turns in times.items()]


def _remember(network: LoViCNetwork, condition: Condition) -> Tensor:
    memory = network.encode_context(condition).memory
    assert memory is not None
    return memory.layers[-1][0]


def label_of(way: str) -> str:
    """What a row of the table is called."""
    if way in ("full", "window"):
        return way
    rate = way.removeprefix(JOINT)
    return f"memory, r = {rate}" if rate == way else f"memory, r = {rate}, with its making"


def sheets_of(results: dict[str, Any]) -> list[Sheet]:
    """The curve, and the compressor apart."""
    rows = [
        [
            str(r["segments"]),
            r["kind"],
            label_of(r["way"]),
            f"{r['seconds']:.3f}",
            f"{r['time_ratio']:.3f}",
            f"{r['mib']:.0f}",
            f"{r['memory_ratio']:.2f}",
        ]
        for r in results["steps"]
    ]
    heads = ["segments", "pass", "context", "seconds", "of full", "peak MiB", "of full"]
    notes = [
        "Memory is made before the step, without gradient, but in the rows that say so: their gradient runs through "
        "keys, values and compressor of every segment, as in joint training, which adds the compressor's own loss on "
        "one of them."
    ]
    for r in results["steps"]:
        if (r["segments"], r["way"], r["kind"]) == (8, "8", "forward"):
            met = r["time_ratio"] <= LIMITS["time"] and r["memory_ratio"] <= LIMITS["memory"]
            notes.append(
                f"At 8 segments and r = 8, forward: time {r['time_ratio']:.3f} (allowed {LIMITS['time']}), memory "
                f"{r['memory_ratio']:.2f} (allowed {LIMITS['memory']}): {'met' if met else 'NOT met'}."
            )
    title = f"One DiT step against the number of segments; {results['size']}; {results['hardware']}"
    encoder = [[r["rate"], f"{r['seconds']:.3f}"] for r in results["compressor"]]
    apart = "Compressor and keys and values of one segment, once a segment"
    return [Sheet(title, notes, heads, rows), Sheet(apart, [], ["rate", "seconds"], encoder)]


def main() -> None:
    """Measures, shows and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backbone", default="dit_s")
    parser.add_argument("--depth", type=int, default=4, help="blocks; ratios hardly depend on it")
    parser.add_argument("--side", type=int, default=32, help="of the latents; (side / 2)² tokens a frame")
    parser.add_argument("--segments", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rates", type=float, nargs="+", default=[4.0, 8.0, 16.0, 32.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    parser.add_argument("--probe", nargs=3, metavar=("WAY", "SEGMENTS", "PASS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe is not None:
        sys.stdout.write(json.dumps(probe(args)) + "\n")
        return
    network = build(args)
    tokens = SEGMENT * (args.side // 2) ** 2
    results: dict[str, Any] = {
        "hardware": torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} CPU threads",
        "torch": torch.__version__,
        "size": f"{args.backbone}, {args.depth} blocks, {tokens} tokens a segment",
        "steps": [record for count in args.segments for record in measure(network, count, args)],
        "compressor": compressor_times(network, args),
    }
    tables = sheets_of(results)
    for table in tables:
        show(table, Console())
    save(args.output, f"lovic_cost_{args.device}", results, tables)


if __name__ == "__main__":
    main()
