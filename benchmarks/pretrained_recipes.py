"""Which settings let a training of a pretrained family fit a card: the cheapest of them, by what was counted.

    python benchmarks/pretrained_recipes.py                           of the clips of CLIPS, on a CPU, no download
    python benchmarks/pretrained_recipes.py --clip wan_1_3b 5 2 8     of others: FAMILY CHUNK OVERLAP CHUNKS, prints

Writes pretrained_recipes.json and .md to benchmarks/results, clip by clip: what was stopped goes on where it was.
Nothing is timed or run: bytes are of tensors on the device meta.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

from rich.console import Console

from benchmarks.pretrained_counts import training_of
from benchmarks.pretrained_families import FAMILIES, SIZES, real_depths
from benchmarks.report import Sheet, save, show
from longtake.cost.devices import BYTES_8BIT, MOMENTS
from longtake.cost.sampling import ADAM_BYTES, FULL

RESULTS = Path(__file__).parent / "results"
SIZE = "480p"
CLIPS = (
    ("wan_1_3b", 5, 2, 8),  # the longest of vin_wan
    ("wan_1_3b", 20, 8, 4),  # the longest of vin_wan_long
    ("wan_14b", 5, 2, 8),
    ("wan22_ti2v_5b", 20, 8, 4),  # the longest of vin_wan22
    ("ltx_2b", 20, 8, 2),
    ("ltx_2b", 20, 8, 4),  # the longest of vin_ltx
    ("cogvideox_2b", 10, 4, 4),
    ("cogvideox_5b", 10, 4, 4),  # the longest of vin_cogvideox
    ("cogvideox15_5b", 10, 4, 4),
    ("hunyuan_13b", 6, 2, 2),
    ("hunyuan_13b", 20, 8, 2),  # of vin_hunyuan
)
"""Family, chunk and overlap in latents, and chunks of a clip."""
GIB = 2**30
CARDS = (24, 48, 80)
"""GiB of a card, as it is sold."""
RESERVE = 2
"""GiB of a card that are left to CUDA, kernels and the allocator's gaps, as tensors alone are counted: our choice."""
HALF = 2
"""Bytes of a number in half precision."""


class Recipe(NamedTuple):
    """What is changed of a family's experiment: the base's dtype, the optimizer, and whether windows run one by one."""

    dtype: str = "bfloat16"
    optimizer: str = "adamw"
    by_window: bool = False

    @property
    def settings(self) -> str:
        """As typed."""
        said = ["network.train_windows_per_call=1"] * self.by_window
        said += [f"optimizer={self.optimizer}"] * (self.optimizer != "adamw")
        said += [f"backbone.dtype={self.dtype}"] * (self.dtype != "bfloat16")
        return " ".join(said)


RECIPES = (
    Recipe(),
    Recipe(by_window=True),
    Recipe(by_window=True, optimizer="adamw_8bit"),
    Recipe("int8", "adamw_8bit", by_window=True),
    Recipe("nf4", "adamw_8bit", by_window=True),
)
"""In the order in which they are tried. Source: our choice: what changes the numbers least comes first. Windows one by
one cost a forward pass more; moments of 8 bits and weights of 8 and 4 bits round."""


def peak_of(training: Mapping[str, Any], recipe: Recipe, blocks: int) -> float:
    """Bytes of a training step at its fullest moment.

    Args:
        training: of a record.
        recipe: what is changed.
        blocks: of the transformer: int8 puts a block's matrices together in bfloat16 for its backward pass, nf4 no
            more than one of them, for which as much is allowed.
    """
    moments = MOMENTS * FULL if recipe.optimizer == "adamw" else BYTES_8BIT
    # weight, gradient, average in float32, and autocast's copy in half precision
    of_learnt = (ADAM_BYTES - MOMENTS * FULL + moments + FULL + HALF) * training["learning"]
    whole = 0.0 if recipe.dtype == "bfloat16" else training["bases"]["bfloat16"] / blocks
    activations = training["activations_by_window" if recipe.by_window else "activations"]
    return float(training["bases"][recipe.dtype] + of_learnt + activations + whole)


