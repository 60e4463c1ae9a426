"""The task sampler: shares as configured, known slots only, and windows where they truly adjoin."""

from collections import Counter

import pytest
import torch

from lightning_modules.tasks import TaskName, TaskSampler, fixed_task
from networks.interfaces import SegmentBatch

SLOTS, FRAMES = 6, 3
U, P, R, I = TaskName  # noqa: E741


def sampler(**changes):
    settings = {
        "past_prob": 0.5, "future_prob": 0.5, "max_context": 4, "neighbour_gap_prob": 0.25, "window_frames": 2,
    }  # fmt: skip
    return TaskSampler(**{**settings, **changes})


def batch(rows=1, valid=None, shot=None, places=None, frames=FRAMES):
    """Every latent, and every text feature, of a slot says which slot and frame it is: 10 (slot + 1) + frame."""
    places = torch.tensor(places or [frames * slot for slot in range(SLOTS)]).float()
    slots = 10.0 * torch.arange(1, SLOTS + 1)
    video = (slots[:, None] + torch.arange(frames)).view(1, SLOTS, 1, frames, 1, 1)
    return SegmentBatch(
        video=video.repeat(rows, 1, 1, 1, 1, 1),
        frame_index=(places[:, None] + torch.arange(frames)).repeat(rows, 1, 1),
        text=slots.view(1, SLOTS, 1, 1).repeat(rows, 1, 2, 1),
        text_mask=torch.ones(rows, SLOTS, 2, dtype=torch.bool),
        shot=torch.tensor(shot or [0] * SLOTS).repeat(rows, 1),
        valid=torch.tensor([valid or [True] * SLOTS] * rows),
    )


def generators(rows, first=0):
    return [torch.Generator().manual_seed(first + row) for row in range(rows)]


def slots_of(context):
    """Slots that the valid context frames come from, per row."""
    numbers = (context.video[:, :, 0, 0, 0, 0] / 10).round().long() - 1
    return [row[valid].tolist() for row, valid in zip(numbers, context.valid, strict=True)]


def within(count, rows, share):
    """Five standard deviations of a count."""
    return abs(count - rows * share) <= 5 * (rows * share * (1 - share)) ** 0.5


@pytest.fixture(scope="module")
def many():
    return sampler()(batch(4000), generators(4000))


@pytest.mark.parametrize(("past", "future"), [(0.5, 0.5), (0.8, 0.3), (1.0, 0.0)])
def test_tasks_come_as_often_as_configured(past, future):
    names = Counter(sampler(past_prob=past, future_prob=future)(batch(4000), generators(4000)).name.tolist())
    shares = {U: (1 - past) * (1 - future), P: past * (1 - future), R: (1 - past) * future, I: past * future}
    for name, share in shares.items():
        assert within(names[name], 4000, share), name


def test_the_context_is_what_the_name_says_in_order_and_never_the_target(many):
    for target, known, name in zip(many.target.tolist(), slots_of(many.context), many.name.tolist(), strict=True):
        assert known == sorted(set(known))
        assert target not in known
        assert name == 1 * any(slot < target for slot in known) + 2 * any(slot > target for slot in known)
    assert not (many.context.video * ~many.context.valid[:, :, None, None, None, None]).any()
    assert not (many.context.text_mask & ~many.context.valid[:, :, None]).any()
    assert many.context.video.shape[:2] == (4000, 4)


def test_every_slot_is_a_target_and_every_number_of_segments_is_drawn(many):
    targets = Counter(many.target[many.name == U].tolist())
    assert all(within(targets[slot], sum(targets.values()), 1 / SLOTS) for slot in range(SLOTS))
    assert set(many.target[many.name == P].tolist()) == {1, 2, 3, 4, 5}
    assert set(many.target[many.name == R].tolist()) == {0, 1, 2, 3, 4}
    assert set(many.target[many.name == I].tolist()) == {1, 2, 3, 4}
    last = (many.name == P) & (many.target == 5)
    counts = Counter(many.context.valid[last].sum(dim=1).tolist())
    assert set(counts) == {1, 2, 3, 4}
    assert all(within(number, int(last.sum()), 1 / 4) for number in counts.values())


