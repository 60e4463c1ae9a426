"""What the papers' own setups would take: caches, memory of a device, and hours on 8, 64 and 512 devices.

    python benchmarks/planning.py                                        a minute; nothing is trained, nothing is timed
    python benchmarks/planning.py --efficiency 0.5 --passes 20 --peak-tflops 312

FLOPs and bytes are counted by the cost model on the device meta. Hours follow from them and from the assumptions, which
are the program's options and stand in the first table: change one, and the tables follow. Writes
benchmarks/results/planning.json and .md.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra.utils import instantiate
from rich.console import Console

from benchmarks.report import Sheet, save, show
from benchmarks.setups import PAPER, Setup, compose_config
from longtake.cost.counting import on_meta
from longtake.cost.devices import DeviceMemory, Strategy, training_memory
from longtake.cost.report import BACKWARD
from longtake.cost.sampling import VideoSize
from longtake.cost.training import RowSize, row_cost, training_cost
from networks.interfaces import VideoNetwork

DEVICES = (8, 64, 512)
HALF = 2
GIGA, TERA = 1e9, 1e12
Record = dict[str, Any]


class Assumption(NamedTuple):
    """value: the default; meaning: what it is, with its unit; source: where it is from."""

    value: float
    meaning: str
    source: str


ASSUMPTIONS = {
    "peak_tflops": Assumption(989, "10¹² FLOP/s of a device in bfloat16", "NVIDIA, H100 SXM, dense"),
    "efficiency": Assumption(0.4, "share of it that a training reaches", "assumed: never measured here"),
    "memory_gb": Assumption(80, "10⁹ bytes of memory of a device", "NVIDIA, H100 SXM"),
    "node_gb": Assumption(450, "10⁹ bytes a second between devices of a machine, each way", "NVIDIA, NVLink 4"),
    "link_gb": Assumption(50, "10⁹ bytes a second and device between machines", "one 400 Gbit/s port a device"),
    "node_devices": Assumption(8, "devices of a machine", "assumed"),
    "passes": Assumption(10, "how often each video is trained on", "assumed: neither paper says"),
    "batch": Assumption(512, "videos an optimizer step", "assumed: neither paper says"),
    "vin_videos": Assumption(840_000, "videos of VIN, a third each of 64, 128 and 256 frames", "VIN; shares assumed"),
    "lovic_videos": Assumption(1_000_000, "rows of five segments of LoViC", "LoViC says millions; rows assumed"),
    "lovic_segments": Assumption(4, "segments that are remembered", "assumed"),
    "lovic_rate": Assumption(8, "video tokens a context token, the lowest", "assumed: LoViC says any rate"),
}


class Case(NamedTuple):
    """One setup. clip_flops: of forward and backward, mean over the videos; cache_bytes: latents and text of them all.

    memory: of a device by strategy and number, on the longest clip.
    """

    name: str
    parameters: int
    videos: float
    clip_flops: float
    latent_bytes: float
    text_bytes: float
    canvas_bytes: float
    windows: int
    memory: Callable[[Strategy, int], DeviceMemory]


def network_of(setup: Setup, *overrides: str) -> VideoNetwork:
    """On meta, as it trains."""
    cfg = compose_config((*overrides, *setup.shared))
    with torch.device("meta"):
        network: VideoNetwork = instantiate(cfg.network)
    return on_meta(network).requires_grad_(True)


def vin(told: argparse.Namespace, setup: Setup = PAPER, lengths: tuple[int, ...] = (20, 40, 80)) -> Case:
    """Width 1152, an interface of width 4096, 192 x 320 pixels; lengths: latent frames, equally often."""
    network = network_of(setup, "network=vin", *setup.vin_only)
    features = network.backbone.text_features
    sizes = [VideoSize(each, 16, setup.height, setup.width, setup.text_tokens, features) for each in lengths]
    costs = [training_cost(on_meta(network), size, torch.bfloat16) for size in sizes]
    held = {1: costs[-1].bytes}  # activations, by how many devices share out a clip
    mean = sum(lengths) / len(lengths)

    def memory(strategy: Strategy, devices: int) -> DeviceMemory:
        own: Record = {"precision": "bf16-mixed", "strategy": strategy, "devices": devices}
        team = devices if strategy == "chunks" else 1
        if team not in held:
            held[team] = training_memory(network, sizes[-1], **own).activations
        return training_memory(network, None, **own)._replace(activations=held[team])

    return Case(
        name=f"VIN, {setup.name}",
        parameters=sum(p.numel() for p in network.parameters()),
        videos=told.vin_videos,
        clip_flops=BACKWARD * sum(cost.flops for cost in costs) / len(costs),
        latent_bytes=told.vin_videos * HALF * 16 * mean * setup.height * setup.width,
        text_bytes=told.vin_videos * HALF * setup.text_tokens * features,
        canvas_bytes=4 * 16 * mean * setup.height * setup.width,
        windows=network.num_windows(max(lengths)),
        memory=memory,
    )


def lovic(told: argparse.Namespace, setup: Setup = PAPER, frames: int = 13, side: tuple[int, int] = (60, 90)) -> Case:
    """The same DiT at 480 x 720 pixels and 49 frames a segment; the compressor as shipped, at the DiT's width."""
    own = ("network=lovic", "compressor=flexformer_qformer", *(x for x in setup.shared if "latent_fps" not in x))
    network = network_of(setup, *own)
    features = network.backbone.text_features
    row = RowSize(int(told.lovic_segments), frames, 2, told.lovic_rate, 1)
    size = VideoSize(frames, 16, *side, setup.text_tokens, features)
    cost = row_cost(on_meta(network), size, row, torch.bfloat16)
    segments = row.segments + 1

    def memory(strategy: Strategy, devices: int) -> DeviceMemory:
        alone = training_memory(network, None, precision="bf16-mixed", strategy=strategy, devices=devices)
        return alone._replace(activations=cost.bytes)

    return Case(
        name=f"LoViC, {setup.name}",
        parameters=sum(p.numel() for p in network.parameters()),
        videos=told.lovic_videos,
        clip_flops=BACKWARD * cost.flops,
        latent_bytes=told.lovic_videos * segments * HALF * 16 * frames * side[0] * side[1],
        text_bytes=told.lovic_videos * segments * HALF * setup.text_tokens * features,
        canvas_bytes=0,
        windows=1,
        memory=memory,
    )


