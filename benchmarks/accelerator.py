"""Everything that needs an accelerator, in one go of at most eight minutes, saved part by part.

    python benchmarks/accelerator.py                              all parts, on a GPU
    python benchmarks/accelerator.py --parts steps kernels        some of them
    python benchmarks/accelerator.py --device cpu --tiny          a rehearsal at tiny sizes, whose figures mean nothing

| part | what it measures |
|---|---|
| kernels | which attention kernels a step of each network calls, by the profiler |
| steps | time, FLOP/s, MFU and peak memory of a sampling step of each network in bfloat16, 65 to 2,049 frames |
| training | MFU of a training step of dit_xl at 8k tokens, as written and compiled |
| peers | benchmarks/peers.py in bfloat16 |
| tests | tests/test_devices.py, and those of precisions and kernels |
| runs | train.py trainer=gpu for some steps, and generate.py precision=bf16-true with its weights |

A part that would begin after the time is up is left out, and named; one that is at work then is ended. Each record is
written to benchmarks/results/accelerator_DEVICE.json as soon as it is made; a part that fails leaves its error there,
and the next one goes on.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import ROOT
from benchmarks.clock import in_turns
from benchmarks.probes import Peak
from benchmarks.setups import compose_config
from lightning_modules.callbacks.throughput import peak_by_name
from longtake.compat.torch import flop_counter
from networks.casting import cast
from networks.compiling import compile_blocks
from networks.files import whole
from networks.interfaces import Condition, Context, SegmentBatch

CHANNELS, TEXT, SEGMENT = 16, 226, 10
NETWORKS = {
    "dit": ("network=dit",),
    "vin": ("network=vin", "network.chunk_frames=20", "network.train_local_frames=8", "network.local_frames=12"),
    "lovic": ("network=lovic", "compressor=flexformer"),
    "vin_lovic": ("network=vin_lovic", "compressor=flexformer"),
}
Record = dict[str, Any]


class Sizes(argparse.Namespace):
    """device, tiny: as told; seconds: of all parts together."""

    device: str
    tiny: bool
    seconds: float

    @property
    def backbone(self) -> str:
        """Of the steps."""
        return "dit_tiny" if self.tiny else "dit_l"

    @property
    def frames(self) -> list[int]:
        """Latent frames: of 65 to 2,049 pixel frames."""
        return [3, 11] if self.tiny else [17, 65, 129, 257, 513]

    @property
    def side(self) -> int:
        """Of the latents; 64 tokens a latent frame, but for a rehearsal."""
        return 4 if self.tiny else 16

    @property
    def peak_tflops(self) -> float | None:
        """Of the device in bfloat16, None where it is not known."""
        return peak_by_name(torch.cuda.get_device_name()) if self.device == "cuda" else None


def build(sizes: Sizes, *overrides: str) -> nn.Module:
    """A network with fresh weights on the device, in float32."""
    cfg = compose_config((f"backbone={sizes.backbone}", "codec.channels=16", *overrides))
    made: nn.Module = instantiate(cfg.network)
    return made.to(sizes.device)


def inputs(sizes: Sizes, network: Any, frames: int) -> tuple[Tensor, Tensor, Condition]:
    """A noisy canvas, its time and condition; where there is memory, with two segments that it remembers."""
    device, side = sizes.device, sizes.side
    index = torch.arange(frames, device=device, dtype=torch.float32).unsqueeze(0)
    features = network.backbone.text_features
    condition = Condition(index, torch.randn(1, TEXT, features, device=device), None)
    if network.has_memory:
        starts = torch.tensor([[-2.0 * SEGMENT, -1.0 * SEGMENT]], device=device)
        segments = SegmentBatch(
            video=torch.randn(1, 2, CHANNELS, SEGMENT, side, side, device=device),
            frame_index=starts[..., None] + torch.arange(SEGMENT, device=device),
            text=torch.randn(1, 2, TEXT, features, device=device),
            text_mask=torch.ones(1, 2, TEXT, device=device, dtype=torch.bool),
            shot=torch.zeros(1, 2, device=device, dtype=torch.long),
            valid=torch.ones(1, 2, device=device, dtype=torch.bool),
        )
        context = Context(segments, torch.zeros(1, 2, device=device), 8.0, complete=True)
        condition = condition._replace(context=(context,), shot=torch.zeros(1, device=device, dtype=torch.long))
    noisy = torch.randn(1, CHANNELS, frames, side, side, device=device)
    return noisy, torch.full((1, 1), 0.7, device=device), condition


def sampling_step(sizes: Sizes, name: str, frames: int) -> Callable[[], object]:
    """One call in bfloat16, with text and memory made before, as in sampling."""
    network: Any = build(sizes, *NETWORKS[name]).eval().requires_grad_(False)
    cast(network, torch.bfloat16)
    noisy, moment, condition = inputs(sizes, network, frames)
    with torch.inference_mode():
        condition = network.encode_text(network.encode_context(condition))
    return partial(torch.inference_mode()(network), noisy, moment, condition)


def rate(sizes: Sizes, flops: float, seconds: float) -> Record:
    """TFLOP/s, and the share of what the device can do."""
    reached = flops / seconds / 1e12
    peak = sizes.peak_tflops
    return {"seconds": seconds, "tflops": reached, "mfu": None if peak is None else reached / peak}


def counted(step: Callable[[], object]) -> int:
    """FLOPs of one step."""
    with torch.compiler.set_stance("force_eager"), flop_counter() as counter:
        step()
    return counter.get_total_flops()


def steps(sizes: Sizes) -> Iterator[Record]:
    """Each network at every length, shortest first."""
    for frames in sizes.frames:
        for name in NETWORKS:
            peak = Peak(sizes.device)
            step = sampling_step(sizes, name, frames)
            flops = counted(step)
            times = in_turns({name: step}, repeats=3, most=10, device=sizes.device)[name]
            seconds = statistics.median(each.wall for each in times)
            yield {
                "network": name,
                "latents": frames,
                "frames": 4 * frames - 3,
                "flops": flops,
                **rate(sizes, flops, seconds),
                "peak_mib": peak.result()["mib"],
            }
            del step


def kernels(sizes: Sizes) -> Iterator[Record]:
    """What the profiler calls a step's attention."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if sizes.device == "cuda" else [])]
    for name in NETWORKS:
        step = sampling_step(sizes, name, sizes.frames[1])
        step()
        with profile(activities=activities) as profiler:
            step()
        found = {event.key: event.count for event in profiler.key_averages() if "attention" in event.key.lower()}
        yield {"network": name, "calls": found}


