"""The cost model beside what is measured: FLOPs, memory and seconds of steps and videos, predicted from the config.

    python benchmarks/cost_model.py                    about six minutes on one idle CPU core
    python benchmarks/cost_model.py --presets dit_tiny --frames 65 257 --repeats 2

Steps: of VIN and of full attention at several lengths, of an autoregressive window, and of LoViC and the hybrid with
five segments in memory. Videos: sampled whole by every rollout, in two steps. Seconds are predicted from the FLOP/s
that VIN and the DiT reach in a step at one length, the reference, so that those rows' errors say nothing. Memory comes
from processes of their own: once with every tensor in a mapping of its own, where what is freed is gone, and with MKL's
store of scratch buffers off, so that the peak is that of living tensors; and once with all as it is. Writes
benchmarks/results/cost_model_DEVICE.json and .md.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console

from benchmarks.clock import in_turns
from benchmarks.cost_cases import OWN_MAPPINGS, Job, in_process, parameters_of, predicted, prepare
from benchmarks.probes import MIB
from benchmarks.report import Sheet, save, show
from benchmarks.setups import SETUPS
from longtake.compat.torch import flop_counter

FRAMES, REFERENCE, VIDEO_FRAMES = [65, 257, 1025], 257, 129
WINDOW, SEGMENT, HYBRID_SEGMENT = 37, 53, 93
"""Pixel frames of a window of ten latents; of a segment of ten, or twenty, with two latents of room on both sides."""
BACKBONE = ("full_attention", "autoregressive", "anchored", "free_noise", "gen_l_video", "spectral_blending")
VIDEOS = (
    ("vin", "single_pass"),
    *(("vin", name) for name in BACKBONE),
    ("lovic", "segmentwise"),
    ("hybrid", "segmentwise"),
)
WITH_VIN = (("vin", ""), ("hybrid", ""), ("vin", "single_pass"), ("hybrid", "segmentwise"))
"""What takes its speed from VIN's step; the others take the DiT's."""
WITHIN = {"flops": 0.02, "memory": 0.15}
Record = dict[str, Any]


def step_jobs(presets: Sequence[str], frames: Sequence[int]) -> list[Job]:
    """One step each."""
    jobs = []
    for preset in presets:
        jobs += [Job(preset, case, length, "") for case in ("vin", "dit") for length in sorted(set(frames))]
        jobs += [Job(preset, "dit", WINDOW, "")] if WINDOW not in frames else []
        jobs += [Job(preset, "lovic", SEGMENT, ""), Job(preset, "hybrid", HYBRID_SEGMENT, "")]
    return jobs


def video_jobs(preset: str, frames: int) -> list[Job]:
    """A whole video by every rollout."""
    return [Job(preset, case, frames, rollout) for case, rollout in VIDEOS]


def measured(job: Job, args: argparse.Namespace) -> Record:
    """Counted FLOPs and the median seconds of several steps, or those of one video."""
    run = prepare(job, args.device)
    with flop_counter() as counter:
        run()
    if job.rollout:
        began = time.perf_counter()
        run()
        if args.device == "cuda":
            torch.cuda.synchronize()
        return {"flops": counter.get_total_flops(), "seconds": time.perf_counter() - began}
    turns = in_turns({"step": run}, repeats=args.repeats, most=3 * args.repeats, device=args.device)["step"]
    return {"flops": counter.get_total_flops(), "seconds": statistics.median(turn.wall for turn in turns)}


def compare(jobs: Sequence[Job], args: argparse.Namespace, speeds: Mapping[tuple[str, str], float]) -> list[Record]:
    """Predictions beside measurements; speeds: FLOP/s of a preset's reference steps, where they are known already."""
    as_it_is = {name: value for name, value in os.environ.items() if name not in OWN_MAPPINGS}
    live = in_process(jobs, args.device, {**as_it_is, **OWN_MAPPINGS})
    found = [measured(job, args) for job in jobs]
    speeds = {**speeds, **reference_speeds(jobs, found, args.reference)}
    return [
        record_of(job, found[n], live[n], in_process([job], args.device, as_it_is)[0], speeds, args.peak_tflops)
        for n, job in enumerate(jobs)
    ]


def reference_speeds(jobs: Sequence[Job], found: Sequence[Record], frames: int) -> dict[tuple[str, str], float]:
    """FLOP/s by preset and network, at the reference's length."""
    return {
        (job.preset, job.case): each["flops"] / each["seconds"]
        for job, each in zip(jobs, found, strict=True)
        if job.frames == frames and not job.rollout
    }


