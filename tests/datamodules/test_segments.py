"""Rows of segments: what composes them, and what is read for them."""

import itertools
import random
from collections import Counter
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from clips import Mean, Words
from video_files import make

from datamodules.clips import Clip
from datamodules.rows import Partners, RowPlan, RowRule, compose_row, fixed_row
from datamodules.sampling import BatchPlan
from datamodules.segments import SegmentDataModule
from datamodules.tables import Entry

RULE = RowRule(num_slots=6, segment_frames=10, gap_share=0.0, multi_shot_share=0.0)


def rows_of(rule, lengths, count=600):
    return [compose_row(rule, lengths, random.Random(seed)) for seed in range(count)]


def test_a_row_is_adjoining_segments_from_any_latent_frame():
    rows = rows_of(RULE, [120, 120])
    assert {row[0].start for row in rows} == set(range(61))
    for row in rows:
        assert [slot.start - row[0].start for slot in row] == [slot.place for slot in row] == list(range(0, 60, 10))
        assert {(slot.clip, slot.shot) for slot in row} == {(0, 0)}


def test_gaps_come_as_often_as_asked_and_the_timeline_tells_the_truth():
    rows = rows_of(RULE._replace(gap_share=0.3), [120])
    skipped = Counter()
    for row in rows:
        assert row[-1].start + 10 <= 120
        assert [slot.start - row[0].start for slot in row] == [slot.place for slot in row]
        steps = [after.place - before.place for before, after in itertools.pairwise(row)]
        assert sum(step != 10 for step in steps) <= 1
        skipped[(max(steps) - 10) // 10] += 1
    assert set(skipped) == {0, 1, 2, 3, 4, 5, 6}
    assert abs(600 - skipped[0] - 180) < 5 * (600 * 0.3 * 0.7) ** 0.5


def test_shots_alternate_between_two_walks_and_never_show_a_frame_twice():
    rows = rows_of(RULE._replace(multi_shot_share=1.0, gap_share=1.0), [120, 90])
    cuts = Counter()
    for row in rows:
        shots = [slot.shot for slot in row]
        assert [slot.place for slot in row] == list(range(0, 60, 10))
        assert sorted(shots) == shots
        assert set(shots) == set(range(shots[-1] + 1))
        assert all(slot.clip == slot.shot % 2 for slot in row)
        for walk, length in ((0, 120), (1, 90)):
            starts = [slot.start for slot in row if slot.clip == walk]
            assert all(after - before >= 10 for before, after in itertools.pairwise(starts))
            assert starts[-1] + 10 <= length
        for before, after in itertools.pairwise(row):
            assert before.shot != after.shot or after.start == before.start + 10
        cuts[shots[-1]] += 1
    assert set(cuts) == {2, 3, 4}
    assert min(cuts.values()) > 150


def test_a_return_goes_on_where_the_walk_was_left_or_later():
    pauses = Counter()
    for row in rows_of(RULE._replace(multi_shot_share=1.0), [120, 120]):
        own = [slot for slot in row if slot.clip == 0]
        returns = [(a, b) for a, b in itertools.pairwise(own) if a.shot != b.shot]
        pauses.update(b.start > a.start + 10 for a, b in returns)
    assert pauses[True] > 200
    assert pauses[False] > 200


@pytest.mark.parametrize(("share", "lengths", "several"), [(0.25, [120, 120], 0.25), (1.0, [120], 0.0)])
def test_rows_of_several_shots_come_as_often_as_asked_and_need_a_partner(share, lengths, several):
    found = sum(row[-1].shot > 0 for row in rows_of(RULE._replace(multi_shot_share=share), lengths))
    assert abs(found - 600 * several) <= 5 * (600 * several * (1 - several)) ** 0.5


def test_short_walks_give_what_they_hold():
    assert {len(row) for row in rows_of(RULE._replace(gap_share=1.0), [39], 50)} == {3}
    rows = rows_of(RULE._replace(multi_shot_share=1.0), [20, 10], 100)
    assert {len(row) for row in rows} <= {2, 3}
    for row in rows:
        assert len({(slot.clip, slot.start) for slot in row}) == len(row)
        assert [slot.place for slot in row] == list(range(0, 10 * len(row), 10))
    assert [len(row) for row in rows_of(RULE._replace(num_slots=1, multi_shot_share=1.0), [20, 10], 3)] == [1, 1, 1]


def test_slots_get_short_captions_as_often_as_asked_each_by_itself():
    clips = [clip("x/a"), clip("x/b")]
    plan = BatchPlan(clips_by_length={9: [0, 1]}, global_batch_size=100, seed=0)
    rule = RULE._replace(short_caption_share=0.3)
    rows = RowPlan(plan=plan, clips=clips, frames_of=lambda _: 120, rule=rule, seed=0).draw(3).clips
    short = [[slot.short for slot in row.slots] for row in rows]
    assert abs(sum(map(sum, short)) - 180) < 5 * (600 * 0.3 * 0.7) ** 0.5
    assert {sum(row) for row in short} >= {0, 1, 2, 3, 4}  # not whole rows
    full = RowPlan(plan=plan, clips=clips, frames_of=lambda _: 120, rule=RULE, seed=0).draw(3).clips
    assert [slot._replace(short=False) for row in rows for slot in row.slots] == [s for row in full for s in row.slots]


def test_fixed_rows_spread_over_the_clip():
    assert [fixed_row(RULE, 120, share)[0].start for share in (0, 0.5, 1)] == [0, 30, 60]
    assert [slot.place for slot in fixed_row(RULE, 35, 1)] == [0, 10, 20]


def clip(path, number=0):
    return Clip(Entry(Path(path), "", "train"), 0, number, 0, 9)


def test_partners_are_of_the_same_folder_or_where_there_is_none_any():
    clips = [clip("x/a"), clip("x/a", 1), clip("x/b"), clip("x/c"), clip("y/d")]
    partners = Partners(clips)
    drawn = [[partners.draw(c, random.Random(seed)).entry.path.name for seed in range(60)] for c in clips]
    assert [set(names) for names in drawn] == [{"b", "c"}, {"b", "c"}, {"a", "c"}, {"a", "b"}, {"a", "b", "c"}]
    assert Partners(clips[:2]).draw(clips[0], random.Random(0)) is None


def test_a_plan_draws_other_rows_of_the_same_clip_at_every_step_and_place():
    order = BatchPlan(clips_by_length={9: [0]}, global_batch_size=3, seed=0)
    plan = RowPlan(plan=order, clips=[clip("x/a")], frames_of=lambda _: 5000, rule=RULE, seed=0)
    starts = [row.slots[0].start for step in range(20) for row in plan.draw(step).clips]
    assert len(set(starts)) > 55
    assert [row.slots[0].start for row in plan.draw(7).clips] == starts[21:24]


NAMES = ("x/a", "x/b", "y/c", "y/d", "z/e")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """41 frames a video, 11 latents; z/e, a video of 9 frames, has 3."""
    root = tmp_path_factory.mktemp("segments")
    lines = ["path,text,split"]
    for place, name in enumerate(NAMES):
        (root / name).parent.mkdir(exist_ok=True)
        make(root / f"{name}.mp4", 9 if name == "z/e" else 41, first=place)
        lines.append(
            f"{name}.mp4,{' '.join(['w' * (place + 1)] * (place + 1))},{'validation' if name == 'y/d' else 'train'}"
        )
    (root / "t.csv").write_text("\n".join(lines))
    return root


def module(folder, **changes):
    settings = {
        "codec": Mean(), "text_encoder": Words(), "global_batch_size": 4, "batch_size": 4, "seed": 0, "make": None,
        "root": str(folder), "table": "t.csv", "height": 16, "width": 16, "fps": 10, "num_frames": [9, 41],
        "hop_frames": 41, "cut_frames": None, "crop": "centre", "pixels": False, "cache_dir": str(folder / "cache"),
        "cache_dtype": "float32", "validation_share": 0.4, "num_validation_clips": 3, "num_workers": 0,
        "short_caption_share": 0.0, "segments_per_row": 4, "segment_frames": 2, "gap_share": 0.3, "frame_stride": None,
        "multi_shot_share": 0.5,
    }  # fmt: skip
    return SegmentDataModule(**{**settings, **changes})


def ready(folder, step=0, rank=0, world_size=1, accumulate=1, **changes):
    data = module(folder, **changes)
    data.prepare_data()
    data.setup("fit")
    data.trainer = SimpleNamespace(
        global_step=step, accumulate_grad_batches=accumulate, global_rank=rank, world_size=world_size
    )
    return data


def some(data, count):
    return list(itertools.islice(data.train_dataloader(), count))


def same(one, other):
    """Equal, whatever longest text each was padded to."""
    shortest = min(one.text.shape[2], other.text.shape[2])
    cut = [x._replace(text=x.text[:, :, :shortest], text_mask=x.text_mask[:, :, :shortest]) for x in (one, other)]
    return all(torch.equal(x, y) for x, y in zip(*(x[:6] for x in cut), strict=True))


def latents(data):
    """Whole latents of each caption's number of words."""
    clips = data.cache.clips(data.entries())
    return {len(c.entry.caption.split()): data.cache.read(c, data.frames_of(c)).float() for c in clips}


def test_every_segment_is_a_piece_of_the_walk_that_its_text_tells_of(folder):
    data = ready(folder)
    walks = latents(data)
    shots, held = set(), set()
    for batch in some(data, 12):
        assert batch.video.shape == (4, 4, 3, 2, 2, 2)
        assert batch.text.shape[:2] == batch.text_mask.shape[:2] == (4, 4)
        shots |= set(batch.shot.amax(dim=1).tolist())
        for row, slot in itertools.product(range(4), range(4)):
            words = int(batch.text_mask[row, slot].sum())
            if not batch.valid[row, slot]:
                assert words == 0
                assert not batch.video[row, slot].any()
                continue
            held.add(words)
            assert batch.text[row, slot, :words, 0].tolist() == [words] * words
            pieces = walks[words].unfold(1, 2, 1)  # c n h w 2
            found = (pieces.permute(1, 0, 4, 2, 3) == batch.video[row, slot]).flatten(1).all(dim=1)
            assert found.any()
    assert shots >= {0, 2, 3}
    assert held == {1, 2, 3, 5}


def test_short_captions_are_read_where_there_are_any(folder, caplog):
    lines = (folder / "t.csv").read_text().splitlines()
    (folder / "s.csv").write_text("\n".join([f"{lines[0]},short_text", f"{lines[1]},wwwwwwwww", *lines[2:]]))
    batches = some(ready(folder, table="s.csv", short_caption_share=1.0), 8)
    said = set()
    for batch in batches:
        for text, mask in zip(batch.text[batch.valid], batch.text_mask[batch.valid], strict=True):
            said.add(tuple(text[mask, 0].tolist()))
    assert said == {(9.0,), (2.0,) * 2, (3.0,) * 3, (5.0,) * 5}  # x/a's short one, and of the others the only one
    assert not caplog.records
    assert {int(x.text_mask.sum(-1).max()) for x in some(ready(folder, short_caption_share=1.0), 8)} <= {1, 2, 3, 5}
    assert "no training video of" in caplog.text


def test_slots_that_hold_nothing_are_marked_and_the_timeline_goes_on(folder):
    short = [batch for batch in some(ready(folder, multi_shot_share=0.0), 8) if not batch.valid.all()]
    row = int((~short[0].valid).any(dim=1).nonzero()[0])
    assert short[0].valid[row].tolist() == [True, False, False, False]
    assert short[0].frame_index[row].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_step_can_be_asked_for_directly(folder):
    whole = some(ready(folder), 6)
    assert same(some(ready(folder, step=4), 1)[0], whole[4])
    assert not same(some(ready(folder, seed=1), 1)[0], whole[0])


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_processes_share_the_rows_that_one_would_have(folder, world_size, accumulate):
    whole = some(ready(folder, step=3), 1)[0]
    size = 4 // (world_size * accumulate)
    share = {"world_size": world_size, "accumulate": accumulate, "batch_size": size, "step": 3}
    parts = [some(ready(folder, rank=rank, **share), accumulate) for rank in range(world_size)]
    shared = [parts[rank][micro] for micro in range(accumulate) for rank in range(world_size)]
    for place, part in enumerate(shared):
        assert same(part, whole.map(itemgetter(slice(place * size, (place + 1) * size))))


def test_workers_change_nothing(folder):
    for one, other in zip(some(ready(folder), 4), some(ready(folder, num_workers=2), 4), strict=True):
        assert same(one, other)


def test_validation_rows_are_fixed_and_of_one_shot(folder):
    data = ready(folder, gap_share=1.0, multi_shot_share=1.0)
    (once,), (twice,) = data.val_dataloader(), data.val_dataloader()
    assert same(once, twice)
    assert torch.equal(once.frame_index, torch.arange(8.0).view(1, 4, 2))
    assert not once.shot.any()
    assert once.valid.all()
    video = once.video[0].transpose(0, 1).flatten(1, 2)
    assert torch.equal(video, latents(data)[4][:, :8])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"segments_per_row": 0}, "segments_per_row=0 must be at least 1"),
        ({"segment_frames": 0}, "segment_frames=0 must be at least 1"),
        (
            {"segment_frames": 4},
            "segment_frames=4 is more than the 3 latent frames of a clip of datamodule.num_frames=9",
        ),
        ({"gap_share": 1.1}, "gap_share=1.1 must be between 0 and 1"),
        ({"multi_shot_share": -1}, "multi_shot_share=-1 must be"),
        ({"pixels": True, "cache_dtype": "uint8"}, "pixels=true"),
    ],
)
def test_wrong_settings_are_one_sentence(folder, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        module(folder, **changes)