def plain_peak(training: Mapping[str, Any]) -> float:
    """Of a step in bfloat16 with AdamW, all windows of a clip at once."""
    return peak_of(training, RECIPES[0], 1)


def fitting(training: Mapping[str, Any], card: int, blocks: int) -> tuple[Recipe, float] | None:
    """The first recipe that fits a card of so many GiB, and its bytes; None where none does."""
    for recipe in RECIPES:
        peak = peak_of(training, recipe, blocks)
        if peak <= (card - RESERVE) * GIB:
            return recipe, peak
    return None


def recipes_of(records: list[dict[str, Any]]) -> list[Sheet]:
    """For each size what each family takes on each card; records without the counts are left out."""
    sheets = []
    for size in dict.fromkeys(record["size"] for record in records):
        rows = []
        for record in (each for each in records if each["size"] == size):
            for training in record["training"]:
                if "bases" not in training:
                    continue
                found = [fitting(training, card, record["blocks"]) for card in CARDS]
                cells = ["–" if each is None else _cell(*each) for each in found]
                chunks = f"{training['chunk']}+{training['overlap']}"
                rows.append([record["family"], chunks, str(training["latents"]), *cells])
        note = (
            f"GiB of a training, and what is changed for it: the first that leaves {RESERVE} GiB of the "
            "card free. by window: network.train_windows_per_call=1; 8-bit Adam: optimizer=adamw_8bit; int8, nf4: "
            "backbone.dtype. – fits by none of them. Latents and texts are cached."
        )
        heads = ["family", "VIN", "latents of a clip", *(f"{card} GB" for card in CARDS)]
        sheets.append(Sheet(f"Recipes at {size}", [note], heads, rows))
    return sheets


def _cell(recipe: Recipe, peak: float) -> str:
    words = ["by window"] * recipe.by_window + ["8-bit Adam"] * (recipe.optimizer != "adamw")
    words += [recipe.dtype] * (recipe.dtype != "bfloat16")
    return f"{peak / GIB:.1f}" + (f" ({', '.join(words)})" if words else "")


def record_of(name: str, chunk: int, overlap: int, chunks: int) -> dict[str, Any]:
    """What a training on one kind of clip takes, and on each card the first recipe that fits, or None."""
    training, blocks = training_of(name, SIZE, chunk, overlap, chunks), sum(real_depths(FAMILIES[name]).values())
    cards: dict[str, Any] = {}
    for card in CARDS:
        found = fitting(training, card, blocks)
        cards[str(card)] = None if found is None else {"settings": found[0].settings, "gib": found[1] / GIB}
    record = {"family": name, "size": SIZE, "height": SIZES[SIZE][0], "width": SIZES[SIZE][1], "blocks": blocks}
    return record | {"chunks": chunks, "training": [training], "cards": cards}


def main() -> None:
    """Counts, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", nargs=4, metavar=("FAMILY", "CHUNK", "OVERLAP", "CHUNKS"), help="of one, no file")
    parser.add_argument("--again", action="store_true", help="count what is there already too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of pretrained_recipes.json and .md")
    asked = parser.parse_args()
    if asked.clip is not None:
        name, *sizes = asked.clip
        if name not in FAMILIES:
            parser.error(f"no family is called {name}: take one of {', '.join(FAMILIES)}")
        for sheet in recipes_of([record_of(name, *map(int, sizes))]):
            show(sheet, Console())
        return
    file = asked.output / "pretrained_recipes.json"
    known = json.loads(file.read_text())["records"] if file.is_file() and not asked.again else []
    records = {_clip(each): each for each in known}
    for clip in CLIPS:
        if clip in records:
            continue
        records[clip] = record_of(*clip)
        print(*clip, flush=True)
        listed = [records[each] for each in CLIPS if each in records]
        save(asked.output, "pretrained_recipes", {"reserve_gib": RESERVE, "records": listed}, recipes_of(listed))


def _clip(record: Mapping[str, Any]) -> tuple[str, int, int, int]:
    (training,) = record["training"]
    return record["family"], training["chunk"], training["overlap"], record["chunks"]


if __name__ == "__main__":
    main()
