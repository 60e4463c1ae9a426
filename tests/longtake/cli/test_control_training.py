"""Control from a batch to a video: training, release, and a file of poses."""

import json
import logging

import pytest
import torch
from composing import ROOT
from hydra import compose, initialize_config_dir
from tiny_runs import config

from longtake.cli.request import requested
from longtake.cli.take import make_videos
from longtake.cli.training import train
from longtake.releases.writing import release
from longtake.video import write_video

pytestmark = pytest.mark.slow


@pytest.fixture
def table(videos, tmp_path):
    """A table of the videos with a file of poses for each: every pixel frame goes one further along."""
    poses = "".join(f"{n},{n},0,{5 * n}\n" for n in range(25))
    lines = ["path,text,control"]
    for video in sorted(videos.glob("*.mp4")):
        (tmp_path / f"{video.stem}.csv").write_text(f"frame,x,y,angle\n{poses}")
        lines.append(f"{video},{video.stem},{tmp_path / video.stem}.csv")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return f"datamodule.table={tmp_path / 'table.csv'}"


def make(run, output, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        cfg = compose(
            "generate",
            overrides=[
                *(f"weights={run}", f"output={output}", f"paths.root_dir={ROOT}", "num_frames=9", "prompt=a square"),
                *overrides,
            ],
        )
    return make_videos(requested(cfg), write_video)


def test_control_is_trained_released_and_given_by_a_file(videos, table, tmp_path, caplog):
    run, folder = tmp_path / "run", tmp_path / "release"
    caplog.set_level(logging.INFO, logger="longtake")
    assert train(config(videos, run, table, "control=pose", "optimizer.lr=0.01")) is not None
    assert "val_without_control/loss" in (run / "csv" / "metrics.csv").read_text().splitlines()[0]
    (following,) = (line for line in caplog.messages if line.startswith("next "))
    assert f"control_file={tmp_path}" in following  # that of a video that was not trained on
    release(run, folder, torch.float32)
    walk = tmp_path / "walk.csv"
    walk.write_text("frame,x,y,angle\n" + "".join(f"{n},{n},0,{5 * n}\n" for n in range(9)))
    make(folder, tmp_path / "with", f"control_file={walk}")
    line = json.loads((tmp_path / "with" / "manifest.jsonl").read_text())
    assert line["control"] == "walk.csv"
    make(folder, tmp_path / "without")
    assert json.loads((tmp_path / "without" / "manifest.jsonl").read_text())["settings"] != line["settings"]
    with pytest.raises(ValueError, match=r"walk\.csv has 9 rows, but 13 frames are to be made"):
        make(folder, tmp_path / "longer", f"control_file={walk}", "num_frames=13")


def test_control_without_a_column_is_refused_in_training(videos, tmp_path):
    with pytest.raises(
        ValueError, match=r"mp4 has no file of control, which control=… needs: name one with x, y, angle"
    ):
        train(config(videos, tmp_path / "run", "control=pose"))
