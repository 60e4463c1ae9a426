"""What VBench and VBench-Long take, and what they trip over.

Source: VBench's repository: `vbench/__init__.py`, `prompts/README.md`, `vbench2_beta_long/__init__.py` and its
`configs/clip_length_mix.yaml`, as of 2026.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
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
# folders that VBench-Long makes beside the videos; one name is misspelt there
MADE_BY_LONG = (
    *("split_clip", "split_scene", "temporal_filtered_cilps"),
    *("subject_consistency_cat_firstframes_videos", "background_consistency_cat_firstframes_videos"),
)
MOST_NAME_BYTES = 255
CLIP_ENDING = "_full"  # the longest that VBench-Long puts before the suffix of a clip; most are _000, _001, …
SCENE_ENDING = "-Scene-999_000"  # with --use_semantic_splitting
LOOKED_AT = 5  # videos of a prompt: all that VBench knows, and VBench-Long's default


class Rules(NamedTuple):
    """How VBench shall be run.

    mode: standard and long for its own prompts (videos under 5 s, and longer ones); custom and long_custom for any.
    dimensions: to be scored.
    samples: videos of each prompt, for its own prompts; VBench itself picks from more than five for
        temporal_flickering alone.
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

    def wanted(self, prompt: str) -> int:
        """How many videos of a prompt are made use of; more than five only where static ones are picked from them."""
        of_flickering = "temporal_flickering" in self.dimensions and (
            not self.prompts or prompt in self.prompts.get("temporal_flickering", ())
        )
        return self.samples if self.is_long or of_flickering else min(self.samples, LOOKED_AT)

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
            raise ValueError(
                f"vbench_dimensions: {name} needs VBench's own prompts, which vbench={mode} has not: leave it out"
            )
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
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(
            f"vbench_info={path} is no VBench_full_info.json, a list of prompt_en and dimension: give VBench's own"
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


def commands(rules: Rules, output: Path) -> list[str]:
    """What to type to have VBench score the videos: a line each dimension, and one for its filter where it has one.

    Args:
        rules: how VBench shall be run.
        output: folder with `videos`, `prompts.json` and, for VBench-Long on its own prompts, `videos_first.py`.
    """
    if rules.is_long:
        return [_long_command(rules, output, name) for name in rules.dimensions]
    table = f" --mode=custom_input --prompt_file {quote(str(output / 'prompts.json'))}" if rules.is_custom else ""
    lines = []
    for name in rules.dimensions:
        videos = output / "videos"
        if name == "temporal_flickering" and not rules.is_custom:
            static = output / "static"
            lines.append(f"vbench static_filter --videos_path {quote(str(videos))} --result_path {quote(str(static))}")
            videos = static / "filtered_videos"
        lines.append(f"vbench evaluate --videos_path {quote(str(videos))}{table} --dimension {name}")
    return lines


def _long_command(rules: Rules, output: Path, dimension: str) -> str:
    program, mode = "vbench2_beta_long/eval_long.py", "long_custom_input"
    if not rules.is_custom:
        program, mode = f"{quote(str(output / 'videos_first.py'))} {program}", "long_vbench_standard"
    line = f"python {program} --videos_path {quote(str(output / 'videos'))} --mode {mode} --dev_flag"
    if not rules.is_custom and rules.samples != LOOKED_AT:
        line += f" --num_of_samples_per_prompt {rules.samples}"
    if not rules.is_custom and dimension == "temporal_flickering":
        line += " --static_filter_flag"
    return f"{line} --dimension {dimension}"
