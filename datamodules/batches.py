"""Streams and lists of batches for the loaders, and texts padded to one length.

Axes: b batch, l text tokens, e text features.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from datamodules.caching.ahead import in_order
from datamodules.clips import Clip
from datamodules.sampling import Item, Plan, share_of
from networks.interfaces import SegmentBatch, VideoBatch

TEXT_MULTIPLE = 64
"""Texts are padded to multiples of so many tokens: compiled code meets few shapes then."""
Batch = VideoBatch | SegmentBatch


class BatchStream(IterableDataset[Batch], Generic[Item]):
    """One process's share of every optimizer step's batch, from a step on."""

    def __init__(
        self,
        *,
        plan: Plan[Item],
        read: Callable[[list[Item], int], Batch],
        first_step: int,
        accumulate: int,
        rank: int,
        world_size: int,
        batch_size: int,
        read_ahead: int = 0,
    ) -> None:
        """read: drawn clips, and a length in pixel frames, to a batch; the rest as in sampling.share_of.

        read_ahead: batches that threads read meanwhile where there are no loader processes, as from a server.
        """
        self.plan, self.read = plan, read
        self.first_step, self.accumulate = first_step, accumulate
        self.rank, self.world_size, self.batch_size = rank, world_size, batch_size
        self.read_ahead = read_ahead

    def __iter__(self) -> Iterator[Batch]:
        """Loader workers take turns, so that the order is the same for any number of them."""
        worker = get_worker_info()
        turn, turns = (0, 1) if worker is None else (worker.id, worker.num_workers)
        reads = self._reads(turn, turns)
        if worker is None and self.read_ahead:
            yield from in_order(reads, self.read_ahead)
        else:
            yield from (read() for read in reads)

    def _reads(self, turn: int, turns: int) -> Iterator[Callable[[], Batch]]:
        number = self.first_step * self.accumulate + turn
        while True:
            step, micro = divmod(number, self.accumulate)
            draw = self.plan.draw(step)
            mine = share_of(
                draw.clips, micro=micro, rank=self.rank, world_size=self.world_size, batch_size=self.batch_size
            )
            yield partial(self.read, mine, draw.num_frames)
            number += turns


class FixedBatches(Dataset[Batch]):
    """A fixed list of batches."""

    def __init__(self, groups: list[list[Clip]], read: Callable[[list[Clip]], Batch]) -> None:
        """groups: the clips of each batch."""
        self.groups, self.read = groups, read

    def __len__(self) -> int:
        """How many batches."""
        return len(self.groups)

    def __getitem__(self, place: int) -> Batch:
        """One batch."""
        return self.read(self.groups[place])


def leave_group(_: int) -> None:
    """For a loader's process: a signal to the group, as `timeout` and Ctrl-C send it, goes to the parent alone.

    The parent saves before it ends, for which it needs the batches of its last step.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def pad_text(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Features l e of different lengths to b l e and b l, with l a multiple of TEXT_MULTIPLE; 1 where none has more."""
    longest = max(1, *(len(text) for text in texts))
    if longest > 1:
        longest = -(-longest // TEXT_MULTIPLE) * TEXT_MULTIPLE
    padded = torch.zeros(len(texts), longest, texts[0].shape[1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = True
    return padded, mask
