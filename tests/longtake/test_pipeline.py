"""The library from Python: weights by name from any folder, videos, other parts, files in and out."""

import copy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from composing import ROOT, composed

import longtake
from longtake.cli.request import requested
from longtake.cli.take import Take
from longtake.generation import generate
from longtake.releases.reading import read_run
from longtake.rollouts.autoregressive import Autoregressive
from longtake.samplers import DDIM, Euler
from networks.condition import Condition


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
    take = Take(requested(composed("generate", *settings, "num_inference_steps=2")))
    expected = torch.cat(list(take.frames(take.latents("a cave", 3, lambda *_: None))), dim=1)
    pipe = longtake.Pipeline.from_pretrained(ROOT / "weights" / "vin_freedoom_64")
    pipe.module.sampler.num_inference_steps = 2
    assert torch.equal(pipe("a cave", num_frames=17, seed=3), expected)


@pytest.mark.slow
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


def test_a_sampler_that_draws_noise_draws_it_from_the_seed(pipe):
    ancestral = pipe.replace(sampler=DDIM(num_inference_steps=3, eta=1.0))
    first, again, other = (ancestral.latents(["a"], num_frames=5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("changes", "words"), [({"num_frames": 6}, "4n \\+ 1"), ({"num_frames": 1.5}, "whole number")])
def test_sizes_that_do_not_fit_are_refused(pipe, changes, words):
    with pytest.raises(ValueError, match=words):
        pipe("a", **changes)


@pytest.mark.parametrize("name", ["codec_freedoom_64", "flexformer_freedoom_64"])
def test_weights_that_make_no_videos_are_refused(name):
    with pytest.raises(ValueError, match=r"weights=.*make.* no videos|holds neither checkpoints"):
        longtake.Pipeline.from_pretrained(ROOT / "weights" / name)


@pytest.mark.slow
def test_a_folder_is_scored(pipe, tmp_path):
    longtake.write_video(tmp_path / "v" / "a.mp4", pipe.stream("a", num_frames=17), fps=pipe.fps)
    card = longtake.score(tmp_path / "v", output=tmp_path / "report")
    assert len(card.rows) == 1
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_told(pipe, device):
    with pytest.raises(ValueError, match=f"device={device} is not on this machine: use cpu"):
        pipe.to(device)


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match=r"module 'longtake' has no 'Pipelin'; it has .*Pipeline"):
        _ = longtake.Pipelin


@pytest.fixture(scope="module")
def lovic():
    pipe = longtake.Pipeline.from_pretrained(ROOT / "weights" / "lovic_freedoom_64", num_inference_steps=2)
    pipe.rollout.memory = replace(pipe.rollout.memory, noise_level=0.0)
    return pipe


