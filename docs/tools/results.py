"""Pages of results, made from benchmarks/results: no figure is typed twice.

python docs/tools/results.py            writes docs/results/*.md and *.svg, and the marked parts of other pages
python docs/tools/results.py --check    names what is not current, and ends with 1 if there is any

A page is a Jinja template under docs/tools/results; what a template can use is in `globals_`. A part of README.md or
docs/pretrained.md between `<!-- results: NAME -->` and `<!-- /results -->` comes from the template
`readme_NAME.md.jinja` or `pretrained_NAME.md.jinja`.
"""

import csv
import json
import re
import sys
import textwrap
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
from charts import chart

ROOT = Path(__file__).parents[2]
DATA = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "results"
TEMPLATES = Path(__file__).parent / "results"
PARTED = {"readme": ROOT / "README.md", "pretrained": ROOT / "docs" / "pretrained.md"}
"""Pages that are written by hand but for their marked parts."""
MARK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- /results -->)", re.DOTALL)
MINUS = "−"
WIDTH = 120
"""Characters of a line of prose."""

# What methods are called in prose, in the order of the tables.
METHODS = {
    "real": "real walks",
    "real_decoded": "real walks through the codec",
    "real_blurred": "real walks blurred (0.7 pixels)",
    "vin": "VIN, the paper's early fusion",
    "vin_fusion_all": "VIN as released, fused at every step",
    "vin_without_tokens": "VIN without global tokens",
    "full": "full attention, same DiT",
    "autoregressive": "autoregressive windows",
    "anchored": "appearance anchor",
    "free_noise": "FreeNoise",
    "gen_l_video": "Gen-L-Video",
    "spectral_blending": "spectral blending",
    "lovic": "LoViC",
    "lovic_window_only": "LoViC, window alone",
    "hybrid": "hybrid",
}
FAMILIES = {
    "wan_1_3b": "Wan 2.1 1.3B",
    "wan_14b": "Wan 2.1 14B",
    "wan22_ti2v_5b": "Wan 2.2 TI2V 5B",
    "ltx_2b": "LTX-Video 2B",
    "cogvideox_2b": "CogVideoX 2B",
    "cogvideox_5b": "CogVideoX 5B",
    "cogvideox15_5b": "CogVideoX 1.5 5B",
    "hunyuan_13b": "HunyuanVideo 13B",
}
MEASURES = {
    "subject_consistency": ("subject ↑", 3),
    "background_consistency": ("background ↑", 3),
    "motion_smoothness": ("smoothness ↑", 3),
    "mawe": ("MAWE ↓", 2),
    "motion_magnitude": ("motion", 2),
    "scene_cuts": ("scene cuts ↓", 2),
    "seam": ("seam ↓", 2),
    "feature_drift": ("feature drift ↓", 3),
    "colour_drift": ("colour drift ↓", 1),
    "sharpness": ("sharpness", 1),
    "kid": ("KID ↓", 2),
    "likeness": ("likeness ↑", 3),
}


@cache
def results(name: str) -> Any:
    """What a benchmark wrote: benchmarks/results/NAME.json, or the rows of NAME.csv."""
    if (DATA / f"{name}.json").is_file():
        return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def known(name: str) -> bool:
    """Whether a benchmark has written its results."""
    return (DATA / f"{name}.json").is_file()


def ratio(found: dict[str, float]) -> str:
    """The median of ratios of turns, and what half of them lie between."""
    return f"{num(found['median'], 2)} ({num(found['low'], 2)}–{num(found['high'], 2)})"


def num(value: Any, digits: int = 3, sign: bool = False) -> str:
    """A number with so many digits behind the point; the mean of a triple; a dash for nothing."""
    value = value[0] if isinstance(value, list | tuple) else value
    if value in (None, ""):
        return "–"
    text = f"{float(value):{'+' if sign else ''},.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def ci(triple: Any, digits: int = 3, sign: bool = False) -> str:
    """A mean with its 95 % interval: 0.739 (0.704 to 0.772)."""
    if triple is None:
        return "–"
    mean, low, high = (num(each, digits, sign) for each in triple)
    return f"{mean} ({low} to {high})"


def percent(share: Any, digits: int = 0) -> str:
    """A share of 1 as a number of per cent."""
    return num(100 * float(share), digits)


