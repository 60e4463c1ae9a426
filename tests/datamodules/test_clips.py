"""Decoding and tables: files that are whole but unusual are read, and tables that are wrong say where."""

import struct

import av
import numpy as np
import pytest
from video_files import levels, make, read

from datamodules.tables import read_entries

PLAIN = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def encoded(path, picture, num_frames=12, keyframes=4, metadata=None):
    """One picture over and over: h w c uint8."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        stream.options = {"crf": "1", "g": str(keyframes), "bf": "0"}
        for _ in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_clip_cut_without_coding_anew_is_not_truncated(tmp_path):
    """It holds frames from the keyframe on, of which the first are never shown."""
    whole = make(tmp_path / "whole.mp4", 20)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as out:
        video = source.streams.video[0]
        stream, shift = out.add_stream_from_template(video), round(0.6 / video.time_base)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                out.mux(packet)
    assert levels(read(tmp_path / "cut.mp4")) == list(range(6, 20))
    assert levels(read(tmp_path / "cut.mp4", fps=5)) == list(range(6, 20, 2))


@pytest.mark.parametrize(
    ("matrix", "white"),
    [
        ((1, 0, 0, 1), "top"),
        ((0, 1, -1, 0), "right"),
        ((-1, 0, 0, -1), "bottom"),
        ((0, -1, 1, 0), "left"),
    ],
)
def test_a_turn_that_the_file_asks_for_is_made(tmp_path, matrix, white):
    """The file's matrix maps x to ax + cy and y to bx + dy, y downwards; the picture's upper half is white."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16] = 255
    path = encoded(tmp_path / "turned.mp4", picture)
    content = path.read_bytes()
    a, b, c, d = (value << 16 for value in matrix)
    place = content.index(PLAIN, content.index(b"tkhd"))
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    frames = read(path, height=16, width=16)
    assert frames.shape[1:] == (16, 16, 3)
    halves = {"top": frames[:, :8], "bottom": frames[:, 8:], "left": frames[:, :, :8], "right": frames[:, :, 8:]}
    assert max(halves, key=lambda name: halves[name].mean()) == white
    assert halves[white].mean() > 230


def test_a_turned_film_is_cut_as_it_stands(tmp_path):
    """A wide file that stands upright is cut above and below, not at the sides: its left end is then the bottom."""
    picture = np.zeros((32, 96, 3), np.uint8)
    picture[:, :32] = 255
    path = encoded(tmp_path / "tall.mp4", picture)
    content = path.read_bytes()
    place = content.index(PLAIN, content.index(b"tkhd"))
    turned = struct.pack(">9i", 0, -1 << 16, 0, 1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:place] + turned + content[place + 36 :])
    assert read(path, crop_place=0.0).mean() < 20
    assert read(path, crop_place=1.0).mean() > 230


def test_titles_in_another_encoding_cost_nothing(tmp_path):
    path = encoded(tmp_path / "a.mp4", np.zeros((16, 16, 3), np.uint8), metadata={"title": "cafe cafe"})
    path.write_bytes(path.read_bytes().replace(b"cafe cafe", b"caf\xe9 caf\xe9"))
    with pytest.raises(UnicodeDecodeError), av.open(str(path)):
        pass
    assert len(read(path)) == 12


# Tables


def test_spreadsheets_marks_other_columns_and_other_encodings(tmp_path):
    (tmp_path / "t.csv").write_text("path,text\na.mp4,Stück\n", encoding="utf-8-sig")
    assert [(entry.path.name, entry.caption) for entry in read_entries(tmp_path, "t.csv")] == [("a.mp4", "Stück")]
    (tmp_path / "t.jsonl").write_text('{"path": "a.mp4", "text": "x"}\n\n{"video": "b.mp4", "caption": "y"}\n')
    found = [(entry.path.name, entry.caption) for entry in read_entries(tmp_path, "t.jsonl")]
    assert found == [("a.mp4", "x"), ("b.mp4", "y")]
    (tmp_path / "b.mp4").touch()
    (tmp_path / "b.txt").write_bytes(b"caf\xe9 noir")
    assert [entry.caption for entry in read_entries(tmp_path, None)] == ["caf\ufffd noir"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"text,path\nhello,a.mp4\nlonely\n", "line 3: names no video"),
        ("t.csv", b"path,text\n,hello\n", "line 2: names no video"),
        ("t.csv", b"path,text\na.mp4,caf\xe9\n", "UTF-8"),
        ("t.jsonl", b'{"path": "a.mp4"}\n{"path":\n', "line 2: not JSON"),
        ("t.jsonl", b'["a.mp4"]\n', "line 1: expected an object"),
        ("t.jsonl", b'{"name": "a.mp4"}\n', "line 1: names no video; it has the columns name"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_entries(tmp_path, name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
