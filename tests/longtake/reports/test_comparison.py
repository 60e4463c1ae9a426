"""Several folders beside each other: pairs, intervals, and the page that plays them."""

import base64
import csv
import io
import json

import av
import forked
import numpy as np
import pytest
from composing import ROOT, composed
from video_files import make, textured

import longtake
from longtake.cli import evaluate as program
from longtake.metrics.drift import ColourDrift
from longtake.metrics.frame_difference import TemporalFlicker
from longtake.metrics.motion import MotionMagnitude
from longtake.reports.beside import Beside
from longtake.reports.comparison import compare, named_folders
from longtake.reports.comparison_page import write_comparison
from longtake.reports.players import Players
from longtake.reports.report_card import score_folder
from longtake.reports.report_files import write_report
from longtake.reports.scorer import Scorer

METRICS = {"flicker": TemporalFlicker(), "drift": ColourDrift()}


@pytest.fixture
def folders(tmp_path):
    """Two folders: videos of the second drift by 40 levels more, each; it lacks one and has another."""
    for number in range(6):
        textured(tmp_path / "a" / f"{number}.mp4", np.linspace(60, 60 + 10 * number, 12))
        if number < 5:
            textured(tmp_path / "b" / f"{number}.mp4", np.linspace(60, 100 + 10 * number, 12))
    textured(tmp_path / "b" / "alone.mp4", [100] * 12)
    return {"a": tmp_path / "a", "b": tmp_path / "b"}


def compared(folders, output, *, prompts=None, metrics=METRICS):
    scorer = Scorer(
        metrics=metrics,
        read_video=lambda path: program.read_clip(path, short_side=64),
        kept=output / "scores",
        settings={},
    )
    names = {name: sorted(path.name for path in folder.iterdir()) for name, folder in folders.items()}
    files = {
        name: {file: Beside(prompt=(prompts or {}).get((name, file))) for file in found}
        for name, found in names.items()
    }
    cards = {name: score_folder(scorer, folder, files[name], []) for name, folder in folders.items()}
    found = compare(cards, files)
    write_comparison(found, output, folders=folders, metrics=metrics, settings={"seed": 0})
    return found


def test_differences_are_of_videos_that_both_folders_have(folders, tmp_path):
    found = compared(folders, tmp_path / "out")
    drift = found.differences["drift"]["b"]
    own = {name: {row["file"]: row["drift"] for row in card.rows} for name, card in found.cards.items()}
    expected = [own["b"][f"{number}.mp4"] - own["a"][f"{number}.mp4"] for number in range(5)]
    assert drift.videos == drift.groups == 5
    assert drift.mean == pytest.approx(np.mean(expected))
    assert drift.mean == pytest.approx(40 * 10 / 11, rel=0.15)  # from end to end, less the frames that are averaged
    assert min(expected) <= drift.low <= drift.mean <= drift.high <= max(expected)
    assert drift.is_clear
    assert not found.differences["flicker"]["b"].is_clear or found.differences["flicker"]["b"].mean < 0
    assert found.means["drift"]["a"].videos == 6
    assert any("2 videos are in a or in b alone" in note for note in found.notes)


def test_videos_of_one_prompt_are_one_group_and_other_prompts_are_no_pair(folders, tmp_path):
    prompts = {(name, f"{number}.mp4"): f"prompt {number // 2}" for name in "ab" for number in range(6)}
    prompts["b", "4.mp4"] = "something else"
    found = compared(folders, tmp_path / "out", prompts=prompts)
    drift = found.differences["drift"]["b"]
    assert (drift.videos, drift.groups) == (4, 2)
    assert any("1 videos of b have the name of one of a but another prompt" in note for note in found.notes)
    assert any("b and a have 2 prompts in common" in note for note in found.notes)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("<p>“prompt 0”</p>") == 2  # of two pairs, once each
    assert "<p>a: “prompt 2”</p><p>b: “something else”</p>" in text


def test_folders_without_a_common_video_have_no_difference(folders, tmp_path):
    textured(tmp_path / "c" / "other.mp4", [100] * 12)
    found = compared({"a": folders["a"], "c": tmp_path / "c"}, tmp_path / "out")
    assert found.differences["drift"] == {}
    assert "c has no video in common with a, by name: no difference can be given" in found.notes
    assert not (tmp_path / "out" / "differences.csv").exists()


