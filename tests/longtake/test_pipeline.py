"""The library from Python: weights by name from any folder, videos, other parts, files in and out."""

import pytest
import torch
from composing import ROOT, composed

import longtake
from longtake.cli.take import Take
from longtake.releases.reading import read_run
from longtake.rollouts.autoregressive import Autoregressive
from longtake.samplers import Euler


@pytest.fixture(scope="module")
def pipe():
    made = longtake.Pipeline.from_pretrained(ROOT / "weights" / "vin_freedoom_64")
    return made.replace(sampler=Euler(num_inference_steps=2, shift=3.0, first_time=1.0, last_time=0.0))


def test_weights_are_found_by_name_wherever_the_shell_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LONGTAKE_WEIGHTS", raising=False)
    assert read_run("vin_freedoom_64")[0]["name"] == "vin_freedoom"
    monkeypatch.setenv("LONGTAKE_WEIGHTS", str(tmp_path))
    with pytest.raises(ValueError, match="weights=vin_freedoom_64: no such file or folder"):
        read_run("vin_freedoom_64")


def test_a_call_makes_the_video_of_the_program(tmp_path):
    settings = [f"weights={ROOT / 'weights' / 'vin_freedoom_64'}", f"output={tmp_path}", "num_frames=17"]
    take = Take(composed("generate", *settings, "num_inference_steps=2"))
    expected = torch.cat(list(take.frames(take.latents("a cave", 3, lambda *_: None))), dim=1)
    pipe = longtake.Pipeline.from_pretrained(ROOT / "weights" / "vin_freedoom_64")
    pipe.module.sampler.num_inference_steps = 2
    assert torch.equal(pipe("a cave", num_frames=17, seed=3), expected)


def test_a_video_streams_into_a_file_and_back(pipe, tmp_path):
    steps = []
    pieces = pipe.stream("a cave", num_frames=17, seed=1, on_step=lambda *step: steps.append(step))
    longtake.write_video(tmp_path / "a.mp4", pieces, fps=pipe.fps)
    assert len(steps) == 2
    back = longtake.read_video(tmp_path / "a.mp4")
    made = pipe("a cave", num_frames=17, seed=1)
    assert back.shape == made.shape == (3, 17, 64, 64)
    assert (back - made).abs().mean() < 0.05
    assert longtake.read_video(tmp_path / "a.mp4", height=32, width=48).shape == (3, 17, 32, 48)


def test_other_parts_leave_the_first_pipeline_as_it_was(pipe):
    sampler = pipe.module.sampler
    other = pipe.replace(
        rollout=Autoregressive(window_frames=4, context_frames=2),
        sampler=Euler(num_inference_steps=1, shift=1.0, first_time=1.0, last_time=0.0),
        height=32,
    )
    assert other("a", num_frames=29).shape == (3, 29, 32, 64)
    assert pipe.module.sampler is sampler
    assert pipe.height == 64
    assert other.module.network is pipe.module.network
    with pytest.raises(TypeError, match="a pipeline has no rolout; it has sampler, module, guidance, rollout"):
        pipe.replace(rolout=None)


def test_several_prompts_are_one_batch(pipe):
    assert pipe.latents(["a", "b"], num_frames=5, seed=0).shape == (2, 16, 2, 8, 8)


@pytest.mark.parametrize(("changes", "words"), [({"num_frames": 6}, "4n \\+ 1"), ({"num_frames": 1.5}, "whole number")])
def test_sizes_that_do_not_fit_are_refused(pipe, changes, words):
    with pytest.raises(ValueError, match=words):
        pipe("a", **changes)


@pytest.mark.parametrize("name", ["codec_freedoom_64", "flexformer_freedoom_64"])
def test_weights_that_make_no_videos_are_refused(name):
    with pytest.raises(ValueError, match=r"weights=.*make.* no videos|holds neither checkpoints"):
        longtake.Pipeline.from_pretrained(ROOT / "weights" / name)


def test_a_folder_is_scored(pipe, tmp_path):
    longtake.write_video(tmp_path / "v" / "a.mp4", pipe.stream("a", num_frames=17), fps=pipe.fps)
    card = longtake.score(tmp_path / "v", output=tmp_path / "report")
    assert len(card.rows) == 1
    assert (tmp_path / "report" / "report.html").is_file()


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match="module 'longtake' has no 'Pipelin'; it has Pipeline"):
        _ = longtake.Pipelin
