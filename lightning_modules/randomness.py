"""Random draws as a pure function of seed, step and row, so that resuming and sharing out change nothing."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor

from longtake.compat.lightning import data_place
from networks.batches import on_device


def step_seed(*numbers: int) -> int:
    """One well-mixed seed of several numbers."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")


class RowGenerators(NamedTuple):
    """A generator for each row of a batch, on the device for times and noise, and on the host for choices.

    A choice that the host knows is a mask only where something is masked, and nothing waits for the device. On a CPU
    both are the same objects.
    """

    device: list[torch.Generator]
    host: list[torch.Generator]


def row_generators(module: LightningModule, seed: int, batch_idx: int, batch_size: int) -> RowGenerators:
    """Generators for each row of this process's batch, by the row's place in the global batch of this step.

    Two processes with half the rows each draw what one process with all of them draws, and so do smaller batches that
    are accumulated. Torch's global generator is seeded too, by the first row, for what is drawn for a whole batch at
    once.
    """
    trainer = module.trainer
    micro = batch_idx % trainer.accumulate_grad_batches
    rank, world = data_place(trainer)
    first = (micro * world + rank) * batch_size
    torch.manual_seed(step_seed(seed, trainer.global_step, first))

    def generators(device: torch.device, number: int) -> list[torch.Generator]:
        seeds = (step_seed(seed, trainer.global_step, first + row, number) for row in range(batch_size))
        return [torch.Generator(device).manual_seed(each) for each in seeds]

    rows = generators(module.device, 1)
    return RowGenerators(rows, rows if module.device.type == "cpu" else generators(torch.device("cpu"), 2))


def draw_events(probs: Mapping[str, float], rows: RowGenerators, device: torch.device) -> dict[str, Tensor]:
    """Which rows each event befalls: by name, b; an event that befalls no row has no entry."""
    draws = torch.stack([torch.rand(len(probs), generator=row) for row in rows.host])
    befalls = {name: draws[:, place] < prob for place, (name, prob) in enumerate(probs.items())}
    return {name: on_device(those, device) for name, those in befalls.items() if bool(those.any())}