def test_the_page_plays_videos_side_by_side_and_files_hold_the_figures(folders, tmp_path):
    found = compared(folders, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("<video ") == 12
    assert text.count("data:video/mp4;base64,") == 12
    assert text.count("<section>") == 7
    assert "http" not in text.replace("http-equiv", "")
    first = base64.b64decode(text.split('src="data:video/mp4;base64,')[1].split('"')[0])
    assert first == (folders["a"] / "0.mp4").read_bytes()
    drift = found.differences["drift"]["b"]
    assert f"{drift.mean:+.3g} <small>({drift.low:+.3g} to {drift.high:+.3g})</small><br>worse</b>" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["differences"]["drift"]["b"]["mean"] == drift.mean
    with (tmp_path / "out" / "differences.csv").open() as file:
        rows = {(row["metric"], row["folder"]): row for row in csv.DictReader(file)}
    assert (float(rows["drift", "b"]["mean"]), rows["drift", "b"]["clear"]) == (drift.mean, "True")
    with (tmp_path / "out" / "report.csv").open() as file:
        assert [row["folder"] for row in csv.DictReader(file)] == ["a"] * 6 + ["b"] * 6


def test_names_cannot_write_into_the_page(folders, tmp_path):
    prompts = {(name, f"{number}.mp4"): "<b>a</b>" for name in ("<b>", "b") for number in range(6)}
    compared({"<b>": folders["a"], "b": folders["b"]}, tmp_path / "out", prompts=prompts)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;b&gt; (6 videos)" in text
    assert "<b>" not in text


def test_a_report_of_one_folder_plays_its_videos(folders, tmp_path):
    scorer = Scorer(
        metrics={"motion": MotionMagnitude()},
        read_video=lambda path: program.read_clip(path, short_side=64),
        kept=tmp_path / "out" / "scores",
        settings={},
    )
    card = score_folder(scorer, folders["a"], {f"{number}.mp4": Beside() for number in range(6)}, [])
    write_report(card, tmp_path / "out", metrics=scorer.metrics, settings={}, videos=folders["a"])
    assert (tmp_path / "out" / "report.html").read_text().count("data:video/mp4;base64,") == 6


def test_what_a_browser_cannot_play_is_written_anew_and_small(tmp_path):
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
        for level in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 20 * level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = Players().player(path, "old")
    with av.open(io.BytesIO(base64.b64decode(shown.split("base64,")[1].split('"')[0]))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 170, 128)
        assert sum(1 for _ in container.decode(stream)) == 9


def test_a_full_page_names_what_it_leaves_out(tmp_path):
    one = make(tmp_path / "one.mp4")
    players = Players(most_bytes=one.stat().st_size)
    assert players.player(one, "one")
    assert players.player(one, "two") == ""
    (tmp_path / "none.mp4").write_bytes(b"no video")
    assert Players().player(tmp_path / "none.mp4", "none") == ""
    assert players.left_out == ["two"]


def test_folders_are_called_by_their_last_part_unless_two_are_alike():
    assert list(named_folders("runs/a")) == ["a"]
    assert list(named_folders(["runs/a", "runs/b"])) == ["a", "b"]
    assert list(named_folders(["runs/a/out", "runs/b/out"])) == ["runs/a/out", "runs/b/out"]
    assert list(named_folders({"VIN": "x", "DiT": "y"})) == ["VIN", "DiT"]
    with pytest.raises(ValueError, match="names a folder twice"):
        named_folders(["a", "a"])
    with pytest.raises(ValueError, match="gives one folder two names"):
        named_folders({"VIN": "a", "DiT": "./a"})
    with pytest.raises(ValueError, match="names no folder"):
        named_folders([])


def test_the_library_compares_folders_by_name(folders, tmp_path):
    cheap = [
        f"~metrics.{name}" for name in composed("evaluate").metrics if name not in ("colour_drift", "temporal_flicker")
    ]
    found = longtake.compare({"ours": folders["a"], "theirs": folders["b"]}, output=tmp_path / "out", settings=cheap)
    assert list(found.cards) == ["ours", "theirs"]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_the_program_compares_as_it_is_typed(folders, tmp_path):
    names = [f"~metrics.{name}" for name in composed("evaluate").metrics if "drift" not in name]
    command = ["evaluate.py", f"videos=[{folders['a']},{folders['b']}]", f"output={tmp_path / 'out'}"]
    ended = forked.run([*command, *names], cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    assert "b − a" in ended.stdout
    assert "2 folders are compared" in ended.stdout
    mapping = f"videos={{VIN:{folders['a']},DiT:{folders['b']}}}"
    ended = forked.run(["evaluate.py", mapping, f"output={tmp_path / 'named'}", *names], cwd=ROOT)
    assert "DiT − VIN" in ended.stdout
    ended = forked.run(["evaluate.py", f"videos=[{folders['a']},{folders['b']}]", "vbench=long_custom"], cwd=ROOT)
    assert "one folder" in ended.stderr
