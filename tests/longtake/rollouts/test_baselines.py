"""The baselines that VIN is compared with: what defines each of them, on tiny networks."""

import pytest
import torch
from builders import awake, example, tiny_dit, tiny_vin
from lightning import LightningModule

from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.rollouts.anchored import Anchored
from longtake.rollouts.free_noise import FreeNoise, reschedule
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.interfaces import Canvas
from longtake.rollouts.single_pass import SinglePass
from longtake.rollouts.spectral_blending import SpectralBlending
from longtake.samplers import ClassifierFreeGuidance, Euler
from networks.interfaces import Condition
from networks.lovic import LoViCNetwork

SIZES = {"window_frames": 4, "overlap_frames": 2, "windows_per_call": 2}
FULL = SinglePass(network_part="backbone")
GUIDANCE = ClassifierFreeGuidance(scale=2.0)


def free_noise(**changes):
    return FreeNoise(**{"window_frames": 4, "stride_frames": 2, **changes})


def gen_l_video(**changes):
    return GenLVideo(**{**SIZES, "profile": "uniform", **changes})


def spectral(**changes):
    return SpectralBlending(**{"window_frames": 4, "time_cutoff": 0.3, "space_cutoff": 0.3, **changes})


def anchored(**changes):
    settings = {"window_frames": 5, "context_frames": 2, "anchor_frames": 1, "anchor_place": "adjacent"}
    return Anchored(**{**settings, **changes})


INSIDE = [free_noise, spectral]
"""Those that work inside self-attention."""
MERGING = [*INSIDE, gen_l_video]
ALL = [*MERGING, anchored]


def lovic_without_memory():
    """Its null memory stays: something that every window must be handed."""
    return LoViCNetwork(window=tiny_dit(), compressor=None, shot_gap=4.0, low_resolution=False)


def module_of(network):
    module = LightningModule()
    module.network = awake(network)
    module.sampler = Euler(num_inference_steps=2)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    return module


def sample(module, rollout, frames, batch=2):
    noise, _, condition = example(frames, batch)
    return generate(module, noise, condition, rollout=rollout, guidance=GUIDANCE)


class Spied:
    """A network with a prediction of our own, and the calls it got."""

    def __init__(self, predict):
        self.predict, self.calls = predict, []

    def __call__(self, noisy, time, condition):
        self.calls.append((noisy, time, condition))
        return self.predict(noisy, time, condition)


def merged(rollout, network, noisy, time, condition):
    """What the sampler gets in one step of a rollout."""
    found = []

    def one_step(noise, condition, given, wrap):
        assert given is None
        found.append(wrap(network)(noisy, time, condition))
        return noise

    rollout(one_step, Canvas(noisy, condition))
    return found[0]


# What all share.


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("frames", [1, 3, 4])
def test_a_canvas_of_one_window_is_plain_sampling_to_the_bit(make, frames):
    module = module_of(tiny_vin())
    assert torch.equal(sample(module, make(), frames), sample(module, FULL, frames))


@pytest.mark.parametrize("make", MERGING)
def test_a_canvas_of_one_window_is_one_call_on_what_came_in(make):
    network, inputs = Spied(lambda noisy, *_: noisy), example(4)
    merged(make(), network, *inputs)
    ((noisy, time, condition),) = network.calls
    assert noisy is inputs[0]
    assert time is inputs[1]
    assert condition is inputs[2]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("frames", [5, 6, 9, 11])
def test_every_length_is_filled_and_differs_from_full_attention(make, frames):
    module = module_of(tiny_dit())
    video = sample(module, make(), frames)
    full = sample(module, FULL, frames)
    assert video.shape == full.shape
    assert video.isfinite().all()
    if make not in (anchored, spectral) or frames > 5:  # half a window to each side of a frame is 5 of 5
        assert not torch.allclose(video, full, atol=1e-3)


@pytest.mark.parametrize("make", ALL)
def test_they_call_the_backbone_and_leave_the_global_tokens_out(make):
    module = module_of(tiny_vin())
    calls = []
    module.network.interface.register_forward_hook(lambda *_: calls.append(1))
    sample(module, make(), 7)
    assert calls == []


# FreeNoise and spectral blending; what they do inside self-attention is tested in test_mixing.py.


@pytest.mark.parametrize("make", INSIDE)
def test_self_attention_is_mixed_in_one_call_on_the_whole_canvas(make):
    network, inputs = Spied(lambda noisy, *_: noisy), example(11)
    rollout = make()
    merged(rollout, network, *inputs)
    ((noisy, time, condition),) = network.calls
    assert noisy is inputs[0]
    assert time is inputs[1]
    assert condition == inputs[2]._replace(attention_override=rollout.mix)


