"""Which clips make which batch: a pure function of the seed and the number of the batch."""

import random
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

Item = TypeVar("Item")


class Draw(NamedTuple, Generic[Item]):
    """One optimizer step's clips: their length in frames, and their numbers or whatever else they are read by."""

    num_frames: int
    clips: list[Item]


class Plan(Protocol[Item]):
    """Any order of batches that can be asked for directly."""

    def draw(self, number: int) -> Draw[Item]:
        """What batch `number` holds, counted from 0 over the whole training."""
        ...


class BatchPlan:
    """An endless order of batches over buckets of clip length, without state.

    Each cycle holds one batch of every length, in random order, so all lengths give equally many samples; within a
    length, every clip is drawn once before any is drawn again. Batch `number` can be asked for directly, which makes
    resuming exact and needs no loader state.
    """

    def __init__(self, *, clips_by_length: Mapping[int, Sequence[int]], global_batch_size: int, seed: int) -> None:
        """clips_by_length: for each length the clips that are at least that long; lengths without clips are left out.

        Raises:
            ValueError: if there is no clip at all.
        """
        self.clips_by_length = {length: list(clips) for length, clips in clips_by_length.items() if clips}
        if not self.clips_by_length:
            raise ValueError(f"no training video is as long as the shortest clip, {min(clips_by_length)} frames")
        self.global_batch_size = global_batch_size
        self.seed = seed
        self._orders: dict[tuple[int, int], list[int]] = {}

    def draw(self, number: int) -> Draw[int]:
        """The clips of batch `number`, counted from 0 over the whole training."""
        lengths = sorted(self.clips_by_length)
        cycle, place = divmod(number, len(lengths))
        length = lengths[self._shuffle(len(lengths), cycle, 0)[place]]
        clips = self.clips_by_length[length]
        first = cycle * self.global_batch_size
        return Draw(length, [clips[self._ordered(length, first + i)] for i in range(self.global_batch_size)])

    def _ordered(self, length: int, sample: int) -> int:
        """The place of the sample-th draw of this length within its clips."""
        count = len(self.clips_by_length[length])
        epoch, place = divmod(sample, count)
        if (length, epoch) not in self._orders:
            if len(self._orders) > 4 * len(self.clips_by_length):
                self._orders.clear()
            self._orders[length, epoch] = self._shuffle(count, epoch, length)
        return self._orders[length, epoch][place]

    def _shuffle(self, count: int, epoch: int, salt: int) -> list[int]:
        seed = (self.seed * 1_000_003 + epoch) * 1_000_003 + salt
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63)).tolist()


class WordedPlan(Generic[Item]):
    """The samples of another plan, each with whether it gets its short caption; without state, as that is."""

    def __init__(self, *, plan: Plan[Item], share: float, seed: int) -> None:
        """share: of samples that get the short caption."""
        self.plan, self.share, self.seed = plan, share, seed

    def draw(self, number: int) -> Draw[tuple[Item, bool]]:
        """The samples of batch `number`."""
        drawn = self.plan.draw(number)
        rng = random.Random(repr((self.seed, number, "captions")))
        return Draw(drawn.num_frames, [(sample, rng.random() < self.share) for sample in drawn.clips])


def share_of(clips: Sequence[Item], *, micro: int, rank: int, world_size: int, batch_size: int) -> list[Item]:
    """The clips of one process in one of the accumulated batches; all shares together are the global batch."""
    first = (micro * world_size + rank) * batch_size
    return list(clips[first : first + batch_size])
