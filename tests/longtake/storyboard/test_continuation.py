"""`generate.py given=FILE`: a storyboard of whole segments that go on from a video."""

import shutil

import pytest
import torch
import yaml
from video_files import make
from writers import BOARD, Writer, never

from longtake.cli.request import requested
from longtake.cli.storyboard import make_storyboard_video
from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.given import VideoProbe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.schema import ModelLimits
from longtake.video import place, read_frames


def started(cfg, video):
    """A call as generate.py starts it."""
    cfg.given = str(video)
    return cfg


def test_a_video_is_gone_on_from(ask, tmp_path):
    """Segments of two latents, eight frames each: 17 frames more are two of them, and the video's own end stays."""
    cfg = started(ask("lovic", "prompt=[a,b]", "num_frames=17", "seed=3"), make(tmp_path / "own.mp4", 20))
    writer = Writer()
    make_storyboard_video(requested(cfg), writer, read_frames)
    assert list(writer.made) == ["000.mp4"]
    board = yaml.safe_load((tmp_path / "out" / "continuation.yaml").read_text())
    assert [segment["prompt"] for segment in board["segments"]] == ["a", "b"]
    assert (board["seed"], board["video"]["path"]) == (3, str(tmp_path / "own.mp4"))
    line = yaml.safe_load((tmp_path / "out" / "manifest.jsonl").read_text())
    assert [part["task"] for part in line["segments"]] == ["given", "predict", "predict"]
    assert [part["num_frames"] for part in line["segments"]][1:] == [8, 8]


def test_what_is_kept_and_added_is_said(ask, tmp_path, caplog):
    """Sixteen frames are added in two segments of eight, after the five that the codec makes two latents of."""
    cfg = started(ask("lovic", "num_frames=17", "dry_run=true"), make(tmp_path / "own.mp4", 20))
    with caplog.at_level("INFO", logger="longtake"):
        make_storyboard_video(requested(cfg), never, never)
    assert "own.mp4: its last 5 frames (0.6 s) begin the take, at" in caplog.text
    assert "8.75 frames a second, without sound" in caplog.text
    assert "16 frames (1.8 s) are added, in segments of 8" in caplog.text


def test_a_video_that_is_too_short_is_answered_in_seconds_and_without_a_file_that_nobody_wrote(ask, tmp_path):
    cfg = started(ask("lovic"), make(tmp_path / "own.mp4", 2))
    with pytest.raises(ValueError, match=r"own\.mp4 is too short: it has \d frames? \(") as caught:
        make_storyboard_video(requested(cfg), never, never)
    said = str(caught.value)
    assert said.startswith(f"video {tmp_path}")
    assert "at the weights' 8.75 frames a second, and to go on from it takes 5 (0.6 s); give a longer one" in said


@pytest.mark.slow
def test_one_prompt_serves_all_and_the_last_one_stays(ask, tmp_path):
    video = make(tmp_path / "own.mp4", 20)
    for prompt, expected in (("prompt=a", ["a"] * 4), ("prompt=[a,b]", ["a", "b", "b", "b"])):
        cfg = started(ask("lovic", prompt, "num_frames=33", "dry_run=true"), video)
        make_storyboard_video(requested(cfg), never, never)
        board = yaml.safe_load((tmp_path / "out" / "continuation.yaml").read_text())
        assert [segment["prompt"] for segment in board["segments"]] == expected


def test_a_video_elsewhere_is_gone_on_from_as_one_that_is_here(ask, tmp_path):
    root = place("memory://given")
    root.mkdir(parents=True, exist_ok=True)
    (root / "own.mp4").write_bytes(make(tmp_path / "own.mp4", 20).read_bytes())
    cfg, made = ask("lovic", "prompt=[a,b]", "num_frames=9", "seed=3"), []
    for given in ("memory://given/own.mp4", str(tmp_path / "own.mp4")):
        writer = Writer()
        torch.manual_seed(0)  # of the codec, which is untrained
        make_storyboard_video(requested(started(cfg, given)), writer, read_frames)
        board = yaml.safe_load((tmp_path / "out" / "continuation.yaml").read_text())
        assert board["video"]["path"] == given
        made.append(writer.made)
        shutil.rmtree(tmp_path / "out")
    assert made[0] == made[1]


def test_a_storyboard_names_videos_by_url(tmp_path):
    root = place("memory://given")
    root.mkdir(parents=True, exist_ok=True)
    (root / "a b#1.mp4").write_bytes(make(tmp_path / "own.mp4", 30).read_bytes())
    (tmp_path / "s.yaml").write_text("video: 'memory://given/a b#1.mp4'\nsegments: [{name: more}]")
    limits = ModelLimits("weights", 2, 64, 4, MemoryPolicy(5, 8.0, 1.0, 64.0))
    facts = VideoProbe(10.0)
    (step, _) = plan(read_storyboard(tmp_path / "s.yaml", limits), limits, facts).steps
    assert (step.given.begin, step.given.num_frames) == (25, 5)
    assert facts(place("memory://given/a b#1.mp4")) == facts(tmp_path / "own.mp4")
    for name, reason in (
        ("memory://given/none.mp4", "no such file|cannot be fetched"),
        ("ftp://a/b.mp4", "nothing here reads ftp://"),
    ):
        (tmp_path / "s.yaml").write_text(f"seed: 0\nvideo: {name}\nsegments: [{{name: more}}]")
        with pytest.raises(ValueError, match=rf"s\.yaml, line 2: .*({reason})"):
            plan(read_storyboard(tmp_path / "s.yaml", limits), limits, facts)


def test_what_cannot_be_gone_on_from_is_one_sentence(ask, tmp_path):
    with pytest.raises(ValueError, match=r"given=nowhere\.mp4: no such file; give a video to go on from"):
        make_storyboard_video(requested(started(ask("lovic"), "nowhere.mp4")), never, never)
    with pytest.raises(ValueError, match=r"given=memory://nowhere/a\.mp4: no such file"):
        make_storyboard_video(requested(started(ask("lovic"), "memory://nowhere/a.mp4")), never, never)
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9/a\.mp4: (no such file|cannot be fetched)"):
        make_storyboard_video(requested(started(ask("lovic"), "http://127.0.0.1:9/a.mp4")), never, never)
    with pytest.raises(ValueError, match=r"own\.mp4: going on needs weights with a memory, .* such as weights="):
        make_storyboard_video(requested(started(ask("vin"), make(tmp_path / "own.mp4", 20))), never, never)
    with pytest.raises(ValueError, match="give one; a storyboard names its videos"):
        make_storyboard_video(requested(started(ask("lovic", board=BOARD), "own.mp4")), never, never)