def training(sizes: Sizes) -> Iterator[Record]:
    """Forward and backward at 8k tokens under autocast, as written and compiled."""
    backbone = "dit_tiny" if sizes.tiny else "dit_xl"
    for compiled in (False, True):
        network: Any = build(sizes, "network=dit", f"backbone={backbone}").train()
        noisy, moment, condition = inputs(sizes, network, 2 if sizes.tiny else 128)  # 64 tokens a latent frame
        if compiled:
            compile_blocks(network, backend="inductor", dynamic=False)

        def step(network: Any = network, given: Any = (noisy, moment, condition)) -> None:
            network.zero_grad(set_to_none=True)
            with torch.autocast(sizes.device, torch.bfloat16):
                loss = network(*given).float().square().mean()
            loss.backward()

        peak = Peak(sizes.device)
        flops = counted(step)
        times = in_turns({"step": step}, repeats=3, most=10, device=sizes.device)["step"]
        seconds = statistics.median(each.wall for each in times)
        yield {"compiled": compiled, **rate(sizes, flops, seconds), "peak_mib": peak.result()["mib"]}


def called(sizes: Sizes, left: float, *arguments: str) -> Record:
    """A program of its own, its last lines, and how it ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if sizes.device == "cuda":
        environment.pop("OMP_NUM_THREADS")
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=left
        )
    except subprocess.TimeoutExpired:
        return {"command": list(arguments), "status": "time is up"}
    said = (done.stdout + done.stderr).splitlines()[-15:]
    return {
        "command": list(arguments),
        "status": done.returncode,
        "seconds": time.perf_counter() - began,
        "said": said,
    }


def peers(sizes: Sizes, left: float) -> Iterator[Record]:
    """Ratios are in the program's own file."""
    own = ["--width", "64", "--depth", "1", "--heads", "2", "--tokens", "64", "--repeats", "1", "--most", "1"]
    large = ["--dtype", "bfloat16", "--width", "1152", "--depth", "8", "--heads", "16", "--tokens", "8100", "--compile"]
    given = own if sizes.tiny else large
    yield called(sizes, left, "benchmarks/peers.py", "--device", sizes.device, *given, "--output", str(sizes.output))


