"""How fast a run is, and how long it waits."""

import time
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer

from longtake.compat.lightning import data_place
from longtake.compat.torch import flop_counter
from networks.interfaces import VideoBatch
from networks.ranges import Positive, Size
from networks.sharding import whole_outside_blocks

PEAK_TFLOPS = (
    ("A100", 312.0),
    ("H100 PCIe", 756.5),
    ("H100 NVL", 835.5),
    ("H100", 989.4),
    ("H200 NVL", 835.5),
    ("H200", 989.4),
    ("L40S", 362.1),
    ("RTX 4090", 165.2),
)
"""Of one GPU with dense bfloat16 matrices, summed in float32.

Source: NVIDIA's data sheets of the A100, H100, H200 and L40S, where sheets that give sparse figures alone are halved,
and the white paper of the Ada architecture for the RTX 4090.
"""


class Throughput(Callback):
    """Logs samples, frames, tokens and seconds a step, the share of time spent waiting for data, FLOP/s and MFU.

    Waiting is the time between the end of one step and the arrival of the next batch. FLOPs are counted once for
    each clip length, on the first batch that has it. On CUDA the clock is read after a synchronise, once every
    `every_n_steps`, never in between.
    """

    def __init__(
        self, *, every_n_steps: Size, peak_tflops: Positive | Literal["auto"] | None, count_flops: bool
    ) -> None:
        """Keeps what is logged, and how often.

        Args:
            every_n_steps: optimizer steps that a figure is averaged over.
            peak_tflops: peak of one device in the run's precision, in TFLOP/s; "auto": by the device's name, in
                bfloat16; None: no MFU.
            count_flops: whether FLOPs are counted; not under FSDP, which shards what is counted.
        """
        self.every_n_steps = every_n_steps
        self.peak_tflops = peak_tflops
        self.count_flops = count_flops
        self._flops_by_length: dict[tuple[int, ...], int] = {}
        self._reset()

    def _reset(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0
        self._samples = self._frames = self._tokens = self._steps = 0
        self._flops = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: starts the clock."""
        self._peak = self.peak_tflops if self.peak_tflops != "auto" else peak_of(trainer, pl_module.device)
        self._reset()
        self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: VideoBatch, batch_idx: int) -> None:
        """Lightning's hook: notes how long the step waited for its batch, and counts its FLOPs."""
        self._waited += time.perf_counter() - self._ended
        shape = tuple(batch.video.shape)
        if not self.count_flops:
            return
        if shape not in self._flops_by_length:
            self._flops_by_length[shape] = count_training_flops(pl_module, batch)
            self._began += time.perf_counter() - self._ended  # counting is not training
        self._flops += self._flops_by_length[shape]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: VideoBatch, batch_idx: int
    ) -> None:
        """Lightning's hook: logs the speed every few steps."""
        shares = data_place(trainer)[1]
        self._samples += batch.video.shape[0] * shares
        self._frames += batch.video.shape[0] * batch.video.shape[2] * shares
        self._tokens += pl_module.count_tokens(batch) * shares
        self._steps += 1
        self._ended = time.perf_counter()
        if self._steps < self.every_n_steps:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
            pl_module.log("memory/peak_gib", torch.cuda.max_memory_allocated(pl_module.device) / 2**30)
        seconds = time.perf_counter() - self._began
        rates = {
            "speed/samples_per_second": self._samples / seconds,
            "speed/frames_per_second": self._frames / seconds,
            "speed/tokens_per_second": self._tokens / seconds,
            "speed/seconds_per_step": seconds / self._steps,
            "speed/data_wait_share": self._waited / seconds,
        }
        if self.count_flops:
            rates["speed/tflops"] = self._flops / seconds / 1e12
            if self._peak is not None:
                rates["speed/mfu"] = rates["speed/tflops"] / self._peak
        pl_module.log_dict(rates)
        self._reset()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation does not count."""
        self._reset()
        self._ended = time.perf_counter()


def peak_of(trainer: Trainer, device: torch.device) -> float | None:
    """What a known GPU can reach in bfloat16, in TFLOP/s; None for others, for CPUs and in other precisions."""
    if device.type != "cuda" or not str(trainer.precision).startswith("bf16"):
        return None
    return peak_by_name(torch.cuda.get_device_name(device))


def peak_by_name(name: str) -> float | None:
    """The peak in TFLOP/s of a GPU that CUDA calls `name`, by the first entry whose words are all in the name.

    None for slower kinds of a card, for slices of one, and for cards without an entry.
    """
    words = set(name.replace("-", " ").split())
    if words & {"MIG", "Laptop", "D"}:
        return None
    return next((peak for known, peak in PEAK_TFLOPS if set(known.split()) <= words), None)


def count_training_flops(pl_module: Any, batch: VideoBatch) -> int:
    """FLOPs of one forward and backward pass: three times the forward pass's."""
    devices = [pl_module.device] if pl_module.device.type == "cuda" else []
    whole = whole_outside_blocks(pl_module)
    as_written = torch.compiler.set_stance("force_eager")  # a compiled block cannot be counted
    with as_written, torch.random.fork_rng(devices), torch.enable_grad(), whole, flop_counter() as counter:
        pl_module.count_flops_step(batch)
    return 3 * counter.get_total_flops()
