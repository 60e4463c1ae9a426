"""What pretrained video models cost at their real sizes, by VIN, LoViC and full attention: counted, not run.

    python benchmarks/pretrained_cost.py                 all families, a few minutes on a CPU, no download
    python benchmarks/pretrained_cost.py --families wan_1_3b ltx_2b
    python benchmarks/pretrained_cost.py --families wan_1_3b --sizes 480p --clip 5 2 8     of vin_wan's longest clips

Prints tables and writes pretrained_cost.json, .csv and .md to benchmarks/results. Nothing is timed: every figure is of
tensors on the device meta. Blocks of a kind cost alike, so that a model of one block of each kind and models with one
more are counted, and the rest follows exactly (`Depths`); so do windows of VIN, whose first is counted, and one more.
"""

import argparse
import copy
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console

from benchmarks.pretrained_recipes import recipes_of, stored_counts
from benchmarks.report import Sheet, markdown, show
from longtake.cost.counting import Counting
from longtake.cost.sampling import ADAM_BYTES, FULL, CanvasCounter, VideoSize
from longtake.cost.training import training_cost
from longtake.rollouts.interfaces import Canvas
from networks.files import whole

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SECONDS = (5, 10, 20, 30, 60, 120)
SIZES = {"480p": (480, 832), "720p": (704, 1280)}  # sides of multiples of 32, which all codecs and patches take
CHUNKS = ((6, 2), (20, 8))
"""Chunk and overlap of VIN, in latents: a small one, and the paper's. Both are even, as CogVideoX 1.5 asks."""
SEGMENT, BESIDE, RATIO, REMEMBERED = 20, 4, 8.0, 5
"""Of LoViC: latents of a segment and of clean ones beside it, tokens a context token, segments remembered at most."""
TRAINED = 2
"""Chunks of the clip whose training is priced."""
TEXT_TOKENS = 64
STEPS = 50
GIB, TERA = 2**30, 1e12
DTYPE = torch.bfloat16


class Family(NamedTuple):
    """backbone, codec, text: configs. hub: whose sizes. depths: its names of numbers of blocks. passes: of guidance.

    factors: pixels of a latent in time and in space.
    """

    backbone: str
    codec: str
    text: str
    hub: str
    depths: tuple[str, ...] = ("num_layers",)
    passes: int = 2
    factors: tuple[int, int] = (4, 8)
    changes: tuple[str, ...] = ()


