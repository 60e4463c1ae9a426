"""Our DiT beside the transformers of diffusers that make videos, and the matrix products that none can go without.

    python benchmarks/peers.py                                    two minutes on a CPU core
    python benchmarks/peers.py --device cuda --dtype bfloat16 --width 1152 --depth 28 --heads 16 --tokens 8192 --compile

Wan and LTX-Video of diffusers are built with our width, depth, heads, feed-forward, tokens and text, with fresh
weights: every transformer multiplies the same matrices. The floor multiplies these alone, on tensors of the same sizes,
with the same attention kernel, and adds nothing. DFoT's and MilliVid's blocks, restated, read no text and multiply
every token's condition instead, so that they have products of their own. Then each part of one of our blocks is timed
beside its products: what a fused kernel could save is what is left above them. A sampling step is one call without
gradients; a training step is a call and its backward pass. All are timed in turns within one run, and what is stated
are ratios within a turn, so that a busy machine widens their range and moves no side. Writes
benchmarks/results/peers_DEVICE.json and .md; in bfloat16 peers_DEVICE_bfloat16.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.clock import Seconds, in_turns
from benchmarks.peering.parts import parts
from benchmarks.peering.sizes import FRAMES, Sizes
from benchmarks.peering.transformers import FLOOR, OURS, SIDES, Call
from benchmarks.report import Sheet, save, show
from longtake.compat.torch import flop_counter
from networks.compiling import compile_blocks

Record = dict[str, Any]
Steps = dict[str, Callable[[], object]]


def sample(network: nn.Module, call: Call) -> None:
    """One step of sampling."""
    with torch.inference_mode():
        call(network.eval())


def train(network: nn.Module, call: Call) -> None:
    """One step of training, without the optimizer, which is the same for all."""
    network.zero_grad(set_to_none=True)
    call(network.train()).float().square().mean().backward()


def build(sizes: Sizes, *, compiled: bool) -> dict[str, tuple[nn.Module, Call]]:
    """Every side, with fresh weights; compiled: by blocks, as each library does it."""
    made = {}
    for name, side in SIDES.items():
        torch.manual_seed(0)
        network, call = side(sizes)
        network = network.to(sizes.device, getattr(torch, sizes.dtype))
        if compiled and name == OURS:
            compile_blocks(network, backend="inductor", dynamic=False)
        elif compiled and name != FLOOR:
            network.compile_repeated_blocks(dynamic=False)  # type: ignore[operator]
        made[name] = network, call
    return made


def multiplied(network: nn.Module, call: Call) -> int:
    """FLOPs of one call's matrix products and attention."""
    with torch.compiler.set_stance("force_eager"), torch.inference_mode(), flop_counter() as counter:
        call(network.eval())
    return counter.get_total_flops()


STEPS: dict[str, Callable[[nn.Module, Call], None]] = {"sampling": sample, "training": train}


def measure(sizes: Sizes, kind: str, *, compiled: bool, repeats: int, most: int) -> list[Record]:
    """A record of each side in a kind of step: its time over ours and over the floor, in each turn."""
    sides = build(sizes, compiled=compiled)
    flops = {name: multiplied(*side) for name, side in sides.items()}
    steps: Steps = {name: partial(STEPS[kind], *side) for name, side in sides.items()}
    times = in_turns(steps, repeats=repeats, most=most, device=sizes.device)
    return [
        {
            "step": kind,
            "compiled": compiled,
            "side": name,
            "gflops": flops[name] / 1e9,
            "seconds": statistics.median(each.wall for each in seconds),
            "over_ours": over(seconds, times[OURS]),
            "over_floor": over(seconds, times[FLOOR]),
        }
        for name, seconds in times.items()
    ]


def measure_parts(sizes: Sizes, kind: str, *, compiled: bool, repeats: int, most: int) -> list[Record]:
    """A record of each part of a block: its share of all parts' time, and its time over its products' in each turn."""
    steps: Steps = {}
    found = parts(sizes)
    for name, part in found.items():
        run = torch.compile(part.run, dynamic=False) if compiled else part.run
        steps[name] = partial(PART_STEPS[kind], run)
        if part.products is not None:
            steps[f"products of {name}"] = partial(PART_STEPS[kind], part.products)
    times = in_turns(steps, repeats=repeats, most=most, device=sizes.device)
    seconds = {name: statistics.median(each.wall for each in times[name]) for name in found}
    return [
        {
            "step": kind,
            "compiled": compiled,
            "part": name,
            "milliseconds": 1e3 * seconds[name],
            "over_products": over(times[name], times[f"products of {name}"]) if part.products is not None else None,
        }
        for name, part in found.items()
    ]


