"""Splits are drawn over films by what they are: a copy under another name stands on the same side, or is named."""

import logging
import shutil

import pytest
from clips import module, ready
from test_sets import module as sets_module
from video_files import make


@pytest.fixture
def folder(tmp_path):
    """Four films under two or three names each, and one more."""
    root = tmp_path / "films"
    root.mkdir()
    for number in range(4):
        film = make(root / f"{number}.mp4", 12 + number, height=16, width=16)
        shutil.copyfile(film, root / f"copy_{number}.mp4")
        (root / f"link_{number}.mp4").symlink_to(film)
    make(root / "alone.mp4", 20, height=16, width=16)
    return root


def sides(data):
    """Each film's splits by its number."""
    found = {}
    for split, clips in data.clips.items():
        for clip in clips:
            found.setdefault(clip.film, set()).add(split)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_copies_and_links_are_one_film(folder, tmp_path, seed, caplog):
    data = ready(folder, cache_dir=str(tmp_path / "cache"), seed=seed, validation_share=0.4)
    assert sorted(map(sorted, sides(data).values())) == [["train"]] * 3 + [["validation"]] * 2
    assert "4 films are there under several names, and count as one: " in caplog.text
    again = ready(folder, cache_dir=str(tmp_path / "cache"), seed=seed, validation_share=0.4)
    assert sides(again) == sides(data)
    assert [entry.split for entry in again.entries()] == [entry.split for entry in data.entries()]


def test_who_did_not_cache_draws_the_same(folder, tmp_path):
    """As the other processes of a training do, which only read."""
    first = ready(folder, cache_dir=str(tmp_path / "cache"), seed=3, validation_share=0.4)
    other = module(folder, cache_dir=str(tmp_path / "cache"), seed=3, validation_share=0.4)
    other.entries()
    other.setup("fit")
    assert sides(other) == sides(first)


def test_a_split_in_the_table_is_kept_and_its_copies_follow_or_are_named(folder, tmp_path, caplog):
    rows = "0.mp4,train\ncopy_0.mp4,\n1.mp4,val\nlink_1.mp4,\n2.mp4,train\ncopy_2.mp4,val\nalone.mp4,train\n"
    (folder / "t.csv").write_text("path,split\n" + rows)
    data = ready(folder, table="t.csv", cache_dir=str(tmp_path / "cache"))
    names = {split: sorted({clip.entry.path.name for clip in clips}) for split, clips in data.clips.items()}
    assert names["train"] == ["0.mp4", "2.mp4", "alone.mp4", "copy_0.mp4"]
    assert names["validation"] == ["1.mp4", "copy_2.mp4", "link_1.mp4"]
    assert (
        f"1 films are in several splits, as the table has it: {folder / '2.mp4'} = {folder / 'copy_2.mp4'}"
        in caplog.text
    )


def test_a_copy_in_another_set_stands_on_the_same_side(folder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "longtake")
    other = tmp_path / "other"
    other.mkdir()
    for number in range(4):
        shutil.copyfile(folder / f"{number}.mp4", other / f"again_{number}.mp4")
    for seed in range(3):
        data = sets_module(
            folder, tmp_path / "cache", sets={"b": {"root": str(other)}}, seed=seed, validation_share=0.4
        )
        data.prepare_data()
        data.setup("fit")
        found = {}
        for split, clips in data.clips.items():
            for clip in clips:
                number = clip.entry.path.stem[-1]
                found.setdefault(number, set()).add(split)
        assert all(len(splits) == 1 for splits in found.values())
        assert set.union(*found.values()) == {"train", "validation"}
    assert "4 films are there under several names" in caplog.text


def test_a_table_whose_splits_are_none_of_ours_is_told(folder, tmp_path):
    (folder / "t.csv").write_text("path,text,split\nalone.mp4,a,0\n0.mp4,b,1\n")
    data = ready(folder, table="t.csv", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"no video of the split train can be used: .*: name a split train, or lower"):
        data.train_dataloader()