def hours(case: Case, told: argparse.Namespace, strategy: Strategy, devices: int, team: int) -> Record:
    """Of the whole training: arithmetic, and what is exchanged if nothing of it hides behind arithmetic."""
    speed = told.peak_tflops * TERA * told.efficiency
    clips = case.videos * told.passes
    steps = clips / told.batch
    arithmetic = clips * case.clip_flops / (speed * devices)
    link = (told.node_gb if devices <= told.node_devices else told.link_gb) * GIGA
    weights = 4 * case.parameters
    shares = devices // team
    if strategy == "fsdp2":  # gathered in half precision twice, gradients in float32 once, for each clip of a device
        exchanged = steps * (told.batch / shares) * 2 * weights * (devices - 1) / devices
    else:
        exchanged = steps * 2 * weights * (devices - 1) / devices
    inside = clips / shares * 2 * 2 * case.canvas_bytes / (told.node_gb * GIGA) if team > 1 else 0.0
    return {"arithmetic_hours": arithmetic / 3600, "exchange_hours": (exchanged / link + inside) / 3600}


def planned(case: Case, told: argparse.Namespace) -> list[Record]:
    """A record for each strategy and number of devices."""
    records = []
    for devices in DEVICES:
        strategies: list[tuple[Strategy, int]] = [("ddp", 1), ("fsdp2", 1)]
        strategies += [("chunks", min(case.windows, int(told.node_devices)))] if case.windows > 1 else []
        for strategy, team in strategies:
            memory = case.memory(strategy, team if strategy == "chunks" else devices)
            time = hours(case, told, strategy, devices, team)
            total = sum(time.values())
            records.append(
                {
                    "setup": case.name,
                    "devices": devices,
                    "strategy": strategy if team == 1 else f"chunks={team}",
                    **time,
                    "days": total / 24,
                    "device_hours": total * devices,
                    "device_bytes": memory.device,
                    "activation_bytes": memory.activations,
                    "fits": memory.device < told.memory_gb * GIGA,
                }
            )
    return records


def sheets_of(told: argparse.Namespace, cases: list[Case], records: list[Record]) -> list[Sheet]:
    """Assumptions, setups, and devices."""
    assumed = [[name, f"{getattr(told, name):,g}", each.meaning, each.source] for name, each in ASSUMPTIONS.items()]
    setups = [
        [
            case.name,
            f"{case.parameters / 1e9:.2f}",
            f"{case.videos:,.0f}",
            f"{case.clip_flops / TERA:.1f}",
            f"{case.latent_bytes / TERA:.2f}",
            f"{case.text_bytes / TERA:.2f}",
        ]
        for case in cases
    ]
    rows = [
        [
            record["setup"],
            str(record["devices"]),
            record["strategy"],
            f"{record['arithmetic_hours'] / 24:.2f}",
            f"{record['exchange_hours'] / 24:.2f}",
            f"{record['device_hours']:,.0f}",
            f"{record['device_bytes'] / GIGA:.1f}",
            "yes" if record["fits"] else "no",
        ]
        for record in records
    ]
    return [
        Sheet("Assumptions", ["Each is an option of benchmarks/planning.py."], ["", "", "meaning", "source"], assumed),
        Sheet(
            "Setups",
            ["A clip: forward and backward. Caches in float16. Encoding latents and texts once is not counted."],
            ["", "10⁹ weights", "videos", "TFLOP a clip", "TB of latents", "TB of text"],
            setups,
        ),
        Sheet(
            "Trainings",
            [
                "Days of arithmetic at the assumed efficiency; of exchange as if none of it hid behind arithmetic.",
                "GB: of tensors on one device, one clip at a time, bf16-mixed, Adam and an average; libraries and the "
                "allocator's gaps come on top. Nothing here was run.",
            ],
            ["", "devices", "strategy", "days of arithmetic", "of exchange", "device hours", "GB a device", "fits"],
            rows,
        ),
    ]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, each in ASSUMPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=each.value, help=each.meaning)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    told = parser.parse_args()
    cases = [vin(told), lovic(told)]
    records = [record for case in cases for record in planned(case, told)]
    sheets = sheets_of(told, cases, records)
    for sheet in sheets:
        show(sheet, Console())
    results = {
        "command": f"python benchmarks/planning.py {' '.join(sys.argv[1:])}".strip(),
        "assumptions": {name: getattr(told, name) for name in ASSUMPTIONS},
        "setups": [{key: value for key, value in case._asdict().items() if not callable(value)} for case in cases],
        "trainings": records,
    }
    save(told.output, "planning", results, sheets)


if __name__ == "__main__":
    main()
