"""The report card of a folder, and the program around it, on small videos written here."""

import base64
import csv
import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from composing import composed
from video_files import textured as write_video

from longtake.cli import evaluate as program
from longtake.metrics.drift import ColourDrift
from longtake.metrics.features import ColourTextureFeatures
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.frechet import FrechetFrameDistance
from longtake.metrics.motion import MotionMagnitude
from longtake.metrics.per_video import Curve, floats
from longtake.metrics.reconstruction import VideoPSNR
from longtake.metrics.revisit import RevisitPSNR
from longtake.reports.beside import Beside, find_beside, find_videos, read_poses
from longtake.reports.plots import mean_curve, nice_ticks, plot
from longtake.reports.report_card import group_faults, score_folder
from longtake.reports.report_files import write_report
from longtake.reports.scorer import Clip, Scorer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path):
    """Two good videos, one in a subfolder, and four that cannot be scored."""
    videos = tmp_path / "videos"
    write_video(videos / "still.mp4", [128] * 20)
    write_video(videos / "more" / "fade.mp4", np.linspace(50, 200, 20))
    write_video(videos / "single.mp4", [128])
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("not a video")
    (videos / "cut_off.mp4").write_bytes((videos / "still.mp4").read_bytes()[:-400])
    (videos / "notes.txt").write_text("is ignored")
    return videos


def score(videos, output, *, beside=None, references=(), **changes):
    """The card of four cheap metrics, written; the still has a boundary and is its own reference."""
    arguments = {
        "metrics": {"flicker": TemporalFlicker(), "drift": ColourDrift(), "seam": SeamScore(), "psnr": VideoPSNR()},
        "read_video": lambda path: program.read_clip(path, short_side=64),
        "kept": output / "scores",
        "settings": {"seed": 0},
    }
    arguments |= changes
    names = [file.relative_to(videos).as_posix() for file in find_videos(videos)]
    known = {"still.mp4": Beside(boundaries=(10,), reference=videos / "still.mp4")} if beside is None else beside
    files = {name: known.get(name, Beside()) for name in names}
    card = score_folder(Scorer(**arguments), videos, files, list(references))
    write_report(card, output, metrics=arguments["metrics"], settings={"seed": 0, "videos": str(videos)})
    return card


def test_good_videos_are_scored_and_bad_ones_named(folder, tmp_path):
    card = score(folder, tmp_path / "out")
    assert [row["file"] for row in card.rows] == ["more/fade.mp4", "still.mp4"]
    assert {fault.file for fault in card.skipped} == {"single.mp4", "empty.mp4", "text.mp4", "cut_off.mp4"}
    assert {fault.metric for fault in card.skipped} == {"all"}
    assert "a single frame" in next(fault.reason for fault in card.skipped if fault.file == "single.mp4")
    fade, still = card.rows
    assert (still["frames"], still["height"], still["width"], still["fps"]) == (20, 64, 64, 8.0)
    assert still["flicker"] > 0.999
    assert still["drift"] < 0.5
    # first and last three of 20 frames, 150 levels apart from end to end
    assert fade["drift"] == pytest.approx(150 * 17 / 19, rel=0.03)
    assert still["seam"] == pytest.approx(1.0, abs=0.1)
    assert fade["seam"] is None
    assert (still["psnr"], fade["psnr"]) == (100.0, None)
    assert card.summary["flicker"]["videos"] == 2
    assert card.summary["flicker"]["mean"] == pytest.approx((fade["flicker"] + still["flicker"]) / 2)
    assert card.summary["seam"] == {"mean": still["seam"], "std": None, "videos": 1, "higher_is_better": False}
    assert card.notes == []


