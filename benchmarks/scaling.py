"""One video shared out over processes, beside one process that makes it alone: `python benchmarks/scaling.py`.

    python benchmarks/scaling.py --processes 2 --frames 1025 --repeats 5         three minutes on two idle CPU cores
    torchrun --nproc-per-node 4 …                                                is not needed: it starts its processes

Every process computes on one thread. The first makes the video alone while the others wait; then all make it together;
and so on in turns. Stated are the seconds of both, their ratio within a turn, the CPU seconds of one over the most of
any, which a busy machine does not stretch, the bytes that are exchanged in a step of the sampler, peak memory above
what a process held before, and how far the two videos differ. Writes benchmarks/results/scaling.json.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from benchmarks.clock import Seconds, timed
from benchmarks.probes import Peak
from longtake import Pipeline
from longtake.parallel import Mesh, make_mesh
from longtake.rollouts.gen_l_video import GenLVideo

PROMPT = "A marine in red walks"
STEPS = 2
Found = dict[str, Any]


def gen_l_video() -> GenLVideo:
    """As conf/rollout has it."""
    return GenLVideo(window_frames=10, overlap_frames=5, profile="uniform", windows_per_call=4)


def cases(processes: int) -> dict[str, tuple[Callable[[], GenLVideo] | None, dict[str, int]]]:
    """By name: what makes a rollout where it is not the weights' own, and what is shared out."""
    return {
        "VIN's windows": (None, {"chunks": processes}),
        "Gen-L-Video's windows": (gen_l_video, {"chunks": processes}),
        **({"guidance's passes": (None, {"guidance": 2})} if processes == 2 else {}),
    }


class Bytes:
    """Counts what this process gives to others by torch.distributed while it is entered: in steps, and once a video."""

    EACH_STEP = ("all_reduce", "all_gather", "batch_isend_irecv")
    ONCE = ("broadcast",)
    """Finished frames are put together by it, and nothing else."""

    def __enter__(self) -> "Bytes":
        """Begins to count."""
        self.count, self.once, self.kept = 0, 0, {name: getattr(dist, name) for name in (*self.EACH_STEP, *self.ONCE)}
        for name in self.kept:
            setattr(dist, name, partial(self._counted, name))
        return self

    def _counted(self, name: str, first: Any, *rest: Any, **options: Any) -> Any:
        tensors: list[Tensor] = [first]
        if name == "batch_isend_irecv":
            tensors = [each.tensor for each in first if each.op is dist.isend]
        elif name == "all_gather":  # its own, to each of the others
            tensors = [rest[0]] * (len(first) - 1)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if name in self.ONCE:
            self.once += size
        else:
            self.count += size
        return self.kept[name](first, *rest, **options)

    def __exit__(self, *_: object) -> None:
        """Ends counting."""
        for name, collective in self.kept.items():
            setattr(dist, name, collective)


def measure(options: argparse.Namespace) -> dict[str, Found]:
    """What every case takes; called by all processes alike, and whole in the first."""
    rank, found = dist.get_rank(), {}
    for name, (rollout, sizes) in cases(options.processes).items():
        if options.cases and name not in options.cases:
            continue

        def video(mesh: Mesh, rollout: Callable[[], GenLVideo] | None = rollout) -> Any:
            pipe = Pipeline.from_pretrained(options.weights, device="cpu", num_inference_steps=STEPS)
            pipe = pipe if rollout is None else pipe.replace(rollout=rollout())
            if options.windows_per_call is not None:
                pipe.module.network.windows_per_call = options.windows_per_call
            pipe.spread(mesh, num_frames=options.frames)
            return lambda: pipe.latents([PROMPT], num_frames=options.frames, seed=0)

        alone, together = video(Mesh()), video(make_mesh(**sizes))
        made: dict[str, Tensor] = {}
        times: dict[str, list[Seconds]] = {"alone": [], "together": []}
        peaks: dict[str, float] = {}
        for turn in range(options.repeats + 1):  # the first is not counted
            for way, make in (("alone", alone), ("together", together)):
                dist.barrier()
                if way == "alone" and rank:
                    continue
                peak = Peak("cpu")
                with Bytes() as exchanged:
                    made[way], spent = timed(make, "cpu")
                peaks[way] = max(peaks.get(way, 0.0), peak.result()["above_mib"])
                if turn:
                    times[way].append(spent)
        every: list[Any] = [None] * options.processes
        counts = (exchanged.count, exchanged.once)
        dist.all_gather_object(every, ([each.cpu for each in times["together"]], peaks["together"], counts))
        if rank == 0:
            found[name] = summary(made, times, peaks["alone"], every)
    return found


def summary(made: dict[str, Tensor], times: dict[str, list[Seconds]], alone_mib: float, every: list[Any]) -> Found:
    """The figures of a case."""
    ratios = [one.wall / all_.wall for one, all_ in zip(times["alone"], times["together"], strict=True)]
    most = [max(turn) for turn in zip(*(each[0] for each in every), strict=True)]
    busy = [one.cpu / all_ for one, all_ in zip(times["alone"], most, strict=True)]
    return {
        "alone, s": statistics.median(each.wall for each in times["alone"]),
        "together, s": statistics.median(each.wall for each in times["together"]),
        "faster": statistics.median(ratios),
        "faster, range": [min(ratios), max(ratios)],
        "CPU s of one over the most of any": statistics.median(busy),
        "MiB that a process gives to others, a step": max(each[2][0] for each in every) / STEPS / 2**20,
        "once a video": max(each[2][1] for each in every) / 2**20,
        "alone, MiB": alone_mib,
        "together, MiB a process": max(each[1] for each in every),
        "largest difference": float((made["alone"] - made["together"]).abs().max()),
    }


def _join(rank: int, options: argparse.Namespace, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=options.processes)
    found = measure(options)
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def main() -> None:
    """Prints the figures and writes results/scaling.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="vin_freedoom_64")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--frames", type=int, default=1025)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--windows-per-call", type=int, help="of VIN, in place of the weights' own")
    parser.add_argument("--cases", nargs="+", help="some of them, by name")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_join, args=(options, folder), nprocs=options.processes, start_method="fork")
        found = json.loads(Path(folder, "found.json").read_text())
    asked = {name: getattr(options, name) for name in ("weights", "processes", "frames", "repeats", "windows_per_call")}
    options.output.mkdir(parents=True, exist_ok=True)
    result = {**asked, "steps": STEPS, "machine": platform.machine(), "cases": found}
    (options.output / "scaling.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, figures in found.items():
        sys.stdout.write(f"{name}\n" + "".join(f"    {what:36s} {value}\n" for what, value in figures.items()))


if __name__ == "__main__":
    main()
