"""What each of several processes holds of one video: `python benchmarks/process_memory.py`.

    python benchmarks/process_memory.py                    counted at 480p, and measured on this machine's CPU
    python benchmarks/process_memory.py --parts counted

counted: VIN on dit_xl in bfloat16 at 480 x 832, two steps of sampling as one process of several, on tensors without
values; and what FLOPs and exchanged bytes let expect of a step's time, at an assumed speed of devices and links
(`--peak-tflops`, `--efficiency`, `--node-gb`, `--link-gb`). measured: a thin VIN, whose canvas outweighs its windows,
sampled by 1, 2 and 3 processes; resident memory above what each held before.

"own frames" is what sampling does: a process holds the frames of its windows. "whole canvas" is what it does where a
sampler draws noise or frames are given: all processes hold all frames. Writes benchmarks/results/process_memory.json.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from benchmarks.planning import ASSUMPTIONS
from benchmarks.probes import Peak
from benchmarks.report import Sheet, save, show
from benchmarks.setups import CHANNELS, PAPER, SMALL, Setup, build_network, num_latents
from longtake.cost.counting import Counting
from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers import ClassifierFreeGuidance, Euler
from networks.interfaces import Condition
from networks.processes import ALONE, Processes

STEPS, MIB, GIB = 2, 2**20, 2**30
AT_480P = PAPER._replace(name="dit_xl at 480p", height=60, width=104)
THIN = SMALL._replace(
    name="thin",
    height=32,
    width=32,
    shared=("backbone.width=32", "backbone.num_heads=2", "backbone.depth=1", "interface.depth=1"),
    vin_only=("network.chunk_frames=4", "network.train_local_frames=2", "network.local_frames=2"),
)
WAYS = {"own frames": True, "whole canvas": False}
Record = dict[str, Any]
ASSUMED = ("peak_tflops", "efficiency", "node_gb", "link_gb")


class OneOfMany(Processes):
    """A process whose others are not there: what they would give has the sizes that it would have.

    It counts what it gives itself.
    """

    given = 0

    def _count(self, part: Tensor, times: int) -> None:
        self.given += part.numel() * part.element_size() * times

    def sum(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Of the same sizes. A ring of processes gives each nearly twice what it adds."""
        for part in parts:
            self._count(part, 2)
        return torch.stack(parts).unbind()

    def gather(self, part: Tensor) -> Tensor:
        """As many of them."""
        self._count(part, self.size - 1)
        return torch.stack([torch.empty_like(part) for _ in range(self.size)])

    def from_one(self, rank: int, part: Tensor) -> Tensor:
        """The same; once a video, and not counted."""
        return part

    def trade(self, given: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Of the same sizes."""
        for part in given.values():
            self._count(part, 1)
        return {rank: torch.empty_like(part) for rank, part in given.items()}


def sample(network: Any, setup: Setup, frames: int, processes: Processes, own_frames: bool) -> Tensor:
    """Two guided steps."""
    device = next(network.parameters()).device
    sampler = Euler(num_inference_steps=STEPS, shift=3.0)
    sampler.frame_by_frame = own_frames
    objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    module = SimpleNamespace(network=network, sampler=sampler, objective=objective, training=False)
    module.eval = module.train = lambda *_: None
    latents, features = num_latents(frames), network.backbone.text_features
    generator = None if device.type == "meta" else torch.Generator().manual_seed(0)
    noise = torch.randn(1, CHANNELS, latents, setup.height, setup.width, device=device, generator=generator)
    index = torch.arange(latents, device=device, dtype=torch.float32).unsqueeze(0)
    text = torch.ones(1, setup.text_tokens, features, device=device, dtype=next(network.parameters()).dtype)
    network.spread(processes)
    return generate(
        module,
        noise,
        Condition(index, text, None),
        rollout=SinglePass(network_part=""),
        guidance=ClassifierFreeGuidance(scale=4.0),
    )


def counted(lengths: list[int], sizes: list[int]) -> list[Record]:
    """Of the fullest process."""
    network: Any = build_network(AT_480P, "vin", "meta").to(torch.bfloat16)
    weights = sum(x.numel() * x.element_size() for x in network.parameters())
    known = [*network.parameters(), *network.buffers()]
    records = []
    for frames in lengths:
        canvas = 4 * CHANNELS * num_latents(frames) * AT_480P.height * AT_480P.width
        for at_once in (1, 8):
            network.windows_per_call = at_once
            for size in sizes:
                for way, own_frames in list(WAYS.items())[: None if size > 1 else 1]:
                    fullest, most, flops = 0, 0, 0
                    for rank in {0, size // 2, size - 1}:
                        one = OneOfMany(rank, size) if size > 1 else ALONE
                        with patch("longtake.generation.check_finite"), Counting(known, network) as counting:
                            sample(network, AT_480P, frames, one, own_frames)
                        fullest, most = max(fullest, counting.peak), max(most, getattr(one, "given", 0))
                        flops = max(flops, counting.flops)
                    found = {"frames": frames, "processes": size, "windows_per_call": at_once, "holds": way}
                    sizes_of = {"canvas": canvas, "weights": weights, "tensors": fullest, "given_a_step": most // STEPS}
                    sizes_of["flops_a_step"] = flops // STEPS
                    records.append({**found, **sizes_of})
    return records


def measured(frames: int, sizes: list[int]) -> list[Record]:
    """Each number of processes by itself."""
    records = []
    for size in sizes:
        for way, own_frames in list(WAYS.items())[: None if size > 1 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                start_processes(_join, args=(size, frames, own_frames, folder), nprocs=size, start_method="fork")
                found = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(size)]
            of = {"frames": frames, "processes": size, "holds": way}
            records.append({**of, "canvas_mib": found[0]["canvas"], "mib": [each["above_mib"] for each in found]})
    return records


def _join(rank: int, size: int, frames: int, own_frames: bool, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    torch.manual_seed(0)
    network: Any = build_network(THIN, "vin", "cpu")
    network.windows_per_call = 1
    processes = Processes(rank, size, dist.group.WORLD)
    sample(network, THIN, 65, processes, own_frames)  # what libraries load late
    peak = Peak("cpu")
    made = sample(network, THIN, frames, processes, own_frames)
    found = {**peak.result(), "canvas": made.numel() * made.element_size() / MIB}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def predicted(counted: list[Record], assumed: Mapping[str, float]) -> list[Record]:
    """How much faster a step is by several devices, as if exchange and arithmetic never overlapped.

    assumed: peak_tflops and efficiency of a device; node_gb, link_gb: 10⁹ bytes a second that a process gives, within a
    machine and between machines.
    """
    speed = assumed["peak_tflops"] * assumed["efficiency"] * 1e12
    own = [each for each in counted if each["windows_per_call"] == 1 and each["holds"] == "own frames"]
    alone = {each["frames"]: each["flops_a_step"] / speed for each in own if each["processes"] == 1}
    made = []
    for each in own:
        arithmetic = each["flops_a_step"] / speed
        record = {"frames": each["frames"], "processes": each["processes"], "seconds_a_step": arithmetic}
        for name in ("node_gb", "link_gb"):
            record[name] = alone[each["frames"]] / (arithmetic + each["given_a_step"] / (assumed[name] * 1e9))
        made.append(record)
    return made


def sheets_of(found: Mapping[str, Any]) -> list[Sheet]:
    """A table of each part."""
    made = []
    if "counted" in found:
        rows = [
            [
                *(str(each[name]) for name in ("frames", "windows_per_call", "processes", "holds")),
                f"{each['weights'] / GIB:.2f}",
                f"{each['tensors'] / GIB:.2f}",
                f"{each['given_a_step'] / MIB:.1f}",
            ]
            for each in found["counted"]
        ]
        heads = ["frames", "windows at once", "processes", "holds", "weights, GiB", "tensors, GiB", "gives a step, MiB"]
        notes = ["Tensors at the fullest moment of the fullest process, noise and finished video among them."]
        made.append(Sheet("VIN on dit_xl at 480 x 832, counted", notes, heads, rows))
        assumed = found["assumed"]
        rows = [
            [
                *(str(each[name]) for name in ("frames", "processes")),
                f"{each['seconds_a_step']:.2f}",
                *(f"{each[name]:.2f}" for name in ("node_gb", "link_gb")),
            ]
            for each in found["predicted"]
        ]
        links = [f"times as fast, {assumed[name]:g} GB/s" for name in ("node_gb", "link_gb")]
        notes = [
            f"Devices at {assumed['efficiency']:.0%} of {assumed['peak_tflops']:g} TFLOP/s; arithmetic of the process "
            "with most of it, then what it gives to others, as if the two never overlapped."
        ]
        heads = ["frames", "processes", "arithmetic of a step, s", *links]
        made.append(Sheet("VIN on dit_xl at 480 x 832 by several devices, predicted", notes, heads, rows))
    if "measured" in found:
        rows = [
            [
                *(str(each[name]) for name in ("frames", "processes", "holds")),
                f"{each['canvas_mib']:.0f}",
                ", ".join(f"{mib:.0f}" for mib in each["mib"]),
            ]
            for each in found["measured"]
        ]
        heads = ["frames", "processes", "holds", "canvas, MiB", "each process, MiB"]
        made.append(Sheet("A thin VIN on CPUs, measured", ["Resident memory above what was held before."], heads, rows))
    return made


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("counted", "measured"), default=["counted", "measured"])
    parser.add_argument("--frames", nargs="+", type=int, default=[1025, 4097], help="that are counted")
    parser.add_argument("--measured-frames", type=int, default=2049)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4, 8], help="that are counted")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    for name in ASSUMED:
        about = ASSUMPTIONS[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=about.value, help=about.meaning)
    options = parser.parse_args()
    path = options.output / "process_memory.json"
    found: Record = json.loads(path.read_text()) if path.is_file() else {}
    found |= {"machine": platform.machine(), "torch": torch.__version__}
    if "measured" in options.parts:  # first: forks begin with what is held
        found["measured"] = measured(options.measured_frames, [1, 2, 3])
    if "counted" in options.parts:
        found["counted"] = counted(options.frames, options.processes)
        found["assumed"] = {name: getattr(options, name) for name in ASSUMED}
        found["predicted"] = predicted(found["counted"], found["assumed"])
    sheets = sheets_of(found)
    for sheet in sheets:
        show(sheet, Console())
    save(options.output, "process_memory", found, sheets)


if __name__ == "__main__":
    main()
