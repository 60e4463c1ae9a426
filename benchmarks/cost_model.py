"""The cost model beside what is measured: FLOPs, memory and seconds of one step, predicted from the config alone.

    python benchmarks/cost_model.py                    about five minutes on one idle CPU core
    python benchmarks/cost_model.py --presets dit_tiny --frames 65 257 --repeats 2

Seconds are predicted from the FLOP/s that each network reaches at one length, the reference, so that row's error says
nothing. Memory comes from fresh processes: once with every tensor in a mapping of its own, where what is freed is gone
and the peak is that of living tensors, and once with the allocator as it is. Writes
benchmarks/results/cost_model_DEVICE.json and .md.
"""

import argparse
import os
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # before torch loads; see README, "CPU threads"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from omegaconf import OmegaConf
from rich.console import Console

from benchmarks.clock import in_turns
from benchmarks.probes import MIB, in_fresh_process
from benchmarks.report import Sheet, save, show
from benchmarks.setups import SETUPS, Setup, build_network, compose_config, count_flops, example, num_latents
from lightning_modules.cost.flops import step_flops
from lightning_modules.cost.memory import step_bytes
from lightning_modules.cost.sizes import NetworkSize, VideoSize, network_size

FRAMES, REFERENCE = [65, 257, 1025], 257
NETWORKS = ("vin", "dit")
OWN_MAPPINGS = {"MALLOC_MMAP_THRESHOLD_": "4096"}
"""glibc: allocations from so many bytes on are mapped and unmapped one by one."""
WITHIN = {"flops": 0.02, "memory": 0.15}
Record = dict[str, Any]


def size_of(setup: Setup, network: str) -> NetworkSize:
    """From the config that `build_network` builds."""
    own = setup.vin_only if network == "vin" else ()
    node: Any = OmegaConf.to_container(
        compose_config((f"network={network}", *setup.shared, *own)).network, resolve=True
    )
    return network_size(node)


def predicted(setup: Setup, network: str, num_frames: int) -> Record:
    """FLOPs and MiB above the weights of one step in float32; nothing is built."""
    size, latents = size_of(setup, network), num_latents(num_frames)
    video = VideoSize(latents, setup.height, setup.width, setup.text_tokens)
    live = step_bytes(size, latents, video, memory=0, element=4)
    return {"flops": step_flops(size, latents, video), "live_mib": live / MIB}


def measured(setup: Setup, network: str, num_frames: int, args: argparse.Namespace) -> Record:
    """Counted FLOPs, median seconds of a step, and MiB above weights and inputs."""
    module = build_network(setup, network, args.device)
    step = {"step": partial(module, *example(setup, num_frames, args.device))}
    with torch.no_grad():
        turns = in_turns(step, repeats=args.repeats, most=3 * args.repeats, device=args.device)["step"]
    probe = partial(in_fresh_process, "step", setup.name, network, num_frames, args.device)
    with patch.dict(os.environ, OWN_MAPPINGS):
        live = probe()["above_mib"]
    return {
        "flops": count_flops(setup, network, num_frames).total,
        "seconds": statistics.median(turn.wall for turn in turns),
        "live_mib": live,
        "resident_mib": probe()["above_mib"],
        "weights_mib": sum(p.numel() * p.element_size() for p in module.parameters()) / MIB,
    }


def compare(setup: Setup, network: str, args: argparse.Namespace) -> list[Record]:
    """Every length of one network: predictions first, seconds from the speed at the reference."""
    frames = sorted({*args.frames, args.reference})
    found = {n: (predicted(setup, network, n), measured(setup, network, n, args)) for n in frames}
    reference = found[args.reference][1]
    speed = reference["flops"] / reference["seconds"]
    records = []
    for num_frames, (before, after) in found.items():
        before["seconds"] = before["flops"] / speed
        weights = after["weights_mib"]
        records.append(
            {
                "preset": setup.name,
                "network": network,
                "frames": num_frames,
                "predicted": before,
                "measured": after,
                "flops_error": before["flops"] / after["flops"] - 1,
                "live_error": before["live_mib"] / after["live_mib"] - 1,
                "memory_error": (before["live_mib"] + weights) / (after["live_mib"] + weights) - 1,
                "seconds_error": before["seconds"] / after["seconds"] - 1,
                "tflops": after["flops"] / after["seconds"] / 1e12,
                "mfu": None
                if args.peak_tflops is None
                else after["flops"] / after["seconds"] / 1e12 / args.peak_tflops,
            }
        )
    return records


def sheet_of(results: Record) -> Sheet:
    """Predicted, measured and by how much the prediction is off."""
    heads = ["preset", "network", "frames", "GFLOP", "off", "weights MiB", "live MiB", "measured", "off", "peak off"]
    heads += ["resident MiB", "seconds", "measured", "off", "GFLOP/s", "MFU"]
    rows = []
    for r in results["steps"]:
        before, after = r["predicted"], r["measured"]
        row = [r["preset"], r["network"], str(r["frames"])]
        row += [f"{before['flops'] / 1e9:.1f}", f"{r['flops_error']:+.1%}", f"{after['weights_mib']:.1f}"]
        row += [f"{before['live_mib']:.1f}", f"{after['live_mib']:.1f}", f"{r['live_error']:+.0%}"]
        row += [f"{r['memory_error']:+.0%}", f"{after['resident_mib']:.1f}"]
        row += [f"{before['seconds']:.3f}", f"{after['seconds']:.3f}", f"{r['seconds_error']:+.0%}"]
        rows.append([*row, f"{1000 * r['tflops']:.0f}", "–" if r["mfu"] is None else f"{r['mfu']:.0%}"])
    worst = {name: max(abs(r[f"{name}_error"]) for r in results["steps"]) for name in WITHIN}
    notes = [
        f"Furthest off: FLOPs {worst['flops']:.1%} (allowed {WITHIN['flops']:.0%}), peak memory with weights "
        f"{worst['memory']:.0%} (allowed {WITHIN['memory']:.0%}).",
        f"Live: of tensors alone. Seconds from the speed at {results['reference']} frames. Resident: with the "
        "allocator's gaps.",
    ]
    return Sheet(f"Cost of one step, predicted and measured; {results['hardware']}", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--presets", nargs="+", choices=list(SETUPS), default=["dit_tiny", "dit_s"])
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="pixel frames, 4n + 1 each")
    parser.add_argument("--reference", type=int, default=REFERENCE, help="frames at which the speed is taken")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each step; more where steps are short")
    parser.add_argument("--peak-tflops", type=float, help="of the device in float32, for the MFU")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    args = parser.parse_args()
    wrong = [num_frames for num_frames in (*args.frames, args.reference) if num_frames % 4 != 1]
    if wrong:
        parser.error(f"{wrong[0]} frames break the codec's rule 4n + 1: use {wrong[0] // 4 * 4 + 1}")
    steps = [record for name in args.presets for network in NETWORKS for record in compare(SETUPS[name], network, args)]
    hardware = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    results: Record = {
        "hardware": hardware,
        "torch": torch.__version__,
        "command": " ".join(["python", *sys.argv]),
        "reference": args.reference,
        "steps": steps,
    }
    sheet = sheet_of(results)
    show(sheet, Console(width=170))
    save(args.output, f"cost_model_{args.device}", results, [sheet])


if __name__ == "__main__":
    main()
