"""Videos to batches through the cache, with a small codec whose latents are known."""

import itertools
import json
import os
import shutil

import pytest
import torch
from clips import Mean, Words, module, ready
from video_files import broken_files, make, read

from datamodules.batches import TEXT_MULTIPLE
from datamodules.cache import ClipCache
from datamodules.caching.texts import TextCache
from networks.text import NullText


@pytest.fixture
def folder(tmp_path):
    for name, count, caption in (("a", 20, "one two"), ("b", 10, ""), ("c", 7, "three")):
        make(tmp_path / f"{name}.mp4", count)
        (tmp_path / f"{name}.txt").write_text(caption)
    return tmp_path


def test_clips_start_every_hop_and_are_as_long_as_the_video_allows(folder):
    data = ready(folder)
    clips = data.cache.clips(data.entries())
    found = {(clip.entry.path.stem, clip.start, clip.num_frames) for clip in clips}
    assert found == {("a", 0, 9), ("a", 4, 9), ("a", 8, 9), ("b", 0, 9), ("c", 0, 5)}


def test_a_clip_is_cut_from_its_films_one_encoding_and_a_shorter_one_is_a_prefix(folder):
    data = ready(folder)
    clip = next(c for c in data.cache.clips(data.entries()) if c.entry.path.stem == "a" and c.start == 4)
    batch = data.batch([clip], 9, [0])
    # Frame f is grey of level 10 f: the film's first alone, then means of four.
    grey = torch.tensor([25.0, 65.0, 105.0]) / 127.5 - 1
    torch.testing.assert_close(batch.video[0, 0, :, 0, 0], grey, atol=0.02, rtol=0)
    assert batch.frame_index.tolist() == [[1.0, 2.0, 3.0]]
    assert torch.equal(data.batch([clip], 5, [0]).video, batch.video[:, :, :2])


def test_cuts_come_from_everywhere_in_a_clip_with_their_own_place(folder):
    data = ready(folder, cut_frames=1, num_frames=[9])
    clip = data.cache.clips(data.entries())[0]
    whole = ready(folder, num_frames=[9]).batch([clip], 9, [0])
    for start in range(3):
        cut = data.batch([clip], 9, [start])
        assert torch.equal(cut.video, whole.video[:, :, start : start + 1])
        assert torch.equal(cut.frame_index, whole.frame_index[:, start : start + 1])
    batches = itertools.islice(data.train_dataloader(), 20)
    places = {tuple(row.tolist()) for batch in batches for row in batch.frame_index}
    starts = {clip.start for clip in data.clips["train"]}
    assert places == {(start / 4 + place,) for start in starts for place in range(3)}


@pytest.mark.parametrize("cut", [0, 4])
def test_a_cut_that_no_clip_holds_is_refused(folder, cut):
    with pytest.raises(ValueError, match=rf"cut_frames={cut} must be at least 1 and at most the 3 latent frames"):
        ready(folder, cut_frames=cut, num_frames=[9])


def test_text_is_padded_and_masked(folder):
    data = ready(folder)
    clips = sorted(data.cache.clips(data.entries()), key=lambda clip: clip.entry.path.stem)
    batch = data.batch([clips[0], clips[3], clips[4]], 5, [0, 0, 0])
    assert batch.text_mask.shape == (3, TEXT_MULTIPLE)  # one shape for many lengths
    assert batch.text_mask[:, :2].tolist() == [[True, True], [False, False], [True, False]]
    assert batch.text[:, :2, 0].tolist() == [[3.0, 3.0], [0.0, 0.0], [5.0, 0.0]]
    assert not batch.text_mask[:, 2:].any()
    assert not batch.text[:, 2:].any()


def test_short_captions_come_as_often_as_asked_and_again_after_a_resume(folder):
    rows = ["path,text,short_text,split", "a.mp4,one two,brief,train", "b.mp4,three,,train", "c.mp4,four,,validation"]
    (folder / "t.csv").write_text("\n".join(rows))
    data = ready(folder, table="t.csv", num_frames=[9], short_caption_share=0.5, global_batch_size=4, batch_size=4)

    def texts(first, count):
        data.trainer.global_step = first
        batches = itertools.islice(data.train_dataloader(), count)
        return [text[mask, 0].tolist() for x in batches for text, mask in zip(x.text, x.text_mask, strict=True)]

    said = texts(0, 40)
    assert {tuple(words) for words in said} == {(3.0, 3.0), (5.0,)}  # "brief" and "three" are alike here
    assert said[80:] == texts(20, 20)
    data.clips["train"] = [clip for clip in data.clips["train"] if clip.entry.path.stem == "a"]
    own = texts(0, 40)
    assert abs(own.count([5.0]) - 80) < 5 * (160 * 0.25) ** 0.5
    assert own.count([5.0]) + own.count([3.0, 3.0]) == 160