@pytest.mark.slow
def test_a_segment_beside_another_is_the_one_that_the_rollout_makes_there(lovic):
    first = torch.randn(1, 16, 10, 8, 8)
    second = torch.randn(first.shape, generator=torch.Generator().manual_seed(4))
    index = torch.arange(20, dtype=torch.float32)[None]
    condition = Condition(index, *lovic.text_encoder.encode(["a cave"]))
    noise = torch.cat([first, second], dim=2)
    video = generate(lovic.module, noise, condition, rollout=lovic.rollout, guidance=lovic.guidance)
    known = longtake.KnownSegment(video[:, :, :10], "a cave", start=-10)
    made = lovic.segment("a cave", [known], num_latents=10, seed=4)
    torch.testing.assert_close(made, video[:, :, 10:], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_segment_depends_on_where_the_others_lie(lovic):
    draw = torch.Generator().manual_seed(0)
    one, two = (torch.randn(1, 16, 4, 8, 8, generator=draw) for _ in range(2))

    def make(first, second, cuts=0):
        known = [longtake.KnownSegment(one, "", first, cuts), longtake.KnownSegment(two, "", second, cuts)]
        return lovic.segment("", known, num_latents=4, seed=0)

    made = [make(-8, -4), make(4, 8), make(-4, 4), make(-8, -4, cuts=-1)]
    assert all(each.shape == one.shape for each in made)
    assert all((a - b).abs().max() > 1e-3 for a, b in combinations(made, 2))


@pytest.mark.parametrize(
    ("name", "frames", "words"),
    [
        ("vin", 4, "rollout=single_pass makes no segments"),
        ("lovic", 11, "a segment of 11 latent frames beside 1 others"),
    ],
)
def test_a_segment_that_cannot_be_made_is_refused(name, frames, words, pipe, lovic):
    known = [longtake.KnownSegment(torch.zeros(1, 16, 4, 8, 8), "", -4)]
    with pytest.raises(ValueError, match=words):
        {"vin": pipe, "lovic": lovic}[name].segment("", known, num_latents=frames, seed=0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda pipe: pipe(["a", "b"], num_frames=5), "prompt=.* must be a text: a call makes one video"),
        (lambda pipe: pipe.latents("ab", num_frames=5, seed=0), "prompts='ab' must be a list of texts"),
        (lambda pipe: pipe.latents([], num_frames=5, seed=0), "prompts=.* must be a list of texts"),
        (lambda pipe: pipe("a", num_frames=5, seed=-1), "seed=-1 must be a whole number of at least 0"),
        (lambda pipe: pipe("a", num_frames=5, seed=None), "seed=None must be a whole number"),
        (lambda pipe: pipe.frames(torch.zeros(16, 2, 8, 8)), "cannot be decoded: give b c f h w with 16 channels"),
        (lambda pipe: pipe.replace(rollout="autoregressive"), "is no rollout: give a built one"),
        (lambda pipe: pipe.replace(sampler=Euler), "is no sampler: give a built one"),
        (lambda pipe: pipe.replace(guidance=3.0), "guidance=3.0 is no guidance: give a built one"),
        (lambda pipe: pipe.replace(fps=0), "fps=0 is no fps: give a number above 0"),
        (lambda pipe: pipe.replace(without="global_tokens"), "without='global_tokens' must be a list of names"),
        (lambda pipe: pipe.replace(fps=float("inf")), "fps=inf is no fps: give a number above 0"),
        (lambda pipe: pipe.replace(rollout=pipe.module), r"^rollout=.{60} is no rollout: give a built one"),
        (lambda pipe: pipe.replace(without=None), "without=None must be a list of names"),
        (lambda pipe: pipe.replace(without=[["text"]]), "must be a list of names"),
        (lambda pipe: pipe("a", num_frames="5"), "num_frames='5' must be a whole number"),
        (lambda pipe: pipe.replace(without=["memory"]), "these weights can go without text, global_tokens"),
    ],
)
def test_what_is_asked_for_is_refused_in_a_sentence(pipe, call, said):
    with pytest.raises(ValueError, match=said):
        call(pipe)


@pytest.mark.parametrize(
    ("weights", "settings", "said"),
    [
        (None, {}, "weights=None must be a text or a path"),
        ("vin_freedoom_64", {"device": "tpu"}, "device=tpu is not on this machine: use cpu"),
        ("vin_freedoom_64", {"num_inference_steps": 2.5}, "num_inference_steps=2.5 must be a whole number"),
    ],
)
def test_loading_is_refused_before_anything_is_built(weights, settings, said):
    with pytest.raises(ValueError, match=said):
        longtake.Pipeline.from_pretrained(weights, **settings)


def test_numbers_of_numpy_are_numbers(pipe):
    made = pipe.replace(fps=np.float32(9))("a", num_frames=np.int64(5), seed=np.int64(3))
    assert torch.equal(made, pipe("a", num_frames=5, seed=3))


def test_a_sampler_beside_a_module_is_the_new_ones(pipe):
    sampler, module = Euler(num_inference_steps=1, shift=1.0), copy.copy(pipe.module)
    for changes in ({"sampler": sampler, "module": module}, {"module": module, "sampler": sampler}):
        assert pipe.replace(**changes).module.sampler is sampler
    assert module.sampler is pipe.module.sampler


def test_a_name_that_is_no_part_is_no_change(pipe):
    with pytest.raises(TypeError, match="a pipeline has no stream; it has sampler, module"):
        pipe.replace(stream=None)


def test_the_callers_default_type_changes_nothing(pipe):
    expected = pipe("a", num_frames=5)
    torch.set_default_dtype(torch.bfloat16)
    try:
        made = pipe("a", num_frames=5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(made, expected)
