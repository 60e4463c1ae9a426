"""Which settings let a training of a pretrained family fit a card: the cheapest of them, by what was counted.

Of benchmarks/pretrained_cost.py, which counts and writes the tables.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from benchmarks.report import Sheet
from longtake.cost.devices import BYTES_8BIT, MOMENTS
from longtake.cost.sampling import ADAM_BYTES, FULL
from networks.pretrained.quantized import weight_bytes

GIB = 2**30
CARDS = (24, 48, 80)
"""GiB of a card, as it is sold."""
RESERVE = 2
"""GiB of a card that are left to CUDA, kernels and the allocator's gaps, as tensors alone are counted: our choice."""
HALF = 2
"""Bytes of a number in half precision."""
DTYPES = ("bfloat16", "int8", "nf4")


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


def stored_counts(build: Callable[[str], nn.Module]) -> dict[str, float]:
    """Bytes of a frozen base by its dtype, in all (base_…), which are sums over blocks.

    build: a network on meta by the dtype of its base.
    """
    found = {}
    for dtype in DTYPES:
        network = build(dtype)
        found[f"base_{dtype}"] = float(weight_bytes(network) - weight_bytes(network, learnt=True))
    return found


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
