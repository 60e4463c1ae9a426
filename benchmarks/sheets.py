"""How each part of `vin_cost` reads: records to tables, with the verdicts below."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.report import Sheet

TOLERANCE = 0.10
"""How far the time ratio may lie from the FLOPs ratio."""
LARGEST = {"sampling": 1.25, "training": 0.02, "help": 1.3}


def _verdict(value: float, limit: float) -> str:
    return f"Allowed: {limit:g}; {'met' if value <= limit else 'NOT met'}."


def costs_more(records: Sequence[Any], key: str) -> list[str]:
    """For each preset the lengths at which VIN costs more than full attention."""
    notes = []
    for preset in dict.fromkeys(r["preset"] for r in records):
        worse = [str(r["frames"]) for r in records if r["preset"] == preset and r[key] > 1]
        what = key.replace("flops_ratio", "FLOPs").replace("time_ratio", "time")
        if worse:
            notes.append(f"{preset}: VIN costs more {what} than full attention at {', '.join(worse)} frames.")
        else:
            notes.append(f"{preset}: VIN costs less {what} than full attention at every length here.")
    return notes


def paper(records: Sequence[Any], hardware: str) -> Sheet:
    """FLOPs at the paper's setting."""
    rows = [
        [
            str(r["frames"]),
            str(r["latents"]),
            f"{r['vin_flops'] / 1e12:.1f}",
            f"{r['full_flops'] / 1e12:.1f}",
            f"{r['flops_ratio']:.2f}",
        ]
        for r in records
    ]
    heads = ["frames", "latents", "VIN TFLOP", "full TFLOP", "FLOPs ratio"]
    title = "One step at the paper's setting (width 1152, depth 28, 240 tokens a latent frame), counted"
    return Sheet(title, costs_more(records, "flops_ratio"), heads, rows)


def steps(records: Sequence[Any], hardware: str) -> Sheet:
    """FLOPs and time of one step."""
    rows, far = [], []
    for r in records:
        low, high = r["time_ratio_spread"]
        rows.append(
            [
                r["preset"],
                str(r["frames"]),
                f"{r['vin_flops'] / 1e9:.1f}",
                f"{r['full_flops'] / 1e9:.1f}",
                f"{r['flops_ratio']:.2f}",
                f"{r['time_ratio']:.2f} ({low:.2f}–{high:.2f})",
                f"{r['time_over_flops'] - 1:+.0%}",
                f"{r['cpu_time_ratio']:.2f}",
                f"{r['vin_flops_per_second'] / 1e9:.0f}",
                f"{r['full_flops_per_second'] / 1e9:.0f}",
            ]
        )
        if abs(r["time_over_flops"] - 1) > TOLERANCE:
            far.append(f"{r['preset']} at {r['frames']}")
    heads = [
        "preset",
        "frames",
        "VIN GFLOP",
        "full GFLOP",
        "FLOPs ratio",
        "time ratio (range)",
        "time to FLOPs",
        "CPU time ratio",
    ]
    notes = [
        f"Time ratio within {TOLERANCE:.0%} of the FLOPs ratio"
        + (f" except for {', '.join(far)}." if far else " everywhere."),
        *costs_more(records, "flops_ratio"),
        *costs_more(records, "time_ratio"),
    ]
    return Sheet(
        f"One step, VIN against full attention; {hardware}", notes, [*heads, "VIN GFLOP/s", "full GFLOP/s"], rows
    )


def split(records: Sequence[Any], hardware: str) -> Sheet:
    """Where the time of a step goes."""
    kinds = ("attention", "linear", "other")
    rows = []
    for r in records:
        total = sum(r[f"{kind}_seconds"] for kind in kinds)
        rows.append(
            [
                r["preset"],
                str(r["frames"]),
                r["network"],
                *[f"{r[f'{kind}_seconds'] / total:.0%}" for kind in kinds],
                *[f"{r[f'{kind}_flops_per_second'] / 1e9:.0f}" for kind in kinds[:2]],
            ]
        )
    heads = ["preset", "frames", "network", "attention", "linear", "other", "attention GFLOP/s", "linear GFLOP/s"]
    notes = ["Shares of the time. `other` (norms, rotations, activations) has no counted FLOPs and follows the tokens."]
    return Sheet(f"Where the time goes; {hardware}", notes, heads, rows)


def memory(records: Sequence[Any], hardware: str) -> Sheet:
    """Peak of one step."""
    rows = [
        [
            r["preset"],
            str(r["frames"]),
            f"{r['vin_mib']:.0f}",
            f"{r['full_mib']:.0f}",
            f"{r['vin_mib'] / r['full_mib']:.2f}" if r["full_mib"] > 0 else "-",
        ]
        for r in records
    ]
    notes = ["Above weights and inputs; each figure from a process of its own."]
    return Sheet(
        f"Peak memory of one step; {hardware}", notes, ["preset", "frames", "VIN MiB", "full MiB", "ratio"], rows
    )


def sampling(record: Any, hardware: str) -> Sheet:
    """Peak of sampling, long over short."""
    rows = [
        [name, *[f"{x:.0f}" for x in record[key]], f"{record[ratio]:.2f}"]
        for name, key, ratio in (("in all", "mib", "ratio"), ("above the loaded program", "above_mib", "above_ratio"))
    ]
    heads = ["peak MiB", *[f"{n} frames" for n in record["frames"]], "ratio"]
    return Sheet(
        f"Sampling and streaming decode; {hardware}", [_verdict(record["ratio"], LARGEST["sampling"])], heads, rows
    )


def training(record: Any, hardware: str) -> Sheet:
    """Share of a training step that waits for data."""
    rows = [[f"{record['share']:.2%}", *(f"{record[key]:.2f}" for key in ("seconds", "seconds_at_highest"))]]
    heads = ["waits for data", "seconds a step", "seconds at matmul_precision=highest"]
    return Sheet(
        f"Training on cached latents; {hardware}", [_verdict(record["share"], LARGEST["training"])], heads, rows
    )


def help_text(record: Any, hardware: str) -> Sheet:
    """Start-up."""
    rows = [[f"{record['help_seconds']:.2f}", f"{record['imports_seconds']:.2f}", f"{record['ratio']:.2f}"]]
    heads = ["train.py --help, s", "import torch, lightning, hydra, s", "ratio"]
    return Sheet(f"Start-up; {hardware}", [_verdict(record["ratio"], LARGEST["help"])], heads, rows)


SHEETS: dict[str, Callable[[Any, str], Sheet]] = {
    "paper": paper,
    "steps": steps,
    "cores": steps,
    "medium": steps,
    "split": split,
    "memory": memory,
    "sampling": sampling,
    "training": training,
    "help": help_text,
}
"""One for every part, in the order of measuring."""