def test_pixels(folder):
    data = ready(folder, pixels=True, cache_dtype="uint8")
    batch = data.batch(data.cache.clips(data.entries())[:1], 5, [0])
    assert batch.video.shape == (1, 3, 5, 16, 16)
    torch.testing.assert_close(batch.video[0, 0, :, 0, 0], torch.arange(5) * 10 / 127.5 - 1, atol=0.02, rtol=0)
    assert batch.frame_index.tolist() == [[0, 1, 2, 3, 4]]


def test_training_batches_resume_and_validation_stays(folder):
    data = ready(folder)
    loader = iter(data.train_dataloader())
    batches = [next(loader) for _ in range(6)]
    assert {batch.video.shape[2] for batch in batches} == {2, 3}
    data.trainer.global_step = 4
    resumed = next(iter(data.train_dataloader()))
    assert torch.equal(resumed.video, batches[4].video)
    assert torch.equal(resumed.frame_index, batches[4].frame_index)
    once, twice = (torch.cat([batch.video for batch in data.val_dataloader()]) for _ in range(2))
    assert torch.equal(once, twice)


def test_only_films_of_other_bytes_are_encoded_again(folder):
    """Not one that was copied, moved or touched; a line of the index that a kill cut short is no line."""
    data = ready(folder)
    assert len(data.cache.films) == 3
    before = Mean.calls
    shutil.copytree(folder, folder.parent / "copy", ignore=shutil.ignore_patterns("cache"))
    for path in folder.glob("*.mp4"):
        os.utime(path, (1, 1))
    (folder / "c.mp4").rename(folder / "d.mp4")
    shutil.copy(folder / "a.mp4", folder / "e.mp4")
    (index,) = data.cache.folder.glob("*.jsonl")
    with index.open("ab") as file:
        file.write(b'{"key": "00", "at": 99')
    ready(folder.parent / "copy", cache_dir=str(folder / "cache"))
    again = ready(folder)
    assert Mean.calls == before
    assert {clip.entry.path.stem for clip in again.cache.clips(again.entries())} == {"a", "b", "d", "e"}
    make(folder / "d.mp4", 9)
    last = ready(folder)
    assert Mean.calls > before
    assert len(last.cache.films) == 4


def test_what_is_stored_depends_on_size_rate_crop_type_and_codec_and_not_on_how_it_is_cut(folder):
    folders = {
        module(folder).cache.folder,
        module(folder, fps=5).cache.folder,
        module(folder, frame_stride=1).cache.folder,
        module(folder, crop="random").cache.folder,
        module(folder, cache_dtype="float16").cache.folder,
    }
    other = Mean()
    other.fingerprint = "another"
    folders.add(module(folder, codec=other).cache.folder)
    assert len(folders) == 6
    ready(folder)
    before = Mean.calls
    for changes in ({"num_frames": [9, 13]}, {"hop_frames": 8}, {"num_frames": [5, 17], "hop_frames": 3}):
        data = ready(folder, **changes)
        assert {clip.num_frames for clip in data.cache.clips(data.entries())} <= set(data.num_frames)
    assert Mean.calls == before


def test_clips_at_a_stride_are_frames_that_far_apart(folder):
    """Of 20, 10 and 7 frames every second one: 10, 5 and 4, of which the last is too short."""
    data = ready(folder, frame_stride=2)
    clips = {clip.entry.path.name: clip for clips in data.clips.values() for clip in clips if clip.start == 0}
    assert {name: clip.num_frames for name, clip in clips.items()} == {"a.mp4": 9, "b.mp4": 5}
    expected = read(folder / "a.mp4", frame_stride=2)[:9] / 127.5 - 1
    stored = data.cache.read(clips["a.mp4"], 3)
    assert torch.allclose(stored, Mean().encode(torch.from_numpy(expected).permute(3, 0, 1, 2)[None].float())[0])
    (skipped,) = json.loads((data.cache.folder / "skipped.json").read_text()).values()
    assert "too short, 4 frames at frame_stride=2, the shortest clip has 5" in skipped


def test_broken_videos_are_listed_and_passed_over(folder, caplog):
    names = [name for name in broken_files(folder) if name != "missing.mp4"]
    make(folder / "short.mp4", 3)
    (folder / "good.mp4").unlink()
    data = ready(folder)
    skipped = json.loads((data.cache.folder / "skipped.json").read_text())
    assert {os.path.basename(path) for path in skipped} == {*names, "short.mp4"}
    assert "too short, 3 frames" in skipped[str(folder / "short.mp4")]
    assert f"{len(skipped)} of {len(skipped) + 3} videos are skipped" in caplog.text
    assert {clip.entry.path.stem for clip in data.cache.clips(data.entries())} == {"a", "b", "c"}


