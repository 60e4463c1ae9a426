"""Tables of what pretrained families cost, made from pretrained_cost.json, and from which length VIN begins to pay.

Of benchmarks/pretrained_cost.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.pretrained_recipes import GIB, plain_peak
from benchmarks.report import Sheet

TERA = 1e12
SHOWN = (5, 20, 120)
"""Seconds that the summary has; the others are in the files."""
_FAR = 100_000
"""Latents: a method that costs more at this length never pays."""

Record = Mapping[str, Any]


def _methods(records: list[dict[str, Any]]) -> list[str]:
    """All but full attention, in the order in which they were counted."""
    return list(dict.fromkeys(row["method"] for each in records for row in each["rows"] if row["method"] != "full"))


def _said(method: str) -> str:
    return method.replace("vin", "VIN").replace("lovic", "LoViC")


def _cells(record: Record, seconds: int, methods: list[str]) -> list[str]:
    """Latents, FLOPs of full attention, shares of it and GiB of all methods; a dash where one is none of its own."""
    here = {row["method"]: row for row in record["rows"] if row["seconds"] == seconds}
    full = here["full"]
    cells = [str(seconds), str(full["latents"]), f"{full['step'] / TERA:,.0f}"]
    cells += [f"{here[name]['video'] / full['video']:.2f}" if name in here else "–" for name in methods]
    return cells + [f"{here[name]['peak'] / GIB:.0f}" if name in here else "–" for name in ("full", *methods)]


def summary_of(records: list[dict[str, Any]], size: str, seconds: tuple[int, ...] = SHOWN) -> Sheet:
    """All families at one size: ratios to full attention, since they are what a choice turns on."""
    methods = _methods(records)
    rows = [
        [record["family"], *_cells(record, each, methods)]
        for record in records
        if record["size"] == size
        for each in seconds
    ]
    heads = ["family", "s", "latents", "full, TFLOP a step", *(f"{_said(name)} / full" for name in methods)]
    heads += ["full, GiB", *(f"{_said(name)}, GiB" for name in methods)]
    note = (
        "FLOPs of a video as shares of full attention's; GiB: weights and activations at the fullest moment of "
        "sampling, without text encoder and codec."
    )
    return Sheet(f"Sampling at {size}", [note], heads, rows)


def full_step(record: Record) -> Callable[[int], float]:
    """FLOPs of a step of full attention by latents: the parabola through three counted lengths, on which all lie."""
    counted = sorted({row["latents"]: row["step"] for row in record["rows"] if row["method"] == "full"}.items())
    parabola = np.polynomial.Polynomial.fit(*zip(*counted[-3:], strict=True), 2)
    return lambda latents: float(parabola(latents))


def vin_step(record: Record, method: str) -> Callable[[int], float]:
    """FLOPs of a step of VIN by latents: so much a window, and what a read of all of them takes.

    Least squares of a constant, latents and windows over the counted lengths.
    """
    chunk = int(method.split()[1].split("+")[0])
    counted = sorted({row["latents"]: row["step"] for row in record["rows"] if row["method"] == method}.items())

    def terms(latents: int) -> list[float]:
        return [1.0, latents, -(-latents // chunk)]

    lengths, steps = zip(*counted, strict=True)
    found = np.linalg.lstsq(np.array([terms(each) for each in lengths]), np.array(steps), rcond=None)[0]
    return lambda latents: float(found @ terms(latents))


def pays_from(record: Record, method: str) -> int | None:
    """Latents of the shortest video of whole chunks from which on VIN costs less than full attention; None: never."""
    chunk = int(method.split()[1].split("+")[0])
    full, own = full_step(record), vin_step(record, method)
    lengths = range(2 * chunk, _FAR, chunk)
    return next((latents for latents in lengths if own(latents) < full(latents)), None)


def paying(record: Record) -> dict[str, int | None]:
    """Latents from which on each method costs less than full attention: see `paying_of`."""
    here = {(row["method"], row["latents"]): row["video"] for row in record["rows"]}
    found = {}
    for method in _methods([dict(record)]):
        if method.startswith("vin"):
            found[method] = pays_from(record, method)
        else:
            counted = sorted(latents for each, latents in here if each == method)
            found[method] = next((x for x in counted if here[method, x] < here["full", x]), None)
    return found


def paying_of(records: list[dict[str, Any]]) -> Sheet:
    """From which length VIN costs less than full attention, and LoViC, of the lengths that were counted."""
    methods, rows = _methods(records), []
    for record in records:
        found = [record["pays"][method] for method in methods]
        cells = ["–" if each is None else f"{each} ({each / record['latent_fps']:.0f} s)" for each in found]
        rows.append([record["family"], record["size"], *cells])
    note = (
        "Latents of the shortest video of whole chunks from which on a step costs less than full attention's; one just "
        "above whole chunks takes a window more. Full attention is the parabola, and VIN the straight line in latents "
        "and windows, through the counted lengths. LoViC: the shortest counted length whose video costs less."
    )
    return Sheet("Where chunks begin to pay", [note], ["family", "size", *map(_said, methods)], rows)


def trained_of(records: list[dict[str, Any]]) -> Sheet:
    """What the training of VIN on a clip of two chunks takes."""
    rows = [
        [
            record["family"],
            record["size"],
            f"{each['chunk']}+{each['overlap']}",
            str(each["latents"]),
            f"{each['parameters'] / 1e6:,.0f}",
            f"{each['learning'] / 1e6:,.0f}",
            f"{each['activations'] / GIB:.1f}",
            f"{plain_peak(each) / GIB:.1f}",
        ]
        for record in records
        for each in record["training"]
    ]
    note = (
        "Millions of parameters, and of those that learn; GiB of activations with blocks computed again, and with "
        "weights, gradients, Adam and average. Latents and texts are cached: no encoder is on the device."
    )
    heads = ["family", "size", "VIN", "latents of a clip", "parameters", "that learn", "activations", "in all"]
    return Sheet("Training of two chunks", [note], heads, rows)