def test_files_hold_what_was_returned(folder, tmp_path):
    card = score(folder, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["report.csv", "report.html", "report.json", "scores"]
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["rows"] == card.rows
    assert content["summary"] == card.summary
    assert content["settings"] == {"seed": 0, "videos": str(folder)}
    assert len(content["skipped"]) == 4
    assert content["curves"]["still.mp4"]["seam"]["frames"] == [10]
    assert len(content["curves"]["more/fade.mp4"]["drift"]["values"]) == 20
    with (tmp_path / "out" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["more/fade.mp4", "still.mp4"]
    assert float(rows[0]["drift"]) == card.rows[0]["drift"]
    assert rows[0]["psnr"] == ""


class Page(HTMLParser):
    """Counts tags, keeps words and whatever a page would fetch."""

    ALONE = ("meta", "img", "line", "circle", "polyline")

    def __init__(self):
        super().__init__()
        self.tags, self.words, self.fetched, self.open = Counter(), [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.fetched += [value for name, value in attributes if name in ("src", "href") and value]
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.ALONE or self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_stands_alone_and_shows_everything(folder, tmp_path):
    card = score(folder, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "url(" not in text
    assert "@import" not in text
    assert page.fetched
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.fetched)
    assert page.tags["img"] == 2
    assert page.tags["svg"] == 4
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(page.fetched[1].split(",")[1]), np.uint8), 1)
    assert picture.shape == (96, 8 * 96, 3)
    assert abs(picture.mean() - 128) < 10  # the still's grey
    words = " ".join(page.words)
    for name, metric in (("flicker", TemporalFlicker), ("drift", ColourDrift), ("psnr", VideoPSNR)):
        assert name in words
        assert metric.about in words
    assert "flicker ↑" in words
    assert "drift ↓" in words
    assert "not scored: single.mp4 (all): it has a single frame" in words
    for row in card.rows:
        assert f"{row['file']}: 20 frames of 64 × 64 at 8 a second" in words


def test_names_of_files_cannot_write_into_the_page(tmp_path):
    write_video(tmp_path / "videos" / "<b>&.mp4", [0, 128, 255])
    score(tmp_path / "videos", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;.mp4" in text


def test_finished_videos_are_not_scored_again(folder, tmp_path):
    read = []

    def read_video(path):
        read.append(path.name)
        return program.read_clip(path, short_side=64)

    first = score(folder, tmp_path / "out", read_video=read_video)
    assert read.count("fade.mp4") == 1
    read.clear()
    assert score(folder, tmp_path / "out", read_video=read_video) == first
    assert "still.mp4" not in read
    assert "fade.mp4" not in read
    # another file, other settings or another reference are scored anew, the rest is not
    write_video(folder / "more" / "fade.mp4", np.linspace(50, 100, 20))
    changed = score(folder, tmp_path / "out", read_video=read_video)
    assert read.count("fade.mp4") == 1
    assert read.count("still.mp4") == 0
    assert changed.rows[0]["drift"] == pytest.approx(50 * 17 / 19, rel=0.05)
    score(folder, tmp_path / "out", read_video=read_video, settings={"seed": 1})
    assert read.count("still.mp4") == 2  # itself and, as its reference, again
    score(folder, tmp_path / "out", read_video=read_video, beside={"still.mp4": Beside(boundaries=(9,))})
    assert read.count("still.mp4") == 3
    for kept in (tmp_path / "out" / "scores").iterdir():
        kept.write_bytes(b"broken")
    assert score(folder, tmp_path / "out", read_video=read_video) == changed
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_new_metric_is_added_to_what_is_kept(folder, tmp_path):
    class Broken(TemporalFlicker):
        def measure(self, video):
            raise AssertionError("its score is kept")

    first = score(folder, tmp_path / "out", metrics={"flicker": TemporalFlicker(), "seam": SeamScore()})
    more = score(folder, tmp_path / "out", metrics={"flicker": Broken(), "seam": Broken(), "drift": ColourDrift()})
    fresh = score(folder, tmp_path / "new", metrics={"drift": ColourDrift()})
    assert [row["drift"] for row in more.rows] == [row["drift"] for row in fresh.rows]
    assert [{**row, "drift": None} for row in more.rows] == [{**row, "drift": None} for row in first.rows]
    assert more.curves["still.mp4"].keys() == {"flicker", "seam", "drift"}


def test_a_killed_run_leaves_what_it_finished(folder, tmp_path):
    def killed(path):
        if path.name == "still.mp4":
            raise KeyboardInterrupt
        return program.read_clip(path, short_side=64)

    with pytest.raises(KeyboardInterrupt):
        score(folder, tmp_path / "out", read_video=killed)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores"]
    assert len(list((tmp_path / "out" / "scores").iterdir())) == 1


def test_a_metric_that_refuses_a_video_leaves_the_others(folder, tmp_path):
    tiny = Clip(torch.zeros(3, 4, 16, 16), 8.0)
    card = score(
        folder,
        tmp_path / "out",
        metrics={"flicker": TemporalFlicker(), "motion": MotionMagnitude()},
        read_video=lambda path: tiny,
        beside={},
    )
    assert all(row["flicker"] == 1 and row["motion"] is None for row in card.rows)
    assert all(fault.metric == "motion" and "32 pixels" in fault.reason for fault in card.skipped)
    assert [(what, metric) for what, metric, _ in group_faults(card.skipped)] == [
        ("6 videos, such as cut_off.mp4", "motion")
    ]


def test_a_bad_reference_or_pose_table_costs_only_its_own_rows(folder, tmp_path):
    (tmp_path / "poses.csv").write_text("frame,x,y,angle\n0,1,2,3\n1,1,2,north\n")
    beside = {
        "still.mp4": Beside(reference=folder / "text.mp4", poses=tmp_path / "poses.csv"),
        "more/fade.mp4": Beside(reference=folder / "single.mp4"),
    }
    metrics = {"flicker": TemporalFlicker(), "psnr": VideoPSNR(), "revisit": RevisitPSNR()}
    card = score(folder, tmp_path / "out", beside=beside, metrics=metrics)
    assert [row["flicker"] is not None for row in card.rows] == [True, True]
    assert [row["psnr"] for row in card.rows] == [None, None]
    reasons = {(fault.file, fault.metric): fault.reason for fault in card.skipped if fault.metric != "all"}
    assert "text.mp4: cannot be decoded" in reasons["still.mp4", "reference"]
    assert "are no table with numbers under frame, x, y and angle" in reasons["still.mp4", "poses"]
    assert "20 frames of 64 × 64 and a reference with 1 frames" in reasons["more/fade.mp4", "psnr"]


def test_a_metric_that_this_machine_lacks_is_said_once(folder, tmp_path):
    class Nowhere(VideoPSNR):
        def unavailable(self):
            return "it is nowhere"

    metrics = {"flicker": TemporalFlicker(), "lost": Nowhere()}
    card = score(folder, tmp_path / "out", metrics=metrics)
    assert [fault for fault in card.skipped if fault.metric != "all"] == [("all videos", "lost", "it is nowhere")]
    # without a reference nobody would have had it
    assert [fault.metric for fault in score(folder, tmp_path / "b", metrics=metrics, beside={}).skipped] == ["all"] * 4


def test_mixed_sizes_and_rates_are_noted(folder, tmp_path):
    write_video(folder / "small.mp4", [128] * 10, size=32, fps=12)
    card = score(folder, tmp_path / "out")
    assert card.notes == [
        "videos differ in size, on which scores depend: 64 × 64 (2), 32 × 32 (1)",
        "videos differ in frames a second, on which scores depend: 8 (2), 12 (1)",
        "videos differ in number of frames, on which scores depend: 20 (2), 10 (1)",
    ]


PROTOCOL = (
    "32 samples against 32, 96 features (colour-and-texture histograms; they see 64 × 64 pixels), 16 frames a video, "
    "evenly spread, videos of 64 × 64 at 8 frames a second, references of 64 × 64 (1), 32 × 48 (1) at 8 (1), 12 (1) "
    "frames a second"
)


def test_distances_come_with_their_protocol(folder, tmp_path, capsys):
    references = tmp_path / "true"
    write_video(references / "one.mp4", [60] * 20)
    write_video(references / "other.mp4", np.linspace(60, 200, 20), size=(32, 48), fps=12)
    (references / "bad.mp4").touch()
    read = []

    def read_video(path):
        read.append(path.name)
        return program.read_clip(path, short_side=64)

    metrics = {"flicker": TemporalFlicker(), "fid": FrechetFrameDistance(features=ColourTextureFeatures())}
    given = {"metrics": metrics, "references": find_videos(references), "read_video": read_video}
    card = score(folder, tmp_path / "out", **given)
    assert card.distances["fid"]["distance"] > 0.1
    assert card.distances["fid"] | {"distance": 0} == {
        "distance": 0,
        "features": "colour-and-texture histograms",
        "sees": "64 × 64 pixels",
        "dimensions": 96,
        "sampling": "16 frames a video, evenly spread",
        "video_samples": 32,
        "reference_samples": 32,
        "video_size": "64 × 64",
        "video_fps": "8",
        "reference_size": "64 × 64 (1), 32 × 48 (1)",
        "reference_fps": "8 (1), 12 (1)",
        "protocol": PROTOCOL,
    }
    assert (str(references / "bad.mp4"), "reference") in {(fault.file, fault.metric) for fault in card.skipped}
    assert "6 of 6 videos have no reference of their own name" not in card.notes[0]
    assert any(note.startswith("5 of 6 videos have no reference of their own name") for note in card.notes)
    assert any("fid: 32 samples for 96 features make it too large" in note for note in card.notes)
    assert PROTOCOL in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["distances"]["fid"]["protocol"] == PROTOCOL
    with (tmp_path / "out" / "distances.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["name"], line["protocol"]) == ("fid", PROTOCOL)
    assert float(line["distance"]) == card.distances["fid"]["distance"]
    program.show(card, metrics, tmp_path / "out")
    cells = [line.split("┃" if "┃" in line else "│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert "".join(cell[-2] for cell in cells if len(cell) == 5).replace(" ", "") == PROTOCOL.replace(" ", "")
    read.clear()
    assert score(folder, tmp_path / "out", **given).distances == card.distances
    assert "one.mp4" not in read
    same = score(folder, tmp_path / "same", **{**given, "references": [folder / "still.mp4", folder / "more/fade.mp4"]})
    assert same.distances["fid"]["distance"] == pytest.approx(0, abs=1e-5)


def test_folders_without_videos_are_one_clear_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no video in '.*empty'"):
        score(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match=r"there is no folder '.*nowhere'"):
        score(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty" / "bad.mp4").touch()
    with pytest.raises(ValueError, match=r"none of the 1 videos in '.*empty' can be scored: bad\.mp4: cannot be decod"):
        score(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_reason_is_named_where_no_video_can_be_scored(tmp_path):
    videos = tmp_path / "videos"
    for name in ("one", "two"):
        write_video(videos / f"{name}.mp4", [128])
    for name in ("three", "four"):
        (videos / f"{name}.mp4").write_text("not a video")
    with pytest.raises(ValueError, match="none of the 4 videos") as refused:
        score(videos, tmp_path / "out", beside={})
    assert str(refused.value).endswith(
        ": 2 videos, such as four.mp4: cannot be decoded (InvalidDataError); "
        "2 videos, such as one.mp4: it has a single frame"
    )

    def read_video(path):
        raise ValueError(f"reason {path.name}")

    for number in range(10):
        (videos / f"{number}.mp4").touch()
    with pytest.raises(ValueError, match=r"0\.mp4: reason 0\.mp4; .*; and 4 reasons more$"):
        score(videos, tmp_path / "out", beside={}, read_video=read_video)


def test_what_lies_beside_a_video_is_found(tmp_path):
    videos, true = tmp_path / "videos", tmp_path / "true"
    for name in ("a", "b/c"):
        for place in (videos, true, tmp_path / "poses"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
    (true / "a.mp4").touch()
    (videos / "a.mp4").touch()
    table = b"frame,x,y,z,angle,pitch\n0,1,2,3,90,0\n1,1.5,2,3,91,0\n"
    (tmp_path / "poses" / "b" / "c.csv.gz").write_bytes(gzip.compress(table))
    (videos / "a.txt").write_text("A caption\n")
    (videos / "manifest.jsonl").write_text('{"file": "b/c.mp4", "boundaries": [5], "prompt": "A prompt"}\n')
    found = find_beside(videos, ["a.mp4", "b/c.mp4"], boundaries=[7], reference=true, poses=None)
    assert found["a.mp4"] == Beside((7,), "A caption", true / "a.mp4", None)
    assert found["b/c.mp4"] == Beside((5,), "A prompt", None, tmp_path / "poses" / "b" / "c.csv.gz")
    assert read_poses(found["b/c.mp4"].poses).tolist() == [[1, 2, 3, 90], [1.5, 2, 3, 91]]
    with pytest.raises(ValueError, match=r"^no file in poses=.*true has the name of a video: a\.csv\.gz"):
        find_beside(videos, ["a.mp4"], boundaries=[], reference=None, poses=true)
    (tmp_path / "late.csv").write_text("frame,x,y,angle\n1,1,2,3\n")
    with pytest.raises(ValueError, match="do not number their frames 0, 1, 2"):
        read_poses(tmp_path / "late.csv")


def test_curves_are_drawn_to_scale():
    curves = {"a": Curve([0, 10], [0.0, 1.0]), "b": Curve([0, 5], [1.0, 1.0])}
    assert mean_curve(curves) == Curve([0, 5, 10], [0.5, 1.0, 1.0])
    drawing = ElementTree.fromstring(plot(curves))
    lines = [line.get("points") for line in drawing.iter("polyline")]
    (low_x, low_y), (high_x, high_y) = (map(float, point.split(",")) for point in lines[0].split())
    assert low_x < high_x
    assert low_y > high_y  # larger values are higher up
    assert len(lines) == 3
    assert nice_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert nice_ticks(3, 3)[0] <= 3 <= nice_ticks(3, 3)[-1]
    assert plot({"still": Curve([0], [0.0])}).startswith("<svg")


def test_videos_are_shrunk_never_enlarged(tmp_path):
    write_video(tmp_path / "a.mp4", [0, 128, 255], size=128)
    assert program.read_clip(tmp_path / "a.mp4", short_side=32).video.shape == (3, 3, 32, 32)
    clip = program.read_clip(tmp_path / "a.mp4", short_side=256)
    assert clip.video.shape == (3, 3, 128, 128)
    assert clip.video.dtype == torch.uint8
    assert floats(clip.video)[:, 0].mean() < -0.85
    assert floats(clip.video)[:, 2].mean() > 0.85


@pytest.mark.slow
def test_the_program_scores_with_its_own_config(folder, tmp_path):
    (folder / "manifest.jsonl").write_text('{"file": "more/fade.mp4", "boundaries": [5]}\n')
    config = composed(
        "evaluate",
        f"videos={folder}",
        f"output={tmp_path / 'out'}",
        f"reference={folder}",
        "boundaries=[10]",
        "features.name=histograms",
        "background_features.name=histograms",
        "~metrics.lpips",
        "~metrics.frechet_videos",
    )
    program.run(config)
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(content["rows"]) == 2
    empty = {name for row in content["rows"] for name, value in row.items() if value is None}
    assert empty == {"prompt_colour", "revisit_psnr", "revisit_ssim"}
    assert content["distances"]["frechet_frames"]["distance"] == pytest.approx(0, abs=1e-5)
    names = {"subject_consistency": "colour-and-texture histograms", "mawe": "DIS (OpenCV, medium)"}
    assert {name: content["settings"]["models"][name] for name in names} == names
    assert content["settings"]["metrics"]["mawe"]["flow"]["name"] == "dis"


@pytest.mark.slow
def test_the_program_says_what_it_needs(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "evaluate.py"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 2
    sentence = "output=… videos=… is missing: python evaluate.py videos=FOLDER output=FOLDER"
    assert result.stderr.endswith(f"error: {sentence}\n")
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_program_refuses_what_it_cannot_use(folder, tmp_path):
    out = f"output={tmp_path / 'out'}"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^there is no video in '.*empty'"):
        program.run(composed("evaluate", f"videos={tmp_path / 'empty'}", out))
    with pytest.raises(ValueError, match=r"^there is no video in '.*empty'"):
        program.run(composed("evaluate", f"videos={folder}", out, f"reference={tmp_path / 'empty'}"))
    with pytest.raises(ValueError, match=r"^no file in poses=.*empty has the name of a video: "):
        program.run(composed("evaluate", f"videos={folder}", out, f"poses={tmp_path / 'empty'}"))
    (folder / "manifest.jsonl").write_text('{"file": "still.mp4"}\nhello\n')
    with pytest.raises(ValueError, match=r"^line 2 of '.*manifest.jsonl' is not .*: mend it, or remove the file"):
        program.run(composed("evaluate", f"videos={folder}", out))
    (folder / "manifest.jsonl").write_bytes(b'{"file": "caf\xe9.mp4"}\n')
    with pytest.raises(ValueError, match=r"manifest.jsonl' is not text in UTF-8: save it as UTF-8, or remove it"):
        program.run(composed("evaluate", f"videos={folder}", out))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_poses_of_a_stranger_are_bounded(tmp_path):
    import gzip

    from longtake.reports.beside import MOST_POSE_BYTES, read_poses

    head = b"frame,x,y,angle\n"
    good = tmp_path / "good.csv.gz"
    good.write_bytes(gzip.compress(head + b"0,1,2,3\n1,1,2,4\n"))
    assert read_poses(good).tolist() == [[1, 2, 0, 3], [1, 2, 0, 4]]
    os.mkfifo(tmp_path / "pipe.csv")
    bad = {
        "bomb.csv.gz": gzip.compress(head + b"0" * (MOST_POSE_BYTES + 1)),
        "cut.csv.gz": good.read_bytes()[:-12],
        "broken.csv.gz": good.read_bytes()[:12] + b"\xff" * 20,
        "nan.csv": head + b"0,nan,2,3\n",
        "inf.csv": head + b"0,1,2,inf\n",
        "empty.csv": b"",
        "pipe.csv": None,
    }
    for name, data in bad.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"poses '.*{name}'"):
            read_poses(tmp_path / name)