@pytest.mark.slow
def test_the_nearest_segment_is_withheld_as_often_as_configured(many):
    far = (many.name == P) & (many.target > 1)
    known = [row for row, chosen in zip(slots_of(many.context), far.tolist(), strict=True) if chosen]
    withheld = sum(target - 1 not in row for row, target in zip(known, many.target[far].tolist(), strict=True))
    assert within(withheld, len(known), 0.25)
    never = sampler(neighbour_gap_prob=0.0)(batch(500), generators(500))
    assert never.frame_mask[never.name == I].all()


def test_the_canvas_is_the_target_between_its_neighbours_last_and_first_frames(many):
    assert many.own.tolist() == [False, False, True, True, True, False, False]
    assert many.frame_mask[:, many.own].all()
    video, mask = many.video[:, 0, :, 0, 0], many.frame_mask
    own = 10 * (many.target[:, None] + 1)
    expected = torch.cat(
        [own - 10 + torch.tensor([1, 2]), own + torch.tensor([0, 1, 2]), own + 10 + torch.arange(2)], 1
    )
    assert torch.equal(video, expected * mask)
    assert torch.equal(many.frame_index, FRAMES * many.target[:, None] + torch.arange(-2.0, 5.0))
    for target, known, sides in zip(many.target.tolist(), slots_of(many.context), mask.tolist(), strict=True):
        assert sides == [target - 1 in known] * 2 + [True] * 3 + [target + 1 in known] * 2
    assert torch.equal(many.text[:, 0, 0], 10.0 * (many.target + 1))
    assert many.text_mask.all()


def test_a_cut_or_a_gap_ends_the_window_but_not_the_memory():
    always = sampler(past_prob=1.0, future_prob=1.0, neighbour_gap_prob=0.0, max_context=5)
    cut = always(batch(200, shot=[0, 0, 0, 1, 1, 1]), generators(200))
    gap = always(batch(200, places=[0, 3, 6, 15, 18, 21]), generators(200))
    for task in (cut, gap):
        after, before = task.target == 3, task.target == 2
        assert not task.frame_mask[after, :2].any()
        assert not task.frame_mask[before, -2:].any()
        assert task.frame_mask[~after, :2].all()
        assert task.frame_mask[~before, -2:].all()
        assert not task.video[after, :, :2].any()
        assert all(t - 1 in k and t + 1 in k for t, k in zip(task.target.tolist(), slots_of(task.context), strict=True))
    assert cut.shot.tolist() == [int(target > 2) for target in cut.target.tolist()]


def test_as_many_are_known_as_must_be():
    least = sampler(past_prob=1.0, future_prob=0.0, neighbour_gap_prob=0.0, min_context=3, max_context=4)
    task = least(batch(200), generators(200))
    counts = [len(known) for known in slots_of(task.context)]
    assert {(target, count) for target, count in zip(task.target.tolist(), counts, strict=True)} == {
        (1, 1), (2, 2), (3, 3), (4, 3), (4, 4), (5, 3), (5, 4),
    }  # fmt: skip


def test_targets_lie_late_where_they_can():
    late = sampler(past_prob=1.0, future_prob=0.0, first_target=4)
    assert set(late(batch(200), generators(200)).target.tolist()) == {4, 5}
    assert set(late(batch(200, valid=[True] * 3 + [False] * 3), generators(200)).target.tolist()) == {1, 2}
    assert set(fixed_task("prediction", batch(2), late).target.tolist()) == {5}


def test_empty_slots_are_neither_target_nor_known():
    task = sampler(past_prob=1.0, future_prob=1.0)(batch(300, valid=[True] * 3 + [False] * 3), generators(300))
    assert set(task.target.tolist()) == {1}
    assert {tuple(known) for known in slots_of(task.context)} == {(0, 2)}


@pytest.mark.parametrize(("held", "name"), [(1, U), (2, P)])
def test_a_row_too_short_for_its_task_does_what_it_can(held, name):
    valid = [slot < held for slot in range(SLOTS)]
    task = sampler(past_prob=1.0, future_prob=1.0)(batch(20, valid=valid), generators(20))
    assert set(task.name.tolist()) == {name}
    assert set(task.target.tolist()) == {held - 1}