def record_of(
    job: Job,
    after: Record,
    live_mib: float,
    resident_mib: float,
    speeds: Mapping[tuple[str, str], float],
    peak_tflops: float | None,
) -> Record:
    """One row: what was said before, what came after, and how far off the first is."""
    told = predicted(job)
    speed = speeds[job.preset, "vin" if (job.case, job.rollout) in WITH_VIN else "dit"]
    before = {"flops": told["flops"], "live_mib": told["live"] / MIB, "seconds": told["flops"] / speed}
    weights = parameters_of(job) * 4 / MIB
    tflops = after["flops"] / after["seconds"] / 1e12
    return {
        **job._asdict(),
        "predicted": before,
        "measured": {**after, "live_mib": live_mib, "resident_mib": resident_mib, "weights_mib": weights},
        "flops_error": before["flops"] / after["flops"] - 1,
        "live_error": before["live_mib"] / live_mib - 1,
        "memory_error": (before["live_mib"] + weights) / (live_mib + weights) - 1,
        "resident_error": (before["live_mib"] + weights) / (resident_mib + weights) - 1,
        "seconds_error": before["seconds"] / after["seconds"] - 1,
        "tflops": tflops,
        "mfu": None if peak_tflops is None else tflops / peak_tflops,
    }


def sheet_of(title: str, records: Sequence[Record], results: Record) -> Sheet:
    """Predicted, measured and by how much the prediction is off."""
    heads = ["preset", "network", "frames", "GFLOP", "off", "weights MiB", "live MiB", "measured", "off", "peak off"]
    heads += ["resident MiB", "peak off", "seconds", "measured", "off", "GFLOP/s", "MFU"]
    rows = []
    for r in records:
        before, after = r["predicted"], r["measured"]
        row = [r["preset"], " ".join([r["case"], r["rollout"]]).strip(), str(r["frames"])]
        row += [f"{before['flops'] / 1e9:.1f}", f"{r['flops_error']:+.1%}", f"{after['weights_mib']:.1f}"]
        row += [f"{before['live_mib']:.1f}", f"{after['live_mib']:.1f}", f"{r['live_error']:+.0%}"]
        row += [f"{r['memory_error']:+.0%}", f"{after['resident_mib']:.1f}", f"{r['resident_error']:+.0%}"]
        row += [f"{before['seconds']:.3f}", f"{after['seconds']:.3f}", f"{r['seconds_error']:+.0%}"]
        rows.append([*row, f"{1000 * r['tflops']:.0f}", "–" if r["mfu"] is None else f"{r['mfu']:.0%}"])
    worst = {name: max(abs(r[f"{name}_error"]) for r in records) for name in (*WITHIN, "live", "resident")}
    notes = [
        f"Furthest off: FLOPs {worst['flops']:.1%} (allowed {WITHIN['flops']:.0%}), peak memory of tensors with "
        f"weights {worst['memory']:.0%} (allowed {WITHIN['memory']:.0%}), tensors alone {worst['live']:.0%}, "
        f"resident with weights {worst['resident']:.0%}.",
        f"Live: of tensors beside the weights. Seconds from the speed at {results['reference']} frames. Resident: also "
        "what MKL keeps and the allocator's gaps, beside the weights and what was loaded before.",
    ]
    return Sheet(f"Cost of {title}, predicted and measured; {results['hardware']}", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--presets", nargs="+", choices=list(SETUPS), default=["dit_tiny", "dit_s"])
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="pixel frames, 4n + 1 each")
    parser.add_argument("--reference", type=int, default=REFERENCE, help="frames at which the speed is taken")
    parser.add_argument("--video-frames", type=int, default=VIDEO_FRAMES, help="of videos sampled whole, first preset")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each step; more where steps are short")
    parser.add_argument("--peak-tflops", type=float, help="of the device in float32, for the MFU")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    args = parser.parse_args()
    wrong = [frames for frames in (*args.frames, args.reference, args.video_frames) if frames % 4 != 1]
    if wrong:
        parser.error(f"{wrong[0]} frames break the codec's rule 4n + 1: use {wrong[0] // 4 * 4 + 1}")
    steps = compare(step_jobs(args.presets, [*args.frames, args.reference]), args, {})
    speeds = {(r["preset"], r["case"]): r["tflops"] * 1e12 for r in steps if r["frames"] == args.reference}
    videos = compare(video_jobs(args.presets[0], args.video_frames), args, speeds)
    hardware = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    results: Record = {
        "hardware": hardware,
        "torch": torch.__version__,
        "command": " ".join(["python", *sys.argv]),
        "reference": args.reference,
        "steps": steps,
        "videos": videos,
    }
    sheets = [sheet_of("one step", steps, results), sheet_of("a whole video in two steps", videos, results)]
    for sheet in sheets:
        show(sheet, Console(width=190))
    save(args.output, f"cost_model_{args.device}", results, sheets)


if __name__ == "__main__":
    main()
