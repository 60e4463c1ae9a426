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
| tests | tests/test_on_device.py and test_devices.py, and those of precisions and kernels |
| runs | train.py trainer=gpu for some steps, and generate.py precision=bf16-true with its weights |

Each part may take what `SECONDS` says of the whole time, and what those before it left; one that is at work then is
ended, with what it started. Each record is written to benchmarks/results/accelerator_DEVICE.json as soon as it is made;
a part that fails leaves its error there, and the next one goes on.
"""

import argparse
import json
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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

from benchmarks.accelerator_programs import PROGRAMS, Record, Told
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


class Sizes(Told):
    """seconds: of all parts together; the rest as in `Told`."""

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
    with torch.device(sizes.device):  # where weights of this size are drawn in no time
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
            step = sampling_step(sizes, name, frames)
            flops = counted(step)
            peak = Peak(sizes.device)
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

        flops = counted(step)
        peak = Peak(sizes.device)
        times = in_turns({"step": step}, repeats=3, most=10, device=sizes.device)["step"]
        seconds = statistics.median(each.wall for each in times)
        yield {"compiled": compiled, **rate(sizes, flops, seconds), "peak_mib": peak.result()["mib"]}


PARTS: dict[str, Callable[..., Iterator[Record]]] = {
    "kernels": kernels,
    "steps": steps,
    "training": training,
    **PROGRAMS,
}
SECONDS = {"kernels": 25, "steps": 95, "training": 90, "peers": 100, "tests": 85, "runs": 65}
"""What is kept free for each part while those before it run; what one leaves, the next may use."""


class TimeIsUp(BaseException):
    """No Exception, which a compiler would take for one of its own."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raises TimeIsUp in what takes longer, where the system has alarms."""

    def end(*_: object) -> None:
        raise TimeIsUp

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


def run_part(name: str, sizes: Sizes, left: float, found: Record, saved: Callable[[], None]) -> None:
    """One part, whose records go into `found`, and are saved, one by one."""
    found |= {"seconds": 0.0, "records": []}
    began = time.perf_counter()
    try:
        with nullcontext() if name in PROGRAMS else ended_after(left):
            for record in PARTS[name](sizes, left) if name in PROGRAMS else PARTS[name](sizes):
                found["records"].append(record)
                found["seconds"] = time.perf_counter() - began
                saved()
    except TimeIsUp:
        found["failed"] = "time is up"
    except Exception as error:  # the other parts are worth having
        found["failed"] = f"{type(error).__name__}: {error}"


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
    share = sizes.seconds / sum(SECONDS[name] for name in wanted)
    for place, name in enumerate(wanted):
        later = share * sum(SECONDS[each] for each in wanted[place + 1 :])
        left = sizes.seconds - (time.perf_counter() - began) - later
        found[name] = {}
        if left > 0:
            run_part(name, sizes, left, found[name], lambda: keep(found, path))
        else:
            found[name] = {"left out": f"the {sizes.seconds:g} seconds were up"}
        print(
            f"{name}: {found[name].get('failed') or found[name].get('left out') or found[name]['seconds']}", flush=True
        )
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
    parser.add_argument("--seconds", type=float, default=460, help="of all parts together")
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