def sample_part(run: Callable[[], Tensor]) -> None:
    """A part of a block in sampling."""
    with torch.inference_mode():
        run()


def train_part(run: Callable[[], Tensor]) -> None:
    """A part of a block in training; gradients are added to those of earlier turns."""
    run().float().square().mean().backward()


PART_STEPS: dict[str, Callable[[Callable[[], Tensor]], None]] = {"sampling": sample_part, "training": train_part}


def over(seconds: list[Seconds], others: list[Seconds]) -> dict[str, float]:
    """The ratio in each turn: its median, and the quartiles around it."""
    ratios = sorted(one.wall / other.wall for one, other in zip(seconds, others, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
    return {"median": statistics.median(ratios), "low": low, "high": high, "turns": len(ratios)}


def sheet_of(records: list[Record], sizes: Sizes) -> Sheet:
    """One table."""

    def ratio(found: Mapping[str, float]) -> str:
        return f"{found['median']:.2f} ({found['low']:.2f}–{found['high']:.2f})"

    rows = [
        [
            f"{record['step']}{', compiled' if record['compiled'] else ''}",
            record["side"],
            f"{record['gflops']:.1f}",
            ratio(record["over_ours"]),
            ratio(record["over_floor"]),
        ]
        for record in records
    ]
    notes = [
        f"Width {sizes.width}, depth {sizes.depth}, {sizes.heads} heads, feed-forward {sizes.mlp_ratio} x, "
        f"{sizes.tokens} tokens, {sizes.text_tokens} of text, {sizes.dtype}, {sizes.device}.",
        "Ratios of times within a turn: the median, and half of all turns between the numbers in brackets.",
    ]
    heads = ["step", "of", "GFLOPs", "time over ours", "time over products alone"]
    return Sheet("Our DiT beside others and bare products", notes, heads, rows)


def parts_sheet(records: list[Record]) -> Sheet:
    """One table of the parts of a block."""
    rows = [
        [
            f"{record['step']}{', compiled' if record['compiled'] else ''}",
            record["part"],
            f"{record['milliseconds']:.2f}",
            "–" if (found := record["over_products"]) is None else f"{found['median']:.2f}",
        ]
        for record in records
    ]
    notes = [
        "Each part alone, with its norm where it is the text's. A block has adaLN and gate twice.",
        "Compiled: by torch.compile's inductor, which fuses what lies between the products.",
    ]
    heads = ["step", "part", "milliseconds", "over its products alone"]
    return Sheet("Parts of one of our blocks", notes, heads, rows)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=1024, help=f"of the video: {FRAMES} square frames")
    parser.add_argument("--text-tokens", type=int, default=64)
    parser.add_argument("--compile", action="store_true", help="also by torch.compile, blocks alone")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--most", type=int, default=25, help="turns where steps are short")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    sizes = parser.parse_args(namespace=Sizes(mlp_ratio=4))
    if sizes.device == "cpu":
        torch.set_num_threads(1)
    kept = ("width", "depth", "heads", "mlp_ratio", "tokens", "text_tokens", "device", "dtype")
    results = {
        "command": f"python benchmarks/peers.py {' '.join(sys.argv[1:])}".strip(),
        "machine": torch.cuda.get_device_name() if sizes.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "sizes": {name: getattr(sizes, name) for name in kept},
    }
    kind = sizes.device if sizes.dtype == "float32" else f"{sizes.device}_{sizes.dtype}"
    records: list[Record] = []
    of_parts: list[Record] = []
    for compiled in (False, True) if sizes.compile else (False,):
        for step in STEPS:
            told = {"compiled": compiled, "repeats": sizes.repeats, "most": sizes.most}
            records += measure(sizes, step, **told)
            of_parts += measure_parts(sizes, step, **told)
            sheets = [sheet_of(records, sizes), parts_sheet(of_parts)]
            save(sizes.output, f"peers_{kind}", {**results, "records": records, "parts": of_parts}, sheets)  # at once
    for sheet in sheets:
        show(sheet, Console())


if __name__ == "__main__":
    main()