def method(name: str, of: str = "claims") -> dict[str, Any]:
    """The record of a method in a comparison of methods."""
    return next(each for each in results(of)["methods"] if each["method"] == name)


def score(name: str, measure: str, of: str = "claims") -> Any:
    """A method's mean with its interval; None where it has none."""
    return method(name, of)["rows"].get(measure)


def difference(one: str, other: str, measure: str, of: str = "claims") -> Any:
    """How much more one method has of a measure than another, on the same prompts and noise, with its interval."""
    found = [
        each for each in results(of)["claims"] if (each.get("methods"), each["measure"]) == ([one, other], measure)
    ]
    if not found:
        raise LookupError(f"{of}.json compares no {measure} of {one} with {other}")
    return found[0]["difference"]


def verdicts(of: str = "claims") -> str:
    """How many claims hold, how many do not, and how many are unclear, in words."""
    said = [str(each["verdict"]) for each in results(of)["claims"]]
    hold, fail = sum(each.startswith("holds") for each in said), sum(each == "does not hold" for each in said)
    return f"{hold} of {len(said)} comparisons hold, {fail} do not, {len(said) - hold - fail} are unclear"


def gain(weights: str, task: str, condition: str, time: str | None = None) -> Any:
    """What memory gains in loss over the window alone: mean with interval, over all times or at one."""
    records = results("memory_gain")[f"weights/{weights}"]["records"]
    record = next(each for each in records if each["task"] == task and each["condition"] == condition)
    return record["gain"] if time is None else record["gain_by_time"][time]


def loss(weights: str, task: str, condition: str = "window only") -> Any:
    """The validation loss of a task with the window alone."""
    records = results("memory_gain")[f"weights/{weights}"]["records"]
    return next(each for each in records if each["task"] == task and each["condition"] == condition)["loss"]


def kept(model: str, rate: float) -> dict[str, Any] | None:
    """What a compressor keeps at a ratio."""
    records = results("compression")["records"]
    return next((each for each in records if each["model"] == model and each["rate"] == rate), None)


def maze(method: str, task: str = "retrieval-160", of: str = "testbed_lovic_mazes") -> dict[str, str]:
    """A row of a testbed's table."""
    return next(row for row in results(of) if (row["method"], row["task"]) == (method, task))


def colour(case: str, context: str) -> dict[str, Any]:
    """How often the marine keeps his colour."""
    records = results("recall")["weights/lovic_freedoom_64"]["colour"]
    return next(each for each in records if (each["case"], each["context"]) == (case, context))


def family(name: str, size: str) -> dict[str, Any]:
    """What a pretrained family costs at a size."""
    records = results("pretrained_cost")["records"]
    return next(each for each in records if (each["family"], each["size"]) == (name, size))


def recipe(name: str, chunk: int, latents: int) -> dict[str, Any]:
    """What the training of a pretrained family on such clips takes, by card."""
    for each in results("pretrained_recipes")["records"]:
        (training,) = each["training"]
        if (each["family"], training["chunk"], training["latents"]) == (name, chunk, latents):
            return dict(each["cards"])
    raise LookupError(f"pretrained_recipes.json has no {name} in chunks of {chunk} on clips of {latents}")


def changed(found: dict[str, Any] | None) -> str:
    """GiB of a recipe, and in words what it changes; a dash where nothing fits."""
    if found is None:
        return "–"
    words = {
        "network.train_windows_per_call=1": "by window",
        "optimizer=adamw_8bit": "8-bit Adam",
        "backbone.dtype=int8": "int8",
        "backbone.dtype=nf4": "nf4",
    }
    said = ", ".join(words[each] for each in found["settings"].split())
    return num(found["gib"], 1) + (f" ({said})" if said else "")


def globals_() -> dict[str, Any]:
    """What templates can use."""
    own = (results, known, ratio, num, ci, percent, method, score, difference, verdicts, gain, loss, kept, maze, colour)
    own += (family, recipe, changed)
    return {each.__name__: each for each in own} | {"METHODS": METHODS, "MEASURES": MEASURES, "FAMILIES": FAMILIES}