def tests(sizes: Sizes, left: float) -> Iterator[Record]:
    """Those of devices, precisions and kernels."""
    which = ["tests/test_devices.py", "tests/longtake/test_running.py", "tests/networks/test_masks.py"]
    chosen = ["tests/networks/test_masks.py", "-k", "wait_is_seen"] if sizes.tiny else which
    yield called(sizes, left, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *chosen)


def runs(sizes: Sizes, left: float) -> Iterator[Record]:
    """A training on rendered walks, and a video with its weights."""
    folder = sizes.output / "accelerator_run"
    count = 1 if sizes.tiny else 40
    small = ["backbone.width=32", "backbone.num_heads=2", "backbone.depth=1", "interface.depth=1"] if sizes.tiny else []
    trainer = "gpu" if sizes.device == "cuda" else "cpu"
    told = [f"trainer={trainer}", f"trainer.max_steps={count}", f"trainer.val_check_interval={count}", *small]
    began = time.perf_counter()
    yield called(sizes, left, "train.py", *told, f"paths.run_dir={folder / 'run'}", "callbacks.samples=null")
    left -= time.perf_counter() - began
    video = ["num_frames=9" if sizes.tiny else "num_frames=257", "num_inference_steps=2", "precision=bf16-true"]
    weights = [f"weights={folder / 'run'}", f"output={folder / 'video'}", "prompt=a marine in red walks"]
    yield called(sizes, max(left, 1), "generate.py", *weights, *video)


PARTS: dict[str, Callable[..., Iterator[Record]]] = {
    "kernels": kernels,
    "steps": steps,
    "training": training,
    "peers": peers,
    "tests": tests,
    "runs": runs,
}
TIMED = ("peers", "tests", "runs")
"""Parts that run other programs, and end these when time is up."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what takes longer, where the system has alarms."""

    def end(*_: object) -> None:
        raise TimeoutError("time is up")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_parts(sizes: Sizes, wanted: list[str], path: Path) -> Record:
    """Each part in its turn; what is there from before stays, but for the parts that run now."""
    began = time.perf_counter()
    found: Record = json.loads(path.read_text()) if path.is_file() else {}
    cuda = sizes.device == "cuda"
    found |= {
        "machine": torch.cuda.get_device_name() if cuda else platform.machine(),
        "torch": torch.__version__,
        "rehearsal": sizes.tiny,
    }
    for name in wanted:
        left = sizes.seconds - (time.perf_counter() - began)
        if left <= 0:
            found[name] = {"left out": f"the {sizes.seconds:g} seconds were up"}
        else:
            started = time.perf_counter()
            found[name] = {"seconds": 0.0, "records": []}
            try:
                with ended_after(left):
                    for record in PARTS[name](sizes, left) if name in TIMED else PARTS[name](sizes):
                        found[name]["records"].append(record)
                        found[name]["seconds"] = time.perf_counter() - started
                        keep(found, path)
            except Exception as error:  # the other parts are worth having
                found[name]["failed"] = f"{type(error).__name__}: {error}"
        print(f"{name}: {found[name].get('failed') or next(iter(found[name]))}", flush=True)
        keep(found, path)
    return found


def keep(found: Record, path: Path) -> None:
    """Writes what there is so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of a rehearsal")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=460, help="after which no part begins")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    sizes = parser.parse_args(namespace=Sizes())
    sizes.output = sizes.output.absolute()
    if sizes.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --device cpu --tiny rehearses")
    if sizes.device == "cpu":
        torch.set_num_threads(1)
    found = run_parts(sizes, sizes.parts, sizes.output / f"accelerator_{sizes.device}.json")
    if any("failed" in found[name] for name in sizes.parts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