@pytest.mark.parametrize("make", INSIDE)
@pytest.mark.parametrize("frames", [3, 9])
def test_weights_that_attend_to_memory_are_refused(make, frames):
    with pytest.raises(ValueError, match=r"attend to memory, .* use rollout=segmentwise"):
        sample(module_of(lovic_without_memory()), make(), frames)


def test_free_noise_samples_from_its_noise_and_gen_l_video_from_the_given():
    noise, _, condition = example(9)
    starts = []

    def keep(noise, condition, given, wrap):
        starts.append(noise)
        return noise

    for rollout in (free_noise(), gen_l_video()):
        rollout(keep, Canvas(noise, condition))
    assert torch.equal(starts[0], reschedule(noise, 4, 2))
    assert not torch.equal(starts[0], noise)
    assert torch.equal(starts[1], noise)


# Gen-L-Video.


def test_predictions_that_depend_on_the_frame_alone_are_preserved():
    noisy, time, condition = example(11)
    constant = Spied(lambda noisy, *_: torch.full_like(noisy, 0.7))
    torch.testing.assert_close(merged(gen_l_video(), constant, *example(11)), torch.full_like(noisy, 0.7))
    prediction = merged(gen_l_video(), Spied(lambda noisy, *_: noisy), noisy, time, condition)
    torch.testing.assert_close(prediction, noisy)
    places = Spied(lambda noisy, _, condition: condition.frame_index[:, None, :, None, None].expand_as(noisy))
    prediction = merged(gen_l_video(), places, noisy, time, condition)
    torch.testing.assert_close(prediction, places.predict(noisy, time, condition))


@pytest.mark.parametrize("network", [tiny_dit, lovic_without_memory])
def test_windows_in_micro_batches_equal_all_at_once(network):
    module = module_of(network())
    together = sample(module, gen_l_video(windows_per_call=0), 9)
    for windows_per_call in (1, 3):
        video = sample(module, gen_l_video(windows_per_call=windows_per_call), 9)
        torch.testing.assert_close(video, together, rtol=1e-4, atol=1e-5)


def test_gen_l_video_with_a_window_as_long_as_the_canvas_is_full_attention():
    module = module_of(tiny_dit())
    for window in (9, 12):
        assert torch.equal(sample(module, gen_l_video(window_frames=window), 9), sample(module, FULL, 9))


def test_gen_l_video_averages_the_windows_next_steps():
    module = module_of(tiny_dit())
    noise, _, condition = example(6)
    module.sampler = Euler(num_inference_steps=1)
    steps = [
        generate(module, noise[:, :, piece], Condition(condition.frame_index[:, piece], *condition[1:3]), rollout=FULL,
                 guidance=GUIDANCE)
        for piece in (slice(0, 4), slice(2, 6))
    ]  # fmt: skip
    middle = (steps[0][:, :, 2:] + steps[1][:, :, :2]) / 2
    expected = torch.cat([steps[0][:, :, :2], middle, steps[1][:, :, 2:]], dim=2)
    torch.testing.assert_close(sample(module, gen_l_video(), 6), expected, rtol=1e-4, atol=1e-5)


# The anchor.


def test_an_anchored_video_keeps_the_frames_it_has_made():
    module = module_of(tiny_dit())
    video = sample(module, anchored(), 9)
    noise, _, condition = example(9)
    opening = Condition(condition.frame_index[:, :5], *condition[1:3])
    first = generate(module, noise[:, :, :5], opening, rollout=FULL, guidance=GUIDANCE)
    assert torch.equal(video[:, :, :5], first)


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (gen_l_video, {"overlap_frames": 4}, "overlap_frames=4"),
        (gen_l_video, {"profile": "round"}, "uniform or triangular"),
        (gen_l_video, {"windows_per_call": -1}, "windows_per_call=-1"),
        (free_noise, {"stride_frames": 3}, "stride_frames=3"),
        (free_noise, {"stride_frames": 0}, "stride_frames=0"),
        (free_noise, {"window_frames": 0}, "window_frames=0"),
        (spectral, {"window_frames": 0}, "window_frames=0"),
        (spectral, {"time_cutoff": -0.1}, "time_cutoff=-0.1"),
        (spectral, {"space_cutoff": float("nan")}, "space_cutoff=nan"),
        (anchored, {"anchor_frames": 0}, "anchor_frames=0"),
        (anchored, {"context_frames": 4}, "context_frames=4"),
        (anchored, {"anchor_place": "nowhere"}, "adjacent or canvas"),
    ],
)
def test_settings_out_of_range_are_refused(make, changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)