FAMILIES = {
    "wan_1_3b": Family("wan", "wan", "umt5", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    "wan_14b": Family(
        "wan",
        "wan",
        "umt5",
        "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        changes=("backbone.width=5120", "backbone.num_heads=40"),
    ),
    "wan22_ti2v_5b": Family("wan22_ti2v", "wan22", "umt5", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", factors=(4, 16)),
    "ltx_2b": Family("ltx", "ltx", "ltx", "Lightricks/LTX-Video", factors=(8, 32)),
    "cogvideox_2b": Family("cogvideox_2b", "cogvideox", "cogvideox", "THUDM/CogVideoX-2b"),
    "cogvideox_5b": Family("cogvideox_5b", "cogvideox", "cogvideox", "THUDM/CogVideoX-5b"),
    "cogvideox15_5b": Family("cogvideox15_5b", "cogvideox", "cogvideox", "THUDM/CogVideoX1.5-5B"),
    "hunyuan_13b": Family(
        "hunyuan",
        "hunyuan",
        "hunyuan",
        "hunyuanvideo-community/HunyuanVideo",
        depths=("num_layers", "num_single_layers"),
        passes=1,
    ),
}
Counts = dict[str, float]
"""Figures by name, all of which are sums over blocks, or of the same block whatever the depth."""


class Depths(NamedTuple):
    """Shallow models that stand for a deep one: one block of each kind, and one more of each in turn."""

    shallow: list[dict[str, int]]
    more: list[int]

    @classmethod
    def of(cls, real: Mapping[str, int]) -> "Depths":
        """real: number of blocks of each kind."""
        least = dict.fromkeys(real, 1)
        return cls([least, *({**least, name: 2} for name in real)], [count - 1 for count in real.values()])

    def whole(self, count: Callable[[dict[str, int]], Counts]) -> Counts:
        """What the deep model would count."""
        base, *others = (count(depths) for depths in self.shallow)
        made = dict(base)
        for other, more in zip(others, self.more, strict=True):
            made = {name: value + more * (other[name] - base[name]) for name, value in made.items()}
        return made


def _real_depths(family: Family) -> dict[str, int]:
    kind, sizes = _sizes(family)
    defaults = signature(kind.__init__).parameters
    return {name: int(sizes.get(name, defaults[name].default)) for name in family.depths}


@cache
def _sizes(family: Family) -> tuple[Any, Mapping[str, Any]]:
    import diffusers

    from networks.pretrained import cogvideox, hunyuan, ltx, wan

    known = {name: each for part in (cogvideox, hunyuan, ltx, wan) for name, each in _known(part.FAMILY).items()}
    class_name, sizes = known[family.hub]
    return getattr(diffusers, class_name), sizes


def _known(family: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {name: (family.class_name, sizes) for name, sizes in family.known.items()}


@cache
def _composed(family: Family, changes: tuple[str, ...]) -> Any:
    groups = [f"backbone={family.backbone}", f"codec={family.codec}", f"text={family.text}", *family.changes]
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("evaluate", [*groups, *changes])


def build(family: Family, depths: Mapping[str, int], *changes: str) -> Any:
    """A network on meta, of a shallow model of the family's real widths."""
    kind, sizes = _sizes(family)
    with tempfile.TemporaryDirectory() as folder:
        with torch.device("meta"):
            kind(**{**sizes, **depths}).save_config(Path(folder, "transformer"))
        cfg = copy.deepcopy(_composed(family, changes))
        cfg.backbone.pretrained = folder
        with torch.device("meta"):
            network = instantiate(cfg.network)
    return network, cfg


def vin_of(chunk: int, overlap: int) -> tuple[str, ...]:
    """Settings of VIN with the narrow interface, one window a call."""
    sizes = (
        f"network.chunk_frames={chunk}",
        f"network.train_local_frames={overlap}",
        f"network.local_frames={overlap}",
    )
    return ("network=vin", "interface=narrow", *sizes, "network.windows_per_call=1")


LOVIC = (
    "network=lovic",
    "compressor=flexformer",
    "compressor.width=1024",
    "compressor.num_heads=16",
    f"rollouts.segmentwise.segment_frames={SEGMENT}",
    f"rollouts.segmentwise.window_frames={BESIDE}",
    f"rollouts.segmentwise.max_context={REMEMBERED}",
    f"rollouts.segmentwise.compression_ratio={RATIO}",
)


def _evaluated(network: Any) -> Any:
    return network.to(DTYPE).eval().requires_grad_(False)


def _step(network: Any, video: VideoSize, frames: int) -> Counts:
    counter = CanvasCounter(network, DTYPE)
    counter(video.noise(frames), video.condition(frames, DTYPE), None)
    return {"flops": counter.canvases[0].step.flops, "bytes": counter.canvases[0].step.bytes}


def full_counts(family: Family, video: VideoSize, lengths: list[int]) -> Counts:
    """Parameters of the transformer with adapters, and of each length FLOPs of a step and bytes of its activations."""

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, "network=dit")
        made: Counts = {"parameters": sum(x.numel() for x in network.parameters())}
        network = _evaluated(network)
        for frames in lengths:
            made |= {f"{name}_{frames}": value for name, value in _step(network, video, frames).items()}
        return made

    return Depths.of(_real_depths(family)).whole(count)


def vin_counts(family: Family, video: VideoSize, chunk: int, overlap: int, lengths: list[int]) -> Counts:
    """Of VIN: parameters, those that learn, FLOPs of the opening window, of each further one, and of reads."""

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, *vin_of(chunk, overlap))
        made: Counts = {
            "parameters": sum(x.numel() for x in network.parameters()),
            "learning": sum(x.numel() for x in network.parameters() if x.requires_grad),
        }
        made |= stored_counts(
            lambda dtype: build(family, depths, *vin_of(chunk, overlap), f"backbone.dtype={dtype}")[0]
        )
        network = _evaluated(network)
        one, two = (_step(network, video, frames) for frames in (chunk, 2 * chunk))
        reads = {frames: _read(network, video, frames) for frames in {chunk, 2 * chunk, *lengths}}
        made["opening"] = one["flops"] - reads[chunk]["flops"]
        made["window"] = two["flops"] - reads[2 * chunk]["flops"] - made["opening"]
        made["window_bytes"] = two["bytes"]
        for frames in lengths:
            made |= {f"read_{name}_{frames}": value for name, value in reads[frames].items()}
        return made

    return Depths.of(_real_depths(family)).whole(count) | training_counts(family, video, chunk, overlap)


def training_counts(family: Family, video: VideoSize, chunk: int, overlap: int, chunks: int = TRAINED) -> Counts:
    """Bytes of activations of a step on a clip of so many chunks, with blocks computed again in the backward pass.

    Counted with one block of each kind; of every other one its input is kept, in the type in which tokens flow. By
    window, activations of one window at a time are held, and computed again.
    """
    real = _real_depths(family)
    network, _ = build(family, dict.fromkeys(real, 1), *vin_of(chunk, overlap))
    clip = video._replace(num_latents=chunks * chunk)
    frames = (chunks * chunk + (chunks - 1) * overlap) // network.backbone.frame_patch
    tokens = frames * video.per_frame(network.patch) + chunks * (len(network.interface.tokens) + TEXT_TOKENS)
    blocks = sum(count - 1 for count in real.values())
    window = (chunk + overlap) // network.backbone.frame_patch * video.per_frame(network.patch)
    window += len(network.interface.tokens) + TEXT_TOKENS
    made: Counts = {}
    for name, most, inputs in (("training_bytes", 0, tokens), ("training_bytes_by_window", 1, window)):
        network.train_windows_per_call = most
        kept = blocks * inputs * network.width * DTYPE.itemsize
        made[name] = training_cost(network, clip, DTYPE).bytes + kept
    return made


def _read(network: Any, video: VideoSize, frames: int) -> Counts:
    noisy, condition = video.noise(frames), video.condition(frames, DTYPE)
    time = torch.empty(1, 1, device="meta")
    known = [*network.parameters(), *network.buffers(), noisy, time, condition.frame_index, condition.text]
    with torch.no_grad(), Counting(known) as counting:
        network.read(noisy, time, condition)
    return {"flops": counting.cost.flops, "bytes": counting.cost.bytes}


def lovic_counts(family: Family, video: VideoSize, lengths: list[int]) -> Counts:
    """Of LoViC: of each length FLOPs of all steps, of all memories, and bytes at the fullest moment of a canvas."""

    def count(depths: dict[str, int]) -> Counts:
        network, cfg = build(family, depths, *LOVIC)
        made: Counts = {
            "parameters": sum(x.numel() for x in network.parameters()),
            "learning": sum(x.numel() for x in network.parameters() if x.requires_grad),
        }
        counter = CanvasCounter(_evaluated(network), DTYPE)
        rollout = instantiate(cfg.rollouts.segmentwise)
        for frames in lengths:
            counter.canvases.clear()
            rollout(counter, Canvas(video.noise(frames), video.condition(frames, DTYPE)))
            canvases = counter.canvases
            made[f"steps_{frames}"] = sum(canvas.step.flops for canvas in canvases)
            made[f"memories_{frames}"] = sum(canvas.memory.flops for canvas in canvases)
            made[f"step_{frames}"] = max(canvas.step.flops for canvas in canvases)
            made[f"bytes_{frames}"] = max(
                max(canvas.step.bytes + canvas.kept_bytes, canvas.memory.bytes) for canvas in canvases
            )
        return made

    return Depths.of(_real_depths(family)).whole(count)


def lengths_of(latent_fps: float) -> dict[int, int]:
    """Latents by seconds, in whole tens: lengths that no chunk here exceeds by a frame or two."""
    return {seconds: max(10, round(seconds * latent_fps / 10) * 10) for seconds in SECONDS}


def record_of(name: str, size: str) -> dict[str, Any]:
    """Everything about one family at one size."""
    family = FAMILIES[name]
    height, width = SIZES[size]
    time_factor, side = family.factors
    _, cfg = build(family, dict.fromkeys(family.depths, 1), "network=dit")
    latent_fps = float(cfg.backbone.latent_fps)
    lengths = lengths_of(latent_fps)
    frames = sorted(set(lengths.values()))
    video = VideoSize(0, int(cfg.codec.channels), height // side, width // side, TEXT_TOKENS, int(cfg.text.features))
    full, lovic = full_counts(family, video, frames), lovic_counts(family, video, frames)
    chunked = {chunk: vin_counts(family, video, *chunk, frames) for chunk in CHUNKS}
    calls = STEPS * family.passes

    def canvases(latents: int) -> float:
        return 5 * FULL * video.channels * latents * video.height * video.width

    rows = []
    for seconds, latents in lengths.items():
        asked = {"seconds": seconds, "latents": latents, "frames": (latents - 1) * time_factor + 1}
        weights = 2 * full["parameters"]
        flops = full[f"flops_{latents}"]
        held = full[f"bytes_{latents}"] + canvases(latents)
        rows.append({**asked, "method": "full", "step": flops, "video": calls * flops, "peak": weights + held})
        for (chunk, overlap), found in chunked.items():
            if latents < chunk:
                continue  # one window, which is full attention
            windows = -(-latents // chunk)
            flops = found[f"read_flops_{latents}"] + found["opening"] + (windows - 1) * found["window"]
            held = max(found["window_bytes"], found[f"read_bytes_{latents}"]) + canvases(latents)
            own = {"method": f"vin {chunk}+{overlap}", "step": flops, "video": calls * flops}
            rows.append({**asked, **own, "peak": 2 * found["parameters"] + held})
        flops = lovic[f"memories_{latents}"] + calls * lovic[f"steps_{latents}"]
        held = lovic[f"bytes_{latents}"] + canvases(latents)
        own = {"method": "lovic", "step": lovic[f"step_{latents}"], "video": flops}
        rows.append({**asked, **own, "peak": 2 * lovic["parameters"] + held})
    return {
        "family": name,
        "size": size,
        "height": height,
        "width": width,
        "latent_fps": latent_fps,
        "parameters": full["parameters"],
        "passes": family.passes,
        "blocks": sum(_real_depths(family).values()),
        "training": [
            {
                "chunk": chunk,
                "overlap": overlap,
                "latents": TRAINED * chunk,
                "parameters": found["parameters"],
                "learning": found["learning"],
                "activations": found["training_bytes"],
                "activations_by_window": found["training_bytes_by_window"],
                "bases": {name.removeprefix("base_"): found[name] for name in found if name.startswith("base_")},
                "peak": training_peak(found),
            }
            for (chunk, overlap), found in chunked.items()
        ],
        "rows": rows,
    }


def clip_of(name: str, size: str, chunk: int, overlap: int, chunks: int) -> dict[str, Any]:
    """A record of the training on one kind of clip alone; arguments as `training_counts`."""
    family, (height, width) = FAMILIES[name], SIZES[size]
    side, settings = family.factors[1], vin_of(chunk, overlap)

    def count(depths: dict[str, int]) -> Counts:
        network, _ = build(family, depths, *settings)
        learning = sum(x.numel() for x in network.parameters() if x.requires_grad)
        return {"learning": learning} | stored_counts(
            lambda dtype: build(family, depths, *settings, f"backbone.dtype={dtype}")[0]
        )

    real = _real_depths(family)
    cfg = build(family, dict.fromkeys(real, 1), *settings)[1]
    video = VideoSize(0, int(cfg.codec.channels), height // side, width // side, TEXT_TOKENS, int(cfg.text.features))
    found = Depths.of(real).whole(count) | training_counts(family, video, chunk, overlap, chunks)
    bases = {each.removeprefix("base_"): found[each] for each in found if each.startswith("base_")}
    training = {
        "chunk": chunk,
        "overlap": overlap,
        "latents": chunks * chunk,
        "learning": found["learning"],
        "bases": bases,
    }
    training |= {"activations": found["training_bytes"], "activations_by_window": found["training_bytes_by_window"]}
    return {"family": name, "size": size, "blocks": sum(real.values()), "training": [training]}


def training_peak(found: Counts) -> float:
    """Bytes of weights in bfloat16, of what learns in float32 with gradients, Adam and average, and activations.

    The encoders are elsewhere (cached latents and texts).
    """
    return 2 * found["parameters"] + (ADAM_BYTES + FULL) * found["learning"] + found["training_bytes"]


METHODS = ("full", *(f"vin {chunk}+{overlap}" for chunk, overlap in CHUNKS), "lovic")


def _cells(record: Mapping[str, Any], seconds: int) -> list[str]:
    """Latents, FLOPs of full attention, shares of it and GiB of all methods; a dash where one is none of its own."""
    here = {row["method"]: row for row in record["rows"] if row["seconds"] == seconds}
    full = here["full"]
    cells = [str(seconds), str(full["latents"]), f"{full['step'] / TERA:,.0f}"]
    cells += [f"{here[name]['video'] / full['video']:.2f}" if name in here else "–" for name in METHODS[1:]]
    return cells + [f"{here[name]['peak'] / GIB:.0f}" if name in here else "–" for name in METHODS]


def sheet_of(record: Mapping[str, Any]) -> Sheet:
    """One family at one size as a table: ratios to full attention, since they are what a choice turns on."""
    rows = [_cells(record, seconds) for seconds in SECONDS]
    heads = ["s", "latents", "full, TFLOP a step", *(f"{method} / full" for method in METHODS[1:])]
    heads += [f"{method}, GiB" for method in METHODS]
    trained = "; ".join(
        f"VIN {each['chunk']}+{each['overlap']} of {each['latents']} latents {each['peak'] / GIB:.1f} GiB, of which "
        f"{each['activations'] / GIB:.1f} activations"
        for each in record["training"]
    )
    title = f"{record['family']} at {record['size']}: {record['parameters'] / 1e9:.2f} billion weights"
    return Sheet(title, [f"training: {trained}"], heads, rows)


SHOWN = (5, 20, 120)
"""Seconds that the summary has; the others are in the files."""


def summary_of(records: list[dict[str, Any]], size: str) -> Sheet:
    """All families at one size."""
    rows = []
    for record in (each for each in records if each["size"] == size):
        rows += [[record["family"], *_cells(record, seconds)] for seconds in SHOWN]
    names = [f"VIN {chunk}+{overlap}" for chunk, overlap in CHUNKS] + ["LoViC"]
    heads = ["family", "s", "latents", "full, TFLOP a step", *(f"{name} / full" for name in names)]
    note = (
        "FLOPs of a video as shares of full attention's; GiB: weights and activations at the fullest moment of "
        "sampling, without text encoder and codec."
    )
    return Sheet(f"Sampling at {size}", [note], [*heads, "full, GiB", *(f"{name}, GiB" for name in names)], rows)


def training_of(records: list[dict[str, Any]]) -> Sheet:
    """What the training of VIN on a clip takes."""
    rows = [
        [
            record["family"],
            record["size"],
            f"{each['chunk']}+{each['overlap']}",
            str(each["latents"]),
            f"{each['parameters'] / 1e6:,.0f}",
            f"{each['learning'] / 1e6:,.0f}",
            f"{each['activations'] / GIB:.1f}",
            f"{each['peak'] / GIB:.1f}",
        ]
        for record in records
        for each in record["training"]
    ]
    note = (
        "Millions of parameters, and of those that learn; GiB of activations with blocks computed again, and with "
        "weights, gradients, Adam and average. Latents and texts are cached: no encoder is on the device."
    )
    heads = ["family", "size", "VIN", "latents of a clip", "parameters", "that learn", "activations", "in all"]
    return Sheet(f"Training of {TRAINED} chunks", [note], heads, rows)


def main() -> None:
    """Counts, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--clip",
        nargs=3,
        type=int,
        metavar=("CHUNK", "OVERLAP", "CHUNKS"),
        help="only what cards the training on clips of so many chunks fits, without a file",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of pretrained_cost.json and .csv")
    asked = parser.parse_args()
    if asked.clip is not None:
        found = [clip_of(name, size, *asked.clip) for size in asked.sizes for name in asked.families]
        for sheet in recipes_of(found):
            show(sheet, Console())
        return
    console, file = Console(), asked.output / "pretrained_cost.json"
    asked.output.mkdir(parents=True, exist_ok=True)
    records = json.loads(file.read_text())["records"] if file.is_file() else []  # others stay as they were
    order = [(size, name) for size in SIZES for name in FAMILIES]
    for size in asked.sizes:
        for name in asked.families:
            records = [each for each in records if (each["size"], each["family"]) != (size, name)]
            records.append(record_of(name, size))
            records.sort(key=lambda each: order.index((each["size"], each["family"])))
            show(sheet_of(next(each for each in records if (each["size"], each["family"]) == (size, name))), console)
            write(asked.output, records)  # as far as it has come


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    """Writes pretrained_cost.json, .csv and .md."""
    sheets = [summary_of(records, size) for size in SIZES] + [training_of(records), *recipes_of(records)]
    with whole(folder / "pretrained_cost.md") as part:
        part.write_text("\n\n".join(markdown(sheet) for sheet in sheets if sheet.rows))
    settings = {"dtype": "bfloat16", "steps": STEPS, "text_tokens": TEXT_TOKENS, "segment": SEGMENT, "ratio": RATIO}
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
