"""Tables and decoding: other people's files, whole and broken."""

import json
import logging

import av
import numpy as np
import pytest
import torch
from video_files import broken_files, levels, make, read

from datamodules.splits import log_splits, share_out
from datamodules.tables import Entry, read_entries
from longtake.video import write_video


def test_every_frame_in_order(tmp_path):
    frames = read(make(tmp_path / "a.mp4"))
    assert frames.shape == (20, 16, 16, 3)
    assert levels(frames) == list(range(20))


@pytest.mark.slow
def test_the_same_frames_make_the_same_file(tmp_path):
    noise = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wall = torch.nn.functional.interpolate(noise, size=(400, 400), mode="bicubic")[0] * 2 - 1
    video = torch.stack([wall[:, 3 * i : 3 * i + 64, 2 * i : 2 * i + 64] for i in range(77)], dim=1)
    for number in range(8):
        write_video(tmp_path / f"{number}.mp4", [video], fps=5)
    assert len({(tmp_path / f"{number}.mp4").read_bytes() for number in range(8)}) == 1


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (10, list(range(8))),
        (5, [0, 2, 4, 6]),
        (20, [i // 2 for i in range(16)]),
        (16, [0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7]),
    ],
)
def test_target_rate_takes_the_frame_last_shown(tmp_path, fps, expected):
    """The last one is shown for as long as any."""
    assert levels(read(make(tmp_path / "a.mp4", 8), fps=fps)) == expected


@pytest.mark.parametrize("fps", [10, 25])
def test_a_stride_counts_frames_whatever_the_rate(tmp_path, fps):
    path = make(tmp_path / "a.mp4", 8, fps=fps)
    assert levels(read(path, frame_stride=1)) == list(range(8))
    assert levels(read(path, frame_stride=3)) == [0, 3, 6]


def test_variable_rate_keeps_its_speed(tmp_path):
    path = make(tmp_path / "a.mp4", 5, times=[0.0, 0.1, 0.5, 0.6, 0.9])
    assert levels(read(path, fps=10)) == [0, 1, 1, 1, 1, 2, 3, 3, 3, 4]


def test_odd_sides_are_scaled_and_cut(tmp_path):
    video = -torch.ones(3, 3, 22, 62)
    video[:, :, :, :20] = 1
    write_video(tmp_path / "wide.mp4", [video], fps=5)
    left = read(tmp_path / "wide.mp4", crop_place=0.0).mean()
    right = read(tmp_path / "wide.mp4", crop_place=1.0).mean()
    assert left > 200
    assert right < 30


def test_broken_files_are_named(tmp_path):
    for name in broken_files(tmp_path):
        with pytest.raises(ValueError, match=name):
            read(tmp_path / name)


def test_a_fast_start_file_that_ends_early_is_named(tmp_path):
    whole = make(tmp_path / "whole.mp4", 60, 64, 64)
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "cut.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * 0.8)])
    with pytest.raises(ValueError, match=r"cut\.mp4"):
        read(tmp_path / "cut.mp4")


def test_a_picture_with_the_wrong_name_is_one_frame(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    assert len(read(tmp_path / "picture.mp4")) == 1


def test_folder_csv_and_jsonl_say_the_same(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / f"{name}.mp4", 3)
        (tmp_path / f"{name}.txt").write_text(f"video {name}\n")
    (tmp_path / "t.csv").write_text("video,caption\na.mp4,video a\nb.mp4,video b\n")
    rows = [{"path": f"{name}.mp4", "text": f"video {name}"} for name in ("a", "b")]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    expected = [Entry(tmp_path / f"{name}.mp4", f"video {name}", "") for name in ("a", "b")]
    for table in (None, "t.csv", "t.jsonl"):
        assert read_entries(tmp_path, table) == expected


def test_wrong_tables_and_folders_get_one_sentence(tmp_path):
    (tmp_path / "t.csv").write_text("name,text\na,b\n")
    (tmp_path / "t.xml").write_text("<a/>")
    for table, sentence in (("t.csv", "none of path"), ("t.xml", "expected .csv"), ("u.csv", "does not exist")):
        with pytest.raises(ValueError, match=sentence):
            read_entries(tmp_path, table)
    with pytest.raises(ValueError, match="names no videos"):
        read_entries(tmp_path, None)
    with pytest.raises(ValueError, match="not a folder"):
        read_entries(tmp_path / "nowhere", None)


def test_splits_are_kept_renamed_or_shared_out(tmp_path):
    (tmp_path / "t.csv").write_text("path,split\na,train\nb,val\nc,test\n")
    assert [entry.split for entry in read_entries(tmp_path, "t.csv")] == ["train", "validation", "test"]
    entries = [Entry(tmp_path / str(number), "", "") for number in range(20)]
    shared = share_out(entries, 0.25, seed=1)
    assert sum(entry.split == "validation" for entry in shared) == 5
    assert shared == share_out(entries, 0.25, seed=1) != share_out(entries, 0.25, seed=2)
    all_train = [entry._replace(split="train") for entry in entries]
    assert sum(entry.split == "validation" for entry in share_out(all_train, 0.1, seed=1)) == 2


def test_what_other_programs_write_for_no_caption_is_none(tmp_path):
    (tmp_path / "t.csv").write_text("path,text\na.mp4,nan\nb.mp4,\nc.mp4,None\nd.mp4, none of them \n")
    rows = ['{"path": "a.mp4", "text": NaN}', '{"path": "b.mp4"}', '{"path": "c.mp4", "text": null}']
    (tmp_path / "t.jsonl").write_text("\n".join([*rows, '{"path": "d.mp4", "text": "none of them"}']))
    for table in ("t.csv", "t.jsonl"):
        assert [entry.caption for entry in read_entries(tmp_path, table)] == ["", "", "", "none of them"]


def test_splits_that_were_chosen_or_are_unknown_are_said(caplog):
    caplog.set_level(logging.INFO, "longtake")
    listed = [Entry(tmp, "", split) for tmp, split in zip("abcd", ("train", "train", "train", "spare"), strict=True)]
    log_splits(listed, share_out(listed, 0.3, seed=0))
    assert "1 spare, 2 train, 1 validation (1 drawn for validation by datamodule.validation_share)" in caplog.text
    assert "splits spare are not used" in caplog.text
    caplog.clear()
    listed = [Entry("a", "", "train"), Entry("b", "", "validation")]
    log_splits(listed, share_out(listed, 0.3, seed=0))
    assert caplog.messages == ["videos: 1 train, 1 validation"]
