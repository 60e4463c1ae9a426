"""The order of batches: without state, without repeats, the same however it is shared out."""

import itertools
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from datamodules.batches import BatchStream
from datamodules.sampling import BatchPlan, share_of
from networks.interfaces import VideoBatch


def plan(seed=0, batch=4):
    return BatchPlan(
        clips_by_length={9: range(10), 17: range(7), 33: range(3), 65: []}, global_batch_size=batch, seed=seed
    )


def test_any_batch_can_be_asked_for_directly():
    forwards = [plan().draw(number) for number in range(30)]
    one = plan()
    assert [one.draw(number) for number in reversed(range(30))] == forwards[::-1]
    assert forwards != [plan(seed=1).draw(number) for number in range(30)]


def test_all_lengths_give_equally_many_samples_and_absent_ones_none():
    lengths = Counter(plan().draw(number).num_frames for number in range(30))
    assert lengths == {9: 10, 17: 10, 33: 10}


@pytest.mark.parametrize(("length", "count"), [(9, 10), (17, 7), (33, 3)])
def test_no_clip_comes_twice_before_all_came_once(length, count):
    draws = (plan().draw(number) for number in range(60))
    clips = list(itertools.chain.from_iterable(draw.clips for draw in draws if draw.num_frames == length))
    for start in range(0, len(clips) - count + 1, count):
        assert sorted(clips[start : start + count]) == list(range(count))


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_shares_are_the_global_batch(world_size, accumulate):
    clips = list(range(8))
    size = 8 // (world_size * accumulate)
    shares = [
        share_of(clips, micro=micro, rank=rank, world_size=world_size, batch_size=size)
        for micro in range(accumulate)
        for rank in range(world_size)
    ]
    assert list(itertools.chain.from_iterable(shares)) == clips


def stream(first_step=0, accumulate=1):
    def read(numbers, length):
        return VideoBatch(torch.tensor(numbers), torch.tensor(length), torch.zeros(1), torch.zeros(1))

    return BatchStream(
        plan=plan(), read=read, first_step=first_step, accumulate=accumulate, rank=0, world_size=1,
        batch_size=4 // accumulate,
    )  # fmt: skip


def first(loader, count):
    return [(int(batch.frame_index), batch.video.tolist()) for batch in itertools.islice(loader, count)]


def test_a_loader_changes_nothing():
    alone = first(DataLoader(stream(), batch_size=None), 9)
    assert first(stream(), 9) == alone
    assert first(DataLoader(stream(), batch_size=None, num_workers=2, multiprocessing_context="fork"), 9) == alone


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stream_from_a_later_step_is_the_rest_of_the_whole_one(accumulate):
    whole = first(stream(accumulate=accumulate), 12)
    assert first(stream(first_step=3, accumulate=accumulate), 12 - 3 * accumulate) == whole[3 * accumulate :]


def test_nothing_to_draw_from_is_one_sentence():
    with pytest.raises(ValueError, match="shortest clip, 9 frames"):
        BatchPlan(clips_by_length={9: [], 17: []}, global_batch_size=2, seed=0)
