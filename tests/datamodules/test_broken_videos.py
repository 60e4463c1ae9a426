"""Broken videos cost themselves and nothing else: training and validation both go on with what is left."""

import pytest
from clips import ready
from video_files import make

from datamodules.splits import fill_splits
from datamodules.tables import Entry


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        make(tmp_path / f"{number}.mp4", 12, first=number)
    return tmp_path


def drawn(folder):
    """The one video drawn for validation."""
    (entry,) = (entry for entry in ready(folder, validation_share=0.1).entries() if entry.split == "validation")
    return entry.path


def stems(clips):
    return {clip.entry.path.stem for clip in clips}


@pytest.mark.parametrize("damage", ["broken", "too short"])
def test_a_broken_validation_video_is_replaced_by_one_of_training(folder, caplog, damage):
    path = drawn(folder)
    if damage == "broken":
        path.write_bytes(b"not a video at all" * 50)
    else:
        make(path, 3)
    first, again = (ready(folder, validation_share=0.1) for _ in range(2))
    assert len(list(first.val_dataloader())) == 1
    assert len(stems(first.clips["validation"])) == 1
    assert not stems(first.clips["validation"]) & stems(first.clips["train"])
    assert stems(first.clips["validation"]) | stems(first.clips["train"]) == {str(n) for n in range(6)} - {path.stem}
    assert stems(first.clips["validation"]) == stems(again.clips["validation"])
    assert "1 of 6 videos are skipped" in caplog.text
    assert "no video drawn for validation can be used" in caplog.text
    (kept,) = {clip.entry.path for clip in first.clips["validation"]}
    assert str(kept) in caplog.text


def test_a_single_good_video_serves_for_both_and_says_so(folder, caplog):
    for number in (0, 1, 2, 4, 5):
        (folder / f"{number}.mp4").write_bytes(b"")
    data = ready(folder, validation_share=0.1)
    assert stems(data.clips["validation"]) == stems(data.clips["train"]) == {"3"}
    assert next(iter(data.train_dataloader())).video.shape[0] == 2
    assert len(list(data.val_dataloader())) == 1
    assert "validation sees what is trained on" in caplog.text


def test_training_is_not_left_empty_either():
    listed = [Entry(f"{number}.mp4", "", "") for number in range(4)]
    usable = [entry._replace(split="validation") for entry in listed[:2]]
    changed = fill_splits(usable, [0, 1], listed, 0)
    ((moved, film),) = (pair for pair in changed if pair[0].split == "train")
    assert moved._replace(split="validation") == usable[film]
    assert len(changed) == 2


def test_a_film_changes_sides_with_all_its_captions():
    listed = [Entry("a.mp4", str(number), "") for number in range(3)]
    usable = [entry._replace(split="train") for entry in listed] + [Entry("b.mp4", "", "train")]
    for seed in range(4):
        changed = fill_splits(usable, [0, 0, 0, 1], listed, seed)
        sides = {film: {entry.split for entry, of in changed if of == film} for film in (0, 1)}
        assert sorted(map(sorted, sides.values())) == [["train"], ["validation"]]


def test_a_tables_own_validation_videos_are_not_replaced(folder, caplog):
    rows = "".join(f"{number}.mp4,{'val' if number == 4 else 'train'}\n" for number in range(6))
    (folder / "table.csv").write_text("path,split\n" + rows)
    (folder / "4.mp4").write_bytes(b"")
    data = ready(folder, table="table.csv")
    with pytest.raises(ValueError, match=r"no video of the split 'validation'.*skipped\.json"):
        data.val_dataloader()


def test_nothing_changes_where_both_have_videos(folder):
    data = ready(folder)
    assert {clip.entry for name in ("train", "validation") for clip in data.clips[name]} == set(data.entries())