def wrapped(text: str) -> str:
    """Markdown whose paragraphs and points fill their lines; tables, headings and pictures stay."""
    blocks = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        if block.startswith(("|", "#", "!", "```", "<")):
            blocks.append(block)
            continue
        points = re.split(r"\n(?=- )", block)
        filled = [
            textwrap.fill(
                " ".join(point.split()).replace(" %", "\u00a0%"),  # a sign stays with its number
                width=WIDTH,
                subsequent_indent="  " if point.startswith("- ") else "",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for point in points
        ]
        blocks.append("\n".join(filled).replace("\u00a0", " "))
    return "\n\n".join(blocks) + "\n"


def pages() -> dict[Path, str]:
    """Every file that is made, with its text."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    templates = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it makes Markdown of figures
    )
    templates.globals |= globals_()
    made = {}
    for path in sorted(TEMPLATES.glob("*.md.jinja")):
        if path.name.partition("_")[0] not in PARTED:
            made[PAGES / path.stem] = wrapped(templates.get_template(path.name).render())

    def part(of: str, found: re.Match[str]) -> str:
        text = templates.get_template(f"{of}_{found[2]}.md.jinja").render()
        return found[1] + wrapped(text).strip() + "\n" + found[3]

    for name, page in PARTED.items():
        made[page] = MARK.sub(partial(part, name), page.read_text(encoding="utf-8"))
    return made | {PAGES / f"{name}.svg": text for name, text in plots().items()}


def plots() -> dict[str, str]:
    """Every drawing, by name."""
    cost, memory = results("vin_cost_cpu"), [4, 8, 16, 32]
    frames = [each["frames"] for each in cost["paper"]]
    lines = {"FLOPs, like the paper's": [(each["flops_ratio"],) for each in cost["paper"]]}
    for preset in ("dit_s", "dit_tiny"):
        own = [each for each in cost["steps"] if each["preset"] == preset]
        lines[f"FLOPs, {preset}"] = [(each["flops_ratio"],) for each in own]
        lines[f"seconds, {preset}"] = [(each["time_ratio"], *each["time_ratio_spread"]) for each in own]
    drawn = {
        "vin_cost": chart(
            lines, [f"{each:,}" for each in frames], across="frames", up="VIN over full attention", line=1.0
        )
    }
    tasks = {
        "prediction": "prediction",
        "gap_prediction": "prediction over a gap",
        "windowless_prediction": "prediction without a window",
    }
    drawn["memory_gain"] = chart(
        {words: [tuple(gain("lovic_freedoom_64", task, f"rate {rate}")) for rate in memory]
         for task, words in tasks.items()},
        [str(rate) for rate in memory], across="compression ratio", up="loss less than with the window alone", line=0.0,
    )  # fmt: skip
    models = {
        "flexformer_freedoom_64, FlexFormer joint uniform centre": "FlexFormer, 3,000 steps",
        "flexformer_freedoom, FlexFormer joint uniform centre, 1,000 steps": "FlexFormer, 1,000 steps",
        "flexformer_freedoom, FlexFormer qformer uniform centre, 1,000 steps": "Q-Former blocks, 1,000 steps",
        "flexformer_freedoom, MeanPool joint uniform, 1,000 steps": "mean pooling, 1,000 steps",
        "cell means": "cell means, nothing learned",
    }
    rates = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    drawn["compression"] = chart(
        {words: [tuple(kept(model, rate)["nmse"]) for rate in rates] for model, words in models.items()},
        [f"{rate:g}" for rate in rates], across="compression ratio", up="error of the latents over their variance",
    )  # fmt: skip
    ways = ["window", "memory_16", "memory_8", "memory_4"]
    drawn["maze_memory"] = chart(
        {task: [tuple(float(maze(way, task, of)[key]) for key in ("psnr", "psnr_low", "psnr_high")) for way in ways]
         for task, of in (("retrieval-160", "testbed_lovic_mazes"), ("reasoning-160", "testbed_lovic_mazes_unguided"))},
        ["window alone", "ratio 16", "ratio 8", "ratio 4"], across="what is remembered", up="PSNR, dB",
    )  # fmt: skip
    return drawn


def stale() -> list[str]:
    """Files that are not what would be made now."""
    made = pages()
    known = {path for path in PAGES.iterdir() if path.is_file()}
    return sorted(
        str(path.relative_to(ROOT))
        for path in made.keys() | known
        if path not in made or not path.is_file() or path.read_text(encoding="utf-8") != made[path]
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        left = stale()
        print("\n".join(left))
        sys.exit(bool(left))
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
