"""`generate.py given=FILE` by weights without a memory: from a picture, on from a video, between two."""

import json
import logging

import pytest
from tiny_runs import generate_config
from video_files import make

from longtake.cli.generate import make as generate
from longtake.video import read_video

FRAMES = 33


def ask(tmp_path, *changes, weights="vin_freedoom_64"):
    """A call of generate.py of one step."""
    own = (f"num_frames={FRAMES}", "num_inference_steps=1", "seed=3", "prompt=a", "num_videos=1")
    return generate_config(weights, tmp_path / "out", *own, *changes)


@pytest.fixture
def own(tmp_path):
    return make(tmp_path / "own.mp4", 40)


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    Image.new("RGB", (96, 64), (200, 40, 40)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def made(tmp_path, *changes):
    generate(ask(tmp_path, *changes))
    line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[-1])
    return read_video(tmp_path / "out" / "000.mp4"), line


@pytest.mark.slow
def test_a_video_begins_with_the_last_frames_of_another(own, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    video, line = made(tmp_path, f"given={own}", "given_frames=18")
    assert "5 of 9 latent frames are given" in caplog.text  # 17 frames, the most that the codec takes of 18
    assert (line["given"], line["num_frames"], video.shape[1]) == ("own.mp4", FRAMES, FRAMES)
    plain, told = made(tmp_path)
    assert told["settings"] != line["settings"]
    whole = read_video(own, height=64, width=64, fps=8.75)
    near = (video[:, :13] - whole[:, -17:-4]).abs().mean()
    assert near < 0.5 * (plain[:, :13] - whole[:, -17:-4]).abs().mean()


@pytest.mark.slow
def test_it_begins_from_a_picture_and_another_one_is_another_video(own, picture, tmp_path):
    red, line = made(tmp_path, f"given={picture}")
    assert line["given"] == "red.png"
    assert red[0, 0].mean() > red[1, 0].mean() + 0.5
    from PIL import Image

    Image.new("RGB", (96, 64), (40, 40, 200)).save(picture)
    blue, again = made(tmp_path, f"given={picture}")
    assert again["settings"] != line["settings"]  # so it was made anew
    assert blue[2, 0].mean() > blue[0, 0].mean() + 0.5


@pytest.mark.slow
def test_between_two_it_ends_with_the_second(own, picture, tmp_path, caplog):
    video, line = made(tmp_path, f"given={own}", f"given_end={picture}", "given_frames=9")
    assert (line["given"], line["given_end"]) == ("own.mp4", "red.png")
    assert "trained with given frames at the start alone" in caplog.text
    assert video[0, -1].mean() > video[1, -1].mean() + 0.5


@pytest.mark.slow
def test_what_cannot_be_is_said_in_a_sentence(own, trained, tmp_path):
    for changes, weights, said in (
        (
            [f"given={own}"],
            trained,
            r"given: these weights were trained with one noise level .* objective\.context_rate=0\.2",
        ),
        (["given=nowhere.png"], "vin_freedoom_64", r"given=nowhere\.png: no such file; give a picture or a video"),
        (
            [f"given={own}", "given_frames=33"],
            "vin_freedoom_64",
            "9 latent frames are given of 9: leave some to be made",
        ),
        (
            [f"given={own}", "rollout=autoregressive", "num_frames=257"],
            "vin_freedoom_64",
            "rollout=autoregressive makes canvas after canvas: use rollout=single_pass or full_attention",
        ),
        ([f"given_end={own}"], "lovic_freedoom_64", r"given_end=.* goes with weights without a memory"),
        ([f"given={own}", "storyboard=a.yaml"], "vin_freedoom_64", "give one; a storyboard names its videos"),
    ):
        with pytest.raises(ValueError, match=said):
            generate(ask(tmp_path, *changes, weights=weights))
        assert not list(tmp_path.glob("out/*.mp4"))


@pytest.mark.slow
def test_a_dry_run_reads_what_is_given_and_makes_nothing(own, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    generate(ask(tmp_path, f"given={own}", "dry_run=true"))
    assert "5 of 9 latent frames are given" in caplog.text
    assert not (tmp_path / "out" / "000.mp4").exists()
