"""`generate.py given=FILE`: a storyboard of whole segments that go on from a video."""

import pytest
import yaml
from video_files import make
from writers import BOARD, Writer, never

from longtake.cli.storyboard import make_storyboard_video
from longtake.storyboard.continuation import continuation_file
from longtake.video import read_frames


def started(cfg, video):
    """A call as generate.py starts it."""
    cfg.given = str(video)
    cfg.storyboard = continuation_file(cfg.given, cfg.storyboard, cfg.output)
    return cfg


def test_a_video_is_gone_on_from(ask, tmp_path):
    """Segments of two latents, eight frames each: 17 frames more are two of them, and the video's own end stays."""
    cfg = started(ask("lovic", "prompt=[a,b]", "num_frames=17", "seed=3"), make(tmp_path / "own.mp4", 20))
    writer = Writer()
    make_storyboard_video(cfg, writer, read_frames)
    assert list(writer.made) == ["000.mp4"]
    board = yaml.safe_load((tmp_path / "out" / "continuation.yaml").read_text())
    assert [segment["prompt"] for segment in board["segments"]] == ["a", "b"]
    assert (board["seed"], board["video"]["path"]) == (3, str(tmp_path / "own.mp4"))
    line = yaml.safe_load((tmp_path / "out" / "manifest.jsonl").read_text())
    assert [part["task"] for part in line["segments"]] == ["given", "predict", "predict"]
    assert [part["num_frames"] for part in line["segments"]][1:] == [8, 8]


def test_one_prompt_serves_all_and_the_last_one_stays(ask, tmp_path):
    video = make(tmp_path / "own.mp4", 20)
    for prompt, expected in (("prompt=a", ["a"] * 4), ("prompt=[a,b]", ["a", "b", "b", "b"])):
        cfg = started(ask("lovic", prompt, "num_frames=33", "dry_run=true"), video)
        make_storyboard_video(cfg, never, never)
        board = yaml.safe_load((tmp_path / "out" / "continuation.yaml").read_text())
        assert [segment["prompt"] for segment in board["segments"]] == expected


def test_what_cannot_be_gone_on_from_is_one_sentence(ask, tmp_path):
    with pytest.raises(ValueError, match=r"given=nowhere\.mp4: no such file; give a video to go on from"):
        make_storyboard_video(started(ask("lovic"), "nowhere.mp4"), never, never)
    with pytest.raises(ValueError, match="needs weights with a memory"):
        make_storyboard_video(started(ask("vin"), make(tmp_path / "own.mp4", 20)), never, never)
    with pytest.raises(ValueError, match="give one; a storyboard names its videos"):
        started(ask("lovic", board=BOARD), "own.mp4")
