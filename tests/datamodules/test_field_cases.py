"""Films and tables as other projects' users had them: each program reads the same, and says what it loses.

The kinds are tested one by one in tests/longtake/video and in test_tables.py; here a folder of them all
goes through what training, storyboards, reports and VBench read by.
"""

import json

import pytest
from clips import ready
from films import cut, film, with_edit, with_matrix

from datamodules.tables import read_entries
from longtake.cli.videos import read_clip, read_length
from longtake.reports.beside import find_beside, find_videos
from longtake.storyboard.given import VideoProbe
from longtake.video import probe, read_frames


@pytest.fixture
def folder(tmp_path):
    """Films that are whole, and how many frames each shows at ten a second."""
    root = tmp_path / "films"
    root.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    film(root / "plain.mp4", 20)
    with_edit(film(root / "trimmed.mp4", 60, options={"crf": "1", "g": "10", "bf": "0"}), 2.5, 1.0)
    with_matrix(film(root / "mirrored.mp4", 20), -1, 0, 0, 1)
    film(root / "UPPER.MKV", 20)
    (root / "UPPER.TXT").write_text("upper case")
    film(elsewhere / "linked.webm", 20, codec="libvpx")
    (elsewhere / "linked.webm.txt").write_text("linked", encoding="utf-16")
    (root / "more").symlink_to(elsewhere)
    for name, kinds in (("a.mkv", {}), ("a.gif", {"codec": "gif", "pix": "rgb8"}), ("a.mp4", {})):
        cut(film(root / name, 60, **kinds), 0.6)
        (root / name).unlink()
    (root / "._plain.mp4").write_bytes(b"\x00\x05\x16\x07" + bytes(4092))
    return root


FRAMES = {"plain.mp4": 20, "trimmed.mp4": 10, "mirrored.mp4": 20, "UPPER.MKV": 20, "linked.webm": 20}


def test_training_takes_what_is_whole_and_names_the_rest(folder, tmp_path, caplog):
    data = ready(folder, cache_dir=str(tmp_path / "cache"))
    used = {clip.entry.path.name: clip.entry.caption for clips in data.clips.values() for clip in clips}
    assert used == {**dict.fromkeys(FRAMES, ""), "UPPER.MKV": "upper case", "linked.webm": "linked"}
    (skipped,) = (tmp_path / "cache").rglob("skipped.json")
    reasons = json.loads(skipped.read_text())
    assert {path.rpartition("/")[2] for path in reasons} == {"cut_a.mkv", "cut_a.gif", "cut_a.mp4"}
    assert all("truncated" in reason or "bytes are missing" in reason for reason in reasons.values())
    assert "6 of 8 videos have no caption and are trained on without one" in caplog.text
    assert "3 of 8 videos are skipped" in caplog.text


def test_every_program_reads_by_the_same_rule(folder):
    found = {path.name: path for path in find_videos(folder)}
    assert set(found) == {*FRAMES, "cut_a.mkv", "cut_a.gif", "cut_a.mp4"}
    assert {entry.path for entry in read_entries(folder, None)} == set(found.values())
    for name, count in FRAMES.items():
        path = found[name]
        assert len(read_frames(path, height=16, width=16, fps=10, crop_place=0.5)) == count
        assert VideoProbe(10.0)(path).num_frames == probe(path).count(10) == count
        assert read_length(path) == (count, 10)
        assert read_clip(path, short_side=16).video.shape == (3, count, 16, 16)
    names = [path.relative_to(folder).as_posix() for path in found.values()]
    beside = find_beside(folder, names, boundaries=(), reference=None, poses=None)
    prompts = {name.rpartition("/")[2]: each.prompt for name, each in beside.items() if each.prompt}
    assert prompts == {"UPPER.MKV": "upper case", "linked.webm": "linked"}
