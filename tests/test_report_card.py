"""The report card of a folder, and the program around it, on small videos written here."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from lightning_modules.metrics.drift import ColourDrift
from lightning_modules.metrics.frame_difference import SeamScore, TemporalFlicker
from lightning_modules.metrics.motion import MotionMagnitude
from lightning_modules.metrics.reconstruction import VideoPSNR
from lightning_modules.metrics.report_card import Clip, score_folder

ROOT = Path(__file__).parents[1]
# by path, since another package has the same name
SPEC = importlib.util.spec_from_file_location("longtake_evaluate", ROOT / "evaluate.py")
program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(program)


def write_video(path, levels, size=64, fps=8):
    """Textured frames whose brightness follows `levels` (0 to 255)."""
    texture = np.random.default_rng(0).integers(-20, 20, (size // 8, size // 8, 3)).repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for level in levels:
            pixels = (texture + level).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


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


def compose_evaluation(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("evaluate", list(overrides))


def score(videos, output, **changes):
    arguments = {
        "metrics": {"flicker": TemporalFlicker(), "drift": ColourDrift(), "seam": SeamScore(), "psnr": VideoPSNR()},
        "read_video": lambda path: program.read_clip(path, short_side=64),
        "boundaries": {"still.mp4": [10]},
        "references": {"still.mp4": videos / "still.mp4"},
        "settings": {"seed": 0},
    }
    return score_folder(videos=videos, output=output, **{**arguments, **changes})


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
    assert card.summary["seam"] == {"mean": still["seam"], "std": None, "videos": 1}


def test_files_hold_what_was_returned(folder, tmp_path):
    card = score(folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.csv", "report.json"]
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["rows"] == card.rows
    assert content["summary"] == card.summary
    assert content["settings"] == {"seed": 0, "features": {}}
    assert len(content["skipped"]) == 4
    with (tmp_path / "out" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["more/fade.mp4", "still.mp4"]
    assert float(rows[0]["drift"]) == card.rows[0]["drift"]
    assert rows[0]["psnr"] == ""


def test_a_metric_that_refuses_a_video_leaves_the_others(folder, tmp_path):
    tiny = Clip(torch.zeros(3, 4, 16, 16), 8.0)
    card = score(
        folder,
        tmp_path / "out",
        metrics={"flicker": TemporalFlicker(), "motion": MotionMagnitude()},
        read_video=lambda path: tiny,
        references={},
    )
    assert all(row["flicker"] == 1 and row["motion"] is None for row in card.rows)
    assert all(fault.metric == "motion" and "32 pixels" in fault.reason for fault in card.skipped)


def test_folders_without_videos_are_one_clear_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no video in '.*empty'"):
        score(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match=r"there is no folder '.*nowhere'"):
        score(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty" / "bad.mp4").touch()
    with pytest.raises(ValueError, match=r"none of the 1 videos in '.*empty' can be scored; the first: "):
        score(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_videos_are_shrunk_never_enlarged(tmp_path):
    write_video(tmp_path / "a.mp4", [0, 128, 255], size=128)
    assert program.read_clip(tmp_path / "a.mp4", short_side=32).video.shape == (3, 3, 32, 32)
    clip = program.read_clip(tmp_path / "a.mp4", short_side=256)
    assert clip.video.shape == (3, 3, 128, 128)
    assert clip.video[:, 0].mean() < -0.85
    assert clip.video[:, 2].mean() > 0.85


def test_the_program_scores_with_its_own_config(folder, tmp_path):
    (folder / "manifest.jsonl").write_text('{"file": "more/fade.mp4", "boundaries": [5]}\n')
    config = compose_evaluation(
        f"videos={folder}",
        f"output={tmp_path / 'out'}",
        f"references={folder}",
        "boundaries=[10]",
        "features._target_=lightning_modules.metrics.features.ColourTextureFeatures",
    )
    program.main(config)
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(content["rows"]) == 2
    assert all(value is not None for row in content["rows"] for value in row.values())
    names = {"subject_consistency": "colour-and-texture histograms", "feature_drift": "colour-and-texture histograms"}
    assert {name: content["settings"]["features"][name] for name in names} == names


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
        program.main(compose_evaluation(f"videos={tmp_path / 'empty'}", out))
    with pytest.raises(ValueError, match=r"^no file in references=.*empty has the name of a video: "):
        program.main(compose_evaluation(f"videos={folder}", out, f"references={tmp_path / 'empty'}"))
    (folder / "manifest.jsonl").write_text('{"file": "still.mp4"}\nhello\n')
    with pytest.raises(ValueError, match=r"^line 2 of '.*manifest.jsonl' is not "):
        program.main(compose_evaluation(f"videos={folder}", out))
    assert not (tmp_path / "out").exists()
