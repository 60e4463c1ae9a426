"""Batches of several plans by their shares: a pure function of the seed and the number of the batch."""

from collections.abc import Sequence
from typing import Generic

import numpy as np
import torch

from datamodules.sampling import Draw, Item, Plan

CYCLE = 1000
"""Batches over which every plan has exactly its share. Source: our choice."""


class MixedPlan(Generic[Item]):
    """A plan that mixes the batches of several plans, each with its share. Like them it has no state of its own."""

    def __init__(self, *, plans: Sequence[Plan[Item]], shares: Sequence[float], seed: int) -> None:
        """Shares out the batches of a cycle.

        Args:
            plans: the plans that are mixed.
            shares: for each plan, its share of the batches, in [0, 1]; together 1. A plan whose share is above 0 gets
                at least one batch of each cycle.
            seed: seed of the order of batches within a cycle.
        """
        self.plans, self.seed = plans, seed
        exact = np.asarray(shares, float) * CYCLE
        counts = np.where(exact > 0, np.maximum(np.floor(exact), 1), 0).astype(int)
        for _ in range(CYCLE - int(counts.sum())):  # the largest remainders are rounded up
            counts[int(np.argmax(exact - counts))] += 1
        self.counts = counts
        self._cycle, self._order, self._earlier = -1, np.empty(0, int), np.empty(0, int)

    def draw(self, number: int) -> Draw[tuple[int, Item]]:
        """The items of batch `number`, each with its plan's number."""
        cycle, place = divmod(number, int(self.counts.sum()))
        if cycle != self._cycle:
            self._shuffle(cycle)
        plan = int(self._order[place])
        drawn = self.plans[plan].draw(cycle * int(self.counts[plan]) + int(self._earlier[place]))
        return Draw(drawn.num_frames, [(plan, item) for item in drawn.clips], drawn.passes)

    def _shuffle(self, cycle: int) -> None:
        """Which plan each batch of a cycle is of, and how many before it are of the same."""
        listed = np.repeat(np.arange(len(self.counts)), self.counts)
        seed = (self.seed * 1_000_003 + cycle) % 2**63
        order = listed[torch.randperm(len(listed), generator=torch.Generator().manual_seed(seed)).numpy()]
        earlier = np.empty(len(order), int)
        for plan, count in enumerate(self.counts):
            earlier[order == plan] = np.arange(count)
        self._cycle, self._order, self._earlier = cycle, order, earlier
