"""Random draws as a pure function of seed, step and row, so that resuming and sharing out change nothing."""

import hashlib

import torch
from lightning import LightningModule

from networks.vin import VideoInterfaceNetwork


def step_seed(*numbers: int) -> int:
    """One well-mixed seed of several numbers."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")


def row_generators(module: LightningModule, seed: int, batch_idx: int, batch_size: int) -> list[torch.Generator]:
    """A generator for each row of this process's batch, by the row's place in the global batch of this step.

    Two processes with half the rows each draw what one process with all of them draws, and so do smaller batches that
    are accumulated. A VIN draws what it drops from the same generators. Torch's global generator is seeded too, by the
    first row, for what is drawn for a whole batch at once.
    """
    trainer = module.trainer
    micro = batch_idx % trainer.accumulate_grad_batches
    first = (micro * trainer.world_size + trainer.global_rank) * batch_size
    torch.manual_seed(step_seed(seed, trainer.global_step, first))
    rows = [
        torch.Generator(module.device).manual_seed(step_seed(seed, trainer.global_step, first + row, 1))
        for row in range(batch_size)
    ]
    for part in module.modules():
        if isinstance(part, VideoInterfaceNetwork):
            part.rows = rows
    return rows
