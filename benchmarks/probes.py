"""Peak memory, each figure from a process of its own: `python -m benchmarks.probes step dit_tiny vin 257 cpu`."""

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longtake.process import peak_resident_gib, settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra.utils import instantiate

from benchmarks import ROOT
from benchmarks.setups import CHANNELS, SETUPS, SMALL, build_network, compose_config, example

CLEAR_REFS = Path("/proc/self/clear_refs")
MIB = 2**20


class Peak:
    """Memory above what was held at the start, in MiB: of the CUDA allocator, or resident in this process.

    On Linux the high-water mark is read from /proc and can be set back; ru_maxrss, used elsewhere, cannot be, and
    there begins at the size that the parent had.
    """

    def __init__(self, device: str) -> None:
        """Sets the mark back and notes what is held now."""
        self.device = device
        gc.collect()
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        elif CLEAR_REFS.exists():
            # What was freed but not given back to the system would be used again unseen.
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
            CLEAR_REFS.write_text("5")
        self.before = self.total()

    def total(self) -> float:
        """The highest use since the start."""
        if self.device == "cuda":
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() / MIB
        return 1024 * peak_resident_gib()

    def result(self) -> dict[str, float]:
        """mib: in all; above_mib: above what was held at the start."""
        total = self.total()
        return {"mib": total, "above_mib": total - self.before}


@torch.no_grad()
def step(setup: str, network: str, num_frames: str, device: str) -> dict[str, float]:
    """One denoising step; a step on a single latent frame before it loads what libraries load late."""
    module = build_network(SETUPS[setup], network, device)
    module(*example(SETUPS[setup], 1, device))
    inputs = example(SETUPS[setup], int(num_frames), device)
    peak = Peak(device)
    module(*inputs)
    return peak.result()


def sampling(num_frames: str, device: str) -> dict[str, float]:
    """Two steps of the small preset, then streaming decode by the untrained codec into an mp4."""
    from longtake.generation import generate
    from longtake.video import write_video

    cfg = compose_config(("codec=causal", "sampler.num_inference_steps=2"))
    module, codec = instantiate(cfg.lightning_module).to(device), instantiate(cfg.codec).eval().to(device)
    assert codec.channels == CHANNELS

    def sample(frames: int, path: Path) -> None:
        noise, _, condition = example(SMALL, frames, device)
        latents = generate(
            module, noise, condition, rollout=instantiate(cfg.rollout), guidance=instantiate(cfg.guidance)
        )
        with torch.no_grad():
            write_video(path, (piece[0].cpu() for piece in codec.decode_stream(latents)), fps=cfg.video.fps)

    with tempfile.TemporaryDirectory() as folder:
        sample(5, Path(folder) / "warm.mp4")
        peak = Peak(device)
        sample(int(num_frames), Path(folder) / "video.mp4")
        return peak.result()


PROBES: dict[str, Callable[..., dict[str, float]]] = {"step": step, "sampling": sampling}


def in_fresh_process(probe: str, *arguments: Any) -> dict[str, float]:
    """Runs a probe by itself and returns what it prints."""
    command = [sys.executable, "-m", "benchmarks.probes", probe, *map(str, arguments)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])) + "\n")