def test_a_row_depends_on_its_own_generator_alone():
    whole = sampler()(batch(8), generators(8))
    half = sampler()(batch(4), generators(4, first=4))
    for one, other in zip(
        (*whole[:1], *whole.context[:6], *whole[2:5]), (*half[:1], *half.context[:6], *half[2:5]), strict=True
    ):
        assert torch.equal(one[4:], other)


@pytest.mark.parametrize("frames", [0, 3])
def test_windows_may_be_absent_or_whole_segments(frames):
    task = sampler(window_frames=frames)(batch(5), generators(5))
    assert task.video.shape[2] == task.frame_mask.shape[1] == len(task.own) == FRAMES + 2 * frames
    assert task.own.sum() == FRAMES


@pytest.mark.parametrize(
    ("name", "known"),
    [("unconditional", []), ("prediction", [0, 1, 2]), ("retrodiction", [4, 5]), ("interpolation", [1, 2, 4, 5])],
)
def test_a_fixed_task_is_the_same_for_every_row(name, known):
    task = fixed_task(name, batch(3), sampler(neighbour_gap_prob=1.0))
    assert task.target.tolist() == [3] * 3
    assert slots_of(task.context) == [known] * 3
    assert [TaskName(n).name.lower() for n in task.name.tolist()] == [name] * 3
    assert task.frame_mask[0].tolist() == [2 in known] * 2 + [True] * 3 + [4 in known] * 2


@pytest.mark.parametrize(
    ("name", "known"),
    [("gap_prediction", [0, 1]), ("gap_retrodiction", [5]), ("gap_interpolation", [0, 1, 5])],
)
def test_a_fixed_task_with_a_gap_withholds_the_nearest_from_window_and_memory(name, known):
    task = fixed_task(name, batch(2), sampler())
    assert (task.target.tolist(), slots_of(task.context)) == ([3] * 2, [known] * 2)
    assert torch.equal(task.frame_mask, task.own.expand(2, -1))
    assert not task.video[:, :, ~task.own].any()


def test_a_windowless_fixed_task_withholds_the_nearest_from_the_window_alone():
    whole, task = (fixed_task(name, batch(2), sampler()) for name in ("interpolation", "windowless_interpolation"))
    assert slots_of(task.context) == slots_of(whole.context) == [[1, 2, 4, 5]] * 2
    assert whole.frame_mask.all()
    assert torch.equal(task.frame_mask, task.own.expand(2, -1))
    assert torch.equal(task.video, whole.video * task.own[:, None, None])


def test_a_fixed_task_of_a_row_without_that_side_knows_nothing_of_it():
    task = fixed_task("interpolation", batch(valid=[True] * 2 + [False] * 4), sampler())
    assert (task.target.tolist(), slots_of(task.context), task.name.tolist()) == ([1], [[0]], [P])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"past_prob": 1.5}, "past_prob=1.5 must be between 0 and 1"),
        ({"neighbour_gap_prob": -0.1}, "neighbour_gap_prob=-0.1 must be"),
        ({"max_context": 1}, "max_context=1 must be at least 2"),
        ({"window_frames": -1}, "window_frames=-1 must be at least 0"),
        ({"min_context": 5}, "min_context=5 must be from 1 to tasks.max_context=4"),
    ],
)
def test_wrong_settings_are_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        sampler(**changes)


def test_a_window_longer_than_a_segment_and_an_unknown_task_are_named():
    with pytest.raises(ValueError, match="window_frames=4 is more than the 3 latent frames"):
        sampler(window_frames=4)(batch(), generators(1))
    with pytest.raises(ValueError, match="validation_tasks=predict: must be one of unconditional, prediction"):
        fixed_task("predict", batch(), sampler())
    with pytest.raises(ValueError, match="validation_tasks=gap_windowless_prediction: must be one of"):
        fixed_task("gap_windowless_prediction", batch(), sampler())