def test_nothing_but_broken_videos_is_one_error(tmp_path):
    broken_files(tmp_path)
    (tmp_path / "good.mp4").unlink()
    data = module(tmp_path)
    data.prepare_data()
    with pytest.raises(ValueError, match="none of the 4 videos could be used"):
        data.setup("fit")


def test_a_folder_and_tables_give_the_same_batches(folder):
    rows = [{"path": f"{n}.mp4", "text": (folder / f"{n}.txt").read_text()} for n in "abc"]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "t.csv").write_text("path,text\n" + "".join(f"{row['path']},{row['text']}\n" for row in rows))
    streams = [iter(ready(folder, table=table).train_dataloader()) for table in (None, "t.csv", "t.jsonl")]
    for batches in zip(*(itertools.islice(stream, 4) for stream in streams), strict=True):
        for other in batches[1:]:
            assert all(torch.equal(x, y) for x, y in zip(batches[0][:4], other[:4], strict=True))


def test_a_table_that_names_a_missing_file_skips_it(folder):
    (folder / "t.csv").write_text("path\na.mp4\nb.mp4\ngone.mp4\n")
    data = ready(folder, table="t.csv")
    assert list(json.loads((data.cache.folder / "skipped.json").read_text())) == [str(folder / "gone.mp4")]
    assert {clip.entry.path.stem for clip in data.cache.clips(data.entries())} == {"a", "b"}


@pytest.mark.parametrize("damage", ["half", "empty", "gone", "no index", "index of text"])
def test_what_a_damaged_shard_no_longer_holds_is_made_again(folder, damage):
    data = ready(folder)
    whole = {clip.entry.path.stem: data.cache.read(clip, 2) for clip in data.cache.clips(data.entries())}
    (tar,) = data.cache.folder.glob("*.tar")
    (index,) = data.cache.folder.glob("*.jsonl")
    if damage in ("half", "empty"):
        tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2 if damage == "half" else 0])
    elif damage == "gone":
        tar.unlink()
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text("no\n[1]\n{}\n" * 9)
    before = Mean.calls
    again = ready(folder)
    assert 1 <= Mean.calls - before <= 2 * 3 + 1  # and one piece, to say how long it will take
    for clip in again.cache.clips(again.entries()):
        if clip.start == 0:
            again.cache.read(clip, 2)
    found = {clip.entry.path.stem: again.cache.read(clip, 2) for clip in again.cache.clips(again.entries())}
    assert all(torch.equal(found[name], kept) for name, kept in whole.items())


def test_a_relative_root_is_the_same_cache(folder, monkeypatch):
    ready(folder)
    monkeypatch.chdir(folder.parent)
    before = Mean.calls
    ready(folder, root=folder.name)
    assert Mean.calls == before


def test_captions_of_another_process_are_kept_and_lost_ones_made_again(tmp_path):
    def encode(captions):
        if captions == ["mine"]:  # meanwhile, elsewhere
            TextCache(tmp_path, 2).fill(["theirs", "mine"], lambda group: Words().encode(group))
        return Words().encode(captions)

    TextCache(tmp_path, 2).fill(["mine"], encode)
    texts = TextCache(tmp_path, 2)
    assert texts.missing(["mine", "theirs", "nobody's"]) == ["nobody's"]
    assert texts.read("theirs").tolist() == [[6.0, 0.0]]
    for path in tmp_path.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:40])
    lost = TextCache(tmp_path, 2)
    assert lost.missing(["mine", "theirs"]) == ["mine", "theirs"]
    lost.fill(["mine"], Words().encode)
    assert lost.read("mine").tolist() == [[4.0, 0.0]]
    with pytest.raises(ValueError, match="lacks the features of the caption 'theirs'"):
        lost.read("theirs")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_frames": [6]}, "5"),
        ({"height": 20}, "16"),
        ({"crop": "left"}, "centre, random"),
        ({"cache_dtype": "uint8"}, "float16"),
        ({"pixels": True}, "uint8"),
    ],
)
def test_wrong_settings_name_what_would_do(folder, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        module(folder, **changes)


def test_no_text_and_videos_that_are_made_first(tmp_path):
    data = ready(tmp_path, text_encoder=NullText(), make=lambda: [make(tmp_path / f"{n}.mp4", 9) for n in range(3)])
    batch = next(iter(data.train_dataloader()))
    assert batch.text_mask.shape == (2, 1)
    assert not batch.text_mask.any()
    assert isinstance(data.cache, ClipCache)
