"""What pretrained video models cost at their real sizes, by VIN, LoViC and full attention: counted, not run.

    python benchmarks/pretrained_cost.py                              what is not counted yet, on a CPU, no download
    python benchmarks/pretrained_cost.py --families wan_1_3b --sizes 480p --again

Writes pretrained_cost.json, .csv and .md to benchmarks/results, part by part: what was stopped goes on where it was.
Nothing is timed: every figure is of tensors on the device meta. Which settings make a training fit a card is told by
pretrained_recipes.py.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

from benchmarks.pretrained_counts import DTYPE, RATIO, SEGMENT, STEPS, sampling_rows, training_of
from benchmarks.pretrained_families import FAMILIES, SIZES, TEXT_TOKENS, latent_fps, real_depths
from benchmarks.pretrained_recipes import recipes_of
from benchmarks.pretrained_tables import paying, paying_of, summary_of, trained_of
from benchmarks.report import Sheet, markdown
from networks.files import whole

RESULTS = Path(__file__).parent / "results"
SECONDS = (5, 10, 20, 30, 60, 120)
CHUNKS = ((6, 2), (20, 8))
"""Chunk and overlap of VIN, in latents: a small one, and the paper's. Both are even, as CogVideoX 1.5 asks."""
METHODS = ("full", *(f"vin {chunk}+{overlap}" for chunk, overlap in CHUNKS), "lovic")
TRAINED = 2
"""Chunks of the clip whose training is counted."""


def lengths_of(latent_fps: float) -> dict[int, int]:
    """Latents by seconds, in whole tens: lengths that no chunk here exceeds by a frame or two."""
    return {seconds: max(10, round(seconds * latent_fps / 10) * 10) for seconds in SECONDS}


def blank(name: str, size: str) -> dict[str, Any]:
    """The record of a family at a size, before anything is counted."""
    height, width = SIZES[size]
    return {
        "family": name,
        "size": size,
        "height": height,
        "width": width,
        "latent_fps": latent_fps(name),
        "passes": FAMILIES[name].passes,
        "blocks": sum(real_depths(FAMILIES[name]).values()),
        "training": [],
        "rows": [],
    }


def completed(record: dict[str, Any]) -> Iterator[str]:
    """Counts what a record lacks, and yields the name of each part when it is there."""
    name, size = record["family"], record["size"]
    lengths = lengths_of(record["latent_fps"])
    for method in METHODS:
        if any(row["method"] == method for row in record["rows"]):
            continue
        by_latents = {row["latents"]: row for row in sampling_rows(name, size, method, sorted(set(lengths.values())))}
        record["rows"] += [
            {"seconds": seconds, **by_latents[latents]} for seconds, latents in lengths.items() if latents in by_latents
        ]
        record["rows"].sort(key=lambda row: (row["seconds"], METHODS.index(row["method"])))
        yield method
    for chunk, overlap in CHUNKS:
        if any(each["chunk"] == chunk and "bases" in each for each in record["training"]):
            continue
        others = [each for each in record["training"] if each["chunk"] != chunk]
        found = training_of(name, size, chunk, overlap, TRAINED)
        record["training"] = sorted([*others, found], key=lambda each: int(each["chunk"]))
        yield f"training {chunk}+{overlap}"


def main() -> None:
    """Counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--again", action="store_true", help="count what is there already too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of pretrained_cost.json and the others")
    asked = parser.parse_args()
    file = asked.output / "pretrained_cost.json"
    asked.output.mkdir(parents=True, exist_ok=True)
    known = json.loads(file.read_text())["records"] if file.is_file() else []
    records = {(each["size"], each["family"]): each for each in known}
    for size in asked.sizes:
        for name in asked.families:
            if asked.again or (size, name) not in records:
                records[size, name] = blank(name, size)
            for part in completed(records[size, name]):
                print(f"{name} at {size}: {part}", flush=True)
                write(asked.output, [records[key] for key in order() if key in records])  # as far as it has come
    write(asked.output, [records[key] for key in order() if key in records])


def order() -> list[tuple[str, str]]:
    """Size and family of records as they are listed."""
    return [(size, name) for size in SIZES for name in FAMILIES]


def sheets_of(records: list[dict[str, Any]]) -> list[Sheet]:
    """All tables of the records that have every part."""
    whole_ones = [
        each
        for each in records
        if len(each["training"]) == len(CHUNKS) and {row["method"] for row in each["rows"]} == set(METHODS)
    ]
    sheets = [*(summary_of(whole_ones, size) for size in SIZES), paying_of(whole_ones), trained_of(whole_ones)]
    return [sheet for sheet in (*sheets, *recipes_of(whole_ones)) if sheet.rows]


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    """Writes pretrained_cost.json, .csv and .md."""
    for record in records:
        record["pays"] = paying(record)
    with whole(folder / "pretrained_cost.md") as part:
        part.write_text("\n\n".join(markdown(sheet) for sheet in sheets_of(records)))
    settings = {"dtype": str(DTYPE).removeprefix("torch."), "steps": STEPS, "text_tokens": TEXT_TOKENS}
    settings |= {"segment": SEGMENT, "ratio": RATIO}
    with whole(folder / "pretrained_cost.json") as part:
        part.write_text(json.dumps({"settings": settings, "records": records}, indent=1) + "\n")
    with whole(folder / "pretrained_cost.csv") as part, part.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        heads = ["seconds", "latents", "frames", "method", "step", "video", "peak"]
        table.writerow(["family", "size", *heads])
        for record in records:
            for row in record["rows"]:
                table.writerow([record["family"], record["size"], *(row[head] for head in heads)])


if __name__ == "__main__":
    main()
