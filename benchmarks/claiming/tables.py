"""The tables of `claims`: methods by rows of the report card, and claims with their verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.claiming.claims import SHOWN
from benchmarks.claiming.methods import REAL, SAME_AS
from benchmarks.claiming.nearness import KID, LIKENESS
from benchmarks.claiming.references import SIGMA
from benchmarks.claiming.verdicts import FAILS, HOLDS, UNCLEAR, UNMEASURED
from benchmarks.report import Sheet
from benchmarks.trained import cell

Record = Mapping[str, Any]


def method_sheet(results: Record) -> Sheet:
    """One row for each method, real walks first."""
    found = results["methods"]
    shown = [name for name in SHOWN if name != "seconds" and any(name in record["rows"] for record in found)]
    rows = []
    for record in found:
        cells = [cell(record["rows"][name], SHOWN[name].digits) if name in record["rows"] else "-" for name in shown]
        seconds = "-" if record["seconds"] is None else f"{record['seconds']:.1f}"
        tflop = "-" if record["tflop"] is None else f"{record['tflop']:.3f}"
        rows.append([record["method"], str(len(record["videos"])), *cells, seconds, tflop])
    heads = [f"{SHOWN[name].head} {SHOWN[name].arrow}".strip() for name in shown]
    request = results["request"]
    notes = [
        f"{request['videos']} {_prompts(request)} of {request['split']} walks, {request['num_frames']} frames, "
        f"{request['steps']} steps, text guidance 1.5, the same noise for all; 95 % intervals over levels. Seconds: "
        "median of a video, decoding included, on whatever else the machine did; TFLOP: predicted for a video.",
        "A still scores 1 in all consistencies and the smoothness, and a blur raises the smoothness and lowers MAWE: "
        "read them beside motion, sharpness and the real walks, through the codec above all. Features and flow are "
        "those that need no download, so figures are not VBench's.",
        *_nearness_notes(results),
        "real_decoded: the walks through the codec alone, by which every method decodes; real_blurred: under a "
        f"Gaussian of {SIGMA} pixels, to see what a measure makes of a blur.",
        "The paper's own setting, so not made again: "
        + ", ".join(f"{name} is {method}" for name, method in SAME_AS.items())
        + ".",
    ]
    if results["skipped"]:
        notes.append(f"Skipped, as their weights are not there: {', '.join(results['skipped'])}.")
    title = "Methods on the same prompts and noise"
    return Sheet(title, notes, ["method", "videos", *heads, "seconds", "TFLOP"], rows)


def _prompts(request: Record) -> str:
    """What the videos were asked for by; runs of before short captions do not say."""
    return "short prompts, silent about colour, light and things," if request.get("captions") == "short" else "prompts"


def _nearness_notes(results: Record) -> list[str]:
    """What no blur wins, and how it was measured."""
    notes = []
    if any("sharpness" in record["rows"] for record in results["methods"]):
        notes.append(
            "Sharpness: standard deviation of the Laplacian in grey levels; a blur has less than the real walks, noise "
            "more, and neither end is best."
        )
    if any(KID in record["rows"] or LIKENESS in record["rows"] for record in results["methods"]):
        how = results["nearness"]
        notes.append(
            f"{SHOWN[KID].head}: kernel distance to the walks of the same prompts, unbiased, 0 for the same source, by "
            f"{how['features']} ({how['dimensions']} features), {how['sampling']}. {SHOWN[LIKENESS].head}: centred "
            "cosine of these features with the prompt's own walk, minus that with other levels' walks; 0 for what "
            "shows the same whatever the prompt. Real: another walk of each level, of another caption."
        )
    return notes


def claim_sheet(results: Record) -> Sheet:
    """One row for each claim."""
    rows = []
    for record in results["claims"]:
        difference = "-" if record["difference"] is None else cell(record["difference"], _digits(record["measure"]))
        head = SHOWN[record["measure"]].head if record["measure"] in SHOWN else record["measure"]
        said = [record["paper"], record["claim"], record["paper_figure"], head]
        real = record.get("real")
        beside = "-" if real is None else f"{real:.{_digits(record['measure'])}f}"
        rows.append([*said, record["ours"], beside, difference, record["verdict"]])
    count = _count([record["verdict"] for record in results["claims"]])
    compared = sum(record["difference"] is not None for record in results["claims"])
    notes = [
        f"{count}. Difference: first method minus second, over the same prompts and noise, with its 95 % interval over "
        f"levels; `{HOLDS}` and `{FAILS}` where it excludes 0, as by chance one in twenty of {compared} would.",
        "Real: the walks that the prompts describe. A method may lie beyond them, where more of a measure is no gain: "
        "stillness raises consistency, blur raises smoothness and lowers MAWE.",
        "The papers' figures come from large models and other videos: compare signs, not sizes; ~ is read off a plot. "
        "F_local and keyframes are changed in sampling alone, on weights trained with 4 frames and 1.0 s.",
    ]
    heads = ["paper", "claim", "paper's figure", "measure", "ours", "real", "difference", "verdict"]
    return Sheet("What the papers claim, measured here", notes, heads, rows)


def _digits(measure: str) -> int:
    return SHOWN[measure].digits if measure in SHOWN else 4


def _count(verdicts: Sequence[str]) -> str:
    kinds = Counter(HOLDS if verdict.startswith(HOLDS) else verdict for verdict in verdicts)
    return ", ".join(f"{kinds[kind]} {kind}" for kind in (HOLDS, FAILS, UNCLEAR, UNMEASURED) if kinds[kind])


def in_order(records: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Records by the order of methods, real walks and what was made of them first."""
    first = sorted((name for name in records if name not in names), key=lambda name: name != REAL)
    return [records[name] for name in (*first, *names) if name in records]
