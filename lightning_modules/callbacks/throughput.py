"""How fast a run is, and how long it waits."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from networks.interfaces import VideoBatch


class Throughput(Callback):
    """Logs samples, frames, tokens and seconds a step, the share of time spent waiting for data, FLOP/s and MFU.

    Waiting is the time between the end of one step and the arrival of the next batch. FLOPs are counted once for
    each clip length, on the first batch that has it. On CUDA the clock is read after a synchronise, once every
    `every_n_steps`, never in between.
    """

    def __init__(self, *, every_n_steps: int, peak_tflops: float | None) -> None:
        """every_n_steps: steps averaged over; peak_tflops: of one device in the run's precision, None for no MFU."""
        self.every_n_steps = every_n_steps
        self.peak_tflops = peak_tflops
        self._flops_by_length: dict[tuple[int, ...], int] = {}
        self._reset()

    def _reset(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0
        self._samples = self._frames = self._tokens = self._steps = 0
        self._flops = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._reset()
        self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: VideoBatch, batch_idx: int) -> None:
        """The batch has arrived."""
        self._waited += time.perf_counter() - self._ended
        shape = tuple(batch.video.shape)
        if shape not in self._flops_by_length:
            self._flops_by_length[shape] = count_training_flops(pl_module, batch)
            self._began += time.perf_counter() - self._ended  # counting is not training
        self._flops += self._flops_by_length[shape]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: VideoBatch, batch_idx: int
    ) -> None:
        """The step is over."""
        self._samples += batch.video.shape[0] * trainer.world_size
        self._frames += batch.video.shape[0] * batch.video.shape[2] * trainer.world_size
        self._tokens += pl_module.count_tokens(batch) * trainer.world_size
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
            "speed/tflops": self._flops / seconds / 1e12,
        }
        if self.peak_tflops is not None:
            rates["speed/mfu"] = rates["speed/tflops"] / self.peak_tflops
        pl_module.log_dict(rates)
        self._reset()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation does not count."""
        self._reset()
        self._ended = time.perf_counter()


def count_training_flops(pl_module: Any, batch: VideoBatch) -> int:
    """FLOPs of one forward and backward pass: three times the forward pass's."""
    devices = [pl_module.device] if pl_module.device.type == "cuda" else []
    as_written = torch.compiler.set_stance("force_eager")  # a compiled block cannot be counted
    with as_written, torch.random.fork_rng(devices), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        pl_module.count_flops_step(batch)
    return 3 * counter.get_total_flops()
