"""Claims that other benchmarks measure: read from their results, `not measured` where a file is not there."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claiming.verdicts import FAILS, HOLDS, UNCLEAR, UNMEASURED

Record = dict[str, Any]
FEWER, FASTER = 0.25, 0.40
"""The least that VIN's paper claims: share of FLOPs saved, and speed gained."""
RATE = "rate 8"
SEGMENTS, AT_RATE = 8, "8"
MULTI_SHOT = "cut and return"


def read(folder: Path, name: str) -> Any:
    """A result, None if it is not there."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _claim(paper: str, text: str, figure: str, measure: str) -> Record:
    return {
        "paper": paper,
        "claim": text,
        "paper_figure": figure,
        "measure": measure,
        "ours": "–",
        "difference": None,
        "verdict": UNMEASURED,
    }


def curves(folder: Path) -> list[Record]:
    """VIN's FLOPs and time over full attention's by length: at the paper's setting (counted once) and as measured."""
    found: dict[tuple[str, int], Record] = {}
    for path in sorted(folder.glob("vin_cost_*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        device = path.stem.removeprefix("vin_cost_")
        for part in ("paper", "steps"):
            for record in results.get(part) or []:
                setting = "paper" if part == "paper" else f"{record['preset']}, {device}"
                found[setting, record["frames"]] = {
                    "setting": setting,
                    "frames": record["frames"],
                    "flops_ratio": record["flops_ratio"],
                    "time_ratio": record.get("time_ratio"),
                }
    return list(found.values())


def by_length(records: Sequence[Record], key: str, most: float) -> str:
    """From which length on a ratio is at most `most`, up to the longest one measured."""
    met = [record[key] <= most for record in records]
    if all(met):
        return HOLDS
    first = len(met) - next((place for place, good in enumerate(reversed(met)) if not good), 0)
    return f"{HOLDS} from {records[first]['frames']} frames on" if first < len(met) else FAILS


def cost_claims(found: Sequence[Record]) -> Iterable[Record]:
    """FLOPs and speed of a step, one claim for each setting that was measured."""
    kinds = (
        ("flops_ratio", "25–40 % fewer FLOPs than full attention", 1 - FEWER),
        ("time_ratio", "40–75 % faster than full attention", 1 / (1 + FASTER)),
    )
    for key, text, most in kinds:
        some = [record for record in found if record[key] is not None]
        if not some:
            yield _claim("VIN", f"a step: {text}", text.split(" than")[0], key)
        for setting in dict.fromkeys(record["setting"] for record in some):
            records = sorted((r for r in some if r["setting"] == setting), key=lambda record: record["frames"])
            claim = _claim("VIN", f"a step ({setting}): {text}", text.split(" than")[0], key)
            claim["ours"] = "; ".join(f"{r['frames']}: {_change(r[key], key)}" for r in records)
            yield claim | {"verdict": by_length(records, key, most)}


def _change(ratio: float, key: str) -> str:
    if key == "flops_ratio":
        return f"{abs(1 - ratio):.0%} {'fewer' if ratio < 1 else 'more'}"
    return f"{1 / ratio - 1:.0%} faster" if ratio < 1 else f"{ratio - 1:.0%} more time"


def rate_claim(results: Any) -> Record:
    """One compressor at every rate of its training, beside as many cell means, which learn nothing."""
    claim = _claim("LoViC", "one model compresses at any rate", "no figure known", "latent NMSE")
    records = [] if results is None else results["records"]
    means = {record["rate"]: record["nmse"] for record in records if record["model"] == "cell means"}
    own = [r for r in records if "flexformer" in r["model"].lower() and r["trained"] and r["rate"] in means]
    own = [record for record in own if record["model"] == own[0]["model"]]
    if not own:
        return claim
    below = [record["nmse"][2] < means[record["rate"]][1] for record in own]
    above = [record["nmse"][1] > means[record["rate"]][2] for record in own]
    pairs = (f"{r['rate']:g}: {r['nmse'][0]:.2f} ({means[r['rate']][0]:.2f})" for r in own)
    ours = f"{own[0]['model']} (cell means) by rate: {'; '.join(pairs)}"
    return claim | {"ours": ours, "verdict": HOLDS if all(below) else FAILS if any(above) else UNCLEAR}


def task_claims(gain: Any, recall: Any, weights: str) -> Iterable[Record]:
    """Prediction, retrodiction, interpolation and shots from one set of weights, each by what memory is worth in it."""
    own = _of_weights(gain, weights)
    records = [] if own is None else own["records"]
    for task in ("prediction", "retrodiction", "interpolation"):
        claim = _claim("LoViC", f"one model does {task}: memory lowers the loss", "no figure known", "gain in loss")
        some = [r for r in records if (r["task"], r["condition"]) == (task, RATE)]
        yield _gained(claim, some, "loss lower by {:.4f} at rate 8")
    claim = _claim("LoViC", "one model does several shots: the marine keeps his colour", "no figure known", "kept")
    own = _of_weights(recall, weights)
    some = [r for r in (own or {}).get("colour", []) if (r["case"], r["context"]) == (MULTI_SHOT, "memory")]
    yield _gained(claim, some, "share of frames kept higher by {:.2f} after a cut and return")


def _of_weights(results: Any, weights: str) -> Any:
    """What a result says of weights, by the last part of their path."""
    if results is None:
        return None
    return next((value for key, value in results.items() if key != "request" and Path(key).name == weights), None)


def _gained(claim: Record, records: Sequence[Mapping[str, Any]], text: str) -> Record:
    if not records or records[0]["gain"] is None or records[0]["gain"][0] is None:
        return claim
    mean, low, high = records[0]["gain"]
    verdict = HOLDS if low > 0 else FAILS if high < 0 else UNCLEAR
    return claim | {"ours": text.format(mean), "difference": [mean, low, high], "verdict": verdict}


def figure_2(folder: Path) -> Iterable[Record]:
    """Memory and time of a step with compressed context against full context, at the most segments."""
    text = "Figure 2: a step takes less time and memory than with full context"
    figure = "numbers unknown; at 8 segments and r = 8 token counts give 4.3 times fewer tokens"
    paths = sorted(folder.glob("lovic_cost_*.json"))
    if not paths:
        yield _claim("LoViC", text, figure, "time and memory")
    for path in paths:
        device = path.stem.removeprefix("lovic_cost_")
        steps = [r for r in read(folder, path.stem)["steps"] if (r["way"], r["kind"]) == (AT_RATE, "forward")]
        claim = _claim("LoViC", f"{text} ({device})", figure, "time and memory")
        if not steps:
            yield claim
            continue
        last = max(steps, key=lambda record: record["segments"])
        ours = f"{last['segments']} segments, r = 8: time {last['time_ratio']:.2f}, memory {last['memory_ratio']:.2f}"
        worse = [last[key] >= 1 for key in ("time_ratio", "memory_ratio")]
        yield claim | {"ours": f"{ours} of full", "verdict": FAILS if all(worse) else UNCLEAR if any(worse) else HOLDS}


def claims_of_files(folder: Path, lovic: str) -> list[Record]:
    """All of them; lovic: name of LoViC's weights in the results."""
    tasks = task_claims(read(folder, "memory_gain"), read(folder, "recall"), lovic)
    return [*cost_claims(curves(folder)), rate_claim(read(folder, "compression")), *tasks, *figure_2(folder)]
