"""Which clips make which batch: a pure function of the seed and the number of the batch."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Item = TypeVar("Item")
Numbers: TypeAlias = Sequence[int] | npt.NDArray[np.int64]


class Draw(NamedTuple, Generic[Item]):
    """One optimizer step's clips: their length in frames, and their numbers or whatever else they are read by.

    passes: how often each was drawn before at this length; empty where nobody counts.
    """

    num_frames: int
    clips: list[Item]
    passes: Sequence[int] = ()


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

    def __init__(self, *, clips_by_length: Mapping[int, Numbers], global_batch_size: int, seed: int) -> None:
        """Keeps the clips of each length; lengths without clips are left out.

        Args:
            clips_by_length: for each length, in pixel frames, the clips that are at least that long.
            global_batch_size: clips of a batch, over all processes and accumulated batches.
            seed: seed of the order.

        Raises:
            ValueError: if there is no clip at all.
        """
        self.clips_by_length = {length: clips for length, clips in clips_by_length.items() if len(clips)}
        if not self.clips_by_length:
            shortest = min(clips_by_length)
            raise ValueError(
                f"no training video is as long as the shortest clip, {shortest} frames: lower datamodule.num_frames"
            )
        self.global_batch_size = global_batch_size
        self.seed = seed
        self._orders: dict[tuple[int, int], Tensor] = {}

    def draw(self, number: int) -> Draw[int]:
        """The clips of batch `number`, counted from 0 over the whole training."""
        lengths = sorted(self.clips_by_length)
        cycle, place = divmod(number, len(lengths))
        length = lengths[int(self._shuffle(len(lengths), cycle, 0)[place])]
        clips = self.clips_by_length[length]
        samples = range(cycle * self.global_batch_size, (cycle + 1) * self.global_batch_size)
        drawn = [int(clips[self._ordered(length, sample)]) for sample in samples]
        return Draw(length, drawn, [sample // len(clips) for sample in samples])

    def _ordered(self, length: int, sample: int) -> int:
        """The place of the sample-th draw of this length within its clips."""
        count = len(self.clips_by_length[length])
        epoch, place = divmod(sample, count)
        if (length, epoch) not in self._orders:
            if len(self._orders) > 4 * len(self.clips_by_length):
                self._orders.clear()
            self._orders[length, epoch] = self._shuffle(count, epoch, length)
        return int(self._orders[length, epoch][place])

    def _shuffle(self, count: int, epoch: int, salt: int) -> Tensor:
        seed = (self.seed * 1_000_003 + epoch) * 1_000_003 + salt
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))


class WordedPlan(Generic[Item]):
    """The samples of another plan, each with whether it gets its short caption; without state, as that is."""

    def __init__(self, *, plan: Plan[Item], share: float, seed: int) -> None:
        """Keeps the plan.

        Args:
            plan: the plan of the samples.
            share: share of the samples, in [0, 1], that get the short caption.
            seed: seed of the choice.
        """
        self.plan, self.share, self.seed = plan, share, seed

    def draw(self, number: int) -> Draw[tuple[Item, bool]]:
        """The samples of batch `number`."""
        drawn = self.plan.draw(number)
        rng = random.Random(repr((self.seed, number, "captions")))
        return Draw(drawn.num_frames, [(sample, rng.random() < self.share) for sample in drawn.clips], drawn.passes)


class Cut(NamedTuple):
    """A clip's number and how many frames, as stored, after its start it is read."""

    clip: int
    start: int


class CutPlan:
    """The clips of a BatchPlan, each with where it begins; without state, as that is.

    In the first pass over the data a clip begins at its own start, in the second as late as it may, which is where the
    next one starts or its film ends, and from the third on anywhere between: two passes show every frame of every film.
    """

    def __init__(
        self, *, plan: BatchPlan, slack: Callable[[int], int], places: npt.NDArray[np.int64] | None, seed: int
    ) -> None:
        """slack: by how much a clip may begin later; places: running sum of the places that a clip counts for, or None.

        With places the plan draws places instead of clips: clip 0 from its start on, and so on.
        """
        self.plan, self.slack, self.places, self.seed = plan, slack, places, seed

    def draw(self, number: int) -> Draw[Cut]:
        """The cuts of batch `number`."""
        drawn = self.plan.draw(number)
        rng = random.Random(repr((self.seed, number, "cuts")))
        cuts = [self._cut(each, passed, rng) for each, passed in zip(drawn.clips, drawn.passes, strict=True)]
        return Draw(drawn.num_frames, cuts, drawn.passes)

    def _cut(self, drawn: int, passed: int, rng: random.Random) -> Cut:
        clip, start = drawn, 0
        if self.places is not None:
            clip = int(np.searchsorted(self.places, drawn, side="right"))
            start = drawn - int(self.places[clip - 1] if clip else 0)
        slack = self.slack(clip)
        later = rng.randint(0, slack)  # drawn in every pass, so that the others' draws stay the same
        return Cut(clip, start + (0 if passed == 0 else slack if passed == 1 else later))


def share_of(clips: Sequence[Item], *, micro: int, rank: int, world_size: int, batch_size: int) -> list[Item]:
    """The clips of one process in one of the accumulated batches; all shares together are the global batch."""
    first = (micro * world_size + rank) * batch_size
    return list(clips[first : first + batch_size])
