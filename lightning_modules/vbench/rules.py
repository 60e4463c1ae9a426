"""What VBench and VBench-Long take, and what they trip over.

Source: VBench's repository: `vbench/__init__.py`, `prompts/README.md`, `vbench2_beta_long/__init__.py` and its
`configs/clip_length_mix.yaml`, as of 2026.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DIMENSIONS = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality", "object_class", "multiple_objects", "human_action", "color"),
    *("spatial_relationship", "scene", "appearance_style", "temporal_style", "overall_consistency"),
)
REFUSED_BY_CUSTOM = (
    *("object_class", "multiple_objects", "scene", "appearance_style", "color", "spatial_relationship"),
)
# what VBench-Long cuts into 10 s: what its table says, and what comes out so because a prompt's longest clip counts
TEN_SECONDS = ("human_action", "temporal_style", "overall_consistency", "aesthetic_quality", "imaging_quality")
MADE_BY_LONG = ("split_clip", "split_scene", "subject_consistency_cat_firstframes_videos")
MOST_NAME_BYTES = 255


class Rules(NamedTuple):
    """How VBench shall be run.

    mode: standard and long for its own prompts (videos under 5 s, and longer ones); custom and long_custom for any.
    dimensions: to be scored.
    samples: videos of each prompt, for its own prompts.
    prompts: its own, by dimension; empty if they are not at hand.
    """

    mode: str
    dimensions: tuple[str, ...]
    samples: int
    prompts: dict[str, tuple[str, ...]]

    @property
    def is_long(self) -> bool:
        """Whether VBench-Long is run."""
        return self.mode.startswith("long")

    @property
    def is_custom(self) -> bool:
        """Whether prompts are the user's."""
        return self.mode.endswith("custom")

    @property
    def clip_seconds(self) -> float:
        """Length of VBench-Long's clips; that of the dimension with the longest."""
        ten = self.mode == "long" and any(name in TEN_SECONDS for name in self.dimensions)
        return 10.0 if ten else 2.0

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of files that are looked at."""
        return (".mp4",) if self.is_long else (".mp4", ".gif")


def make_rules(*, mode: str, dimensions: Sequence[str], samples: int, info: Path | None) -> Rules:
    """Check the choice of mode and dimensions, and read VBench's prompts.

    Args:
        mode: standard, custom, long or long_custom.
        dimensions: some of `DIMENSIONS`.
        samples: videos of each prompt.
        info: VBench_full_info.json of an installed VBench; None if there is none at hand.

    Raises:
        ValueError: there is no such mode or dimension, the mode refuses the dimension, or the file is not VBench's.
    """
    if mode not in ("standard", "custom", "long", "long_custom"):
        raise ValueError(f"vbench={mode}: take standard, custom, long or long_custom")
    for name in dimensions:
        if name not in DIMENSIONS:
            raise ValueError(f"vbench_dimensions: VBench has no {name}; it has {', '.join(DIMENSIONS)}")
        if mode.endswith("custom") and name in REFUSED_BY_CUSTOM:
            raise ValueError(f"vbench_dimensions: {name} needs VBench's own prompts: vbench={mode} refuses it")
    if not dimensions or samples < 1:
        raise ValueError("vbench_dimensions must name one or more, and vbench_samples be at least 1")
    return Rules(mode, tuple(dimensions), samples, {} if info is None else _read_info(info))


def _read_info(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[str]] = {}
        for entry in entries:
            for dimension in entry["dimension"]:
                found.setdefault(dimension, []).append(entry["prompt_en"])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"vbench_info={path} is no VBench_full_info.json: a list of prompt_en and dimension"
        ) from error
    return {dimension: tuple(dict.fromkeys(prompts)) for dimension, prompts in found.items()}


class Name(NamedTuple):
    """A file's name, taken apart: `{prompt}-{number}{suffix}`; None if it has none."""

    prompt: str
    number: int | None
    suffix: str


def split_name(name: str) -> Name:
    """Take a name apart as VBench does."""
    stem, dot, ending = name.rpartition(".")  # no Path: a name that is only planned may hold a slash
    found = re.fullmatch(r"(.*)-(\d+)", stem, re.DOTALL)
    return Name(found[1], int(found[2]), dot + ending) if found else Name(stem, None, dot + ending)


def commands(rules: Rules, videos: Path, prompts: Path) -> list[str]:
    """What to type to have VBench score the folder, a line each dimension."""
    import shlex

    folder, table = shlex.quote(str(videos)), shlex.quote(str(prompts))
    if rules.is_long:
        mode = "long_custom_input" if rules.is_custom else "long_vbench_standard"
        head = f"python vbench2_beta_long/eval_long.py --videos_path {folder} --mode {mode} --dev_flag"
    else:
        head = f"vbench evaluate --videos_path {folder}"
        head += f" --mode=custom_input --prompt_file {table}" if rules.is_custom else ""
    return [f"{head} --dimension {name}" for name in rules.dimensions]
