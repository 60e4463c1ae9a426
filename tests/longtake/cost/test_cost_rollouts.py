"""Every rollout's predicted FLOPs and memory beside those of sampling a whole video by it."""

import pytest
import torch
from counted import HYBRID, LOVIC, ROLLOUTS, built, configured, counted, example, video_of
from hydra.utils import instantiate
from lightning import LightningModule
from live import LiveBytes

from longtake.cost.flops import num_mixed_windows
from longtake.cost.rollouts import Canvas, plan, sampling_cost, suits, window_lengths
from longtake.cost.sizes import MixingSize
from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.samplers import ClassifierFreeGuidance, Euler

pytestmark = pytest.mark.slow

VIN, DIT = ("network=vin",), ("network=dit",)
CASES = [
    *((VIN, name) for name in ROLLOUTS if name != "segmentwise"),
    (DIT, "autoregressive"),
    (DIT, "free_noise"),
    ((*VIN, "rollouts.free_noise.stride_frames=5"), "free_noise"),  # with a last window flush with the end
    ((*VIN, "rollouts.free_noise.window_frames=50"), "free_noise"),  # one window: the network's own attention
    ((*VIN, "rollouts.spectral_blending.window_frames=7"), "spectral_blending"),
    ((*VIN, "rollouts.gen_l_video.windows_per_call=0"), "gen_l_video"),
    ((*VIN, "rollouts.gen_l_video.window_frames=50"), "gen_l_video"),
    (LOVIC, "anchored"),
    (LOVIC, "gen_l_video"),
    (LOVIC, "segmentwise"),
    ((*LOVIC, "rollouts.segmentwise.max_context=1", "rollouts.segmentwise.rate_growth=2.0"), "segmentwise"),
    ((*LOVIC, "network.low_resolution=true"), "segmentwise"),
    (HYBRID, "whole"),
    (HYBRID, "gen_l_video"),
    (HYBRID, "segmentwise"),
]


def sampled(overrides, rollout, frames):
    """What samples a video of so many latents, its network and inputs, and its predicted cost."""
    network, size, rollouts = built(*overrides)
    module = LightningModule()
    module.network, module.sampler = network, Euler(num_inference_steps=2)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    noise, _, condition = example(size, frames)
    made, guidance = instantiate(rollouts[rollout]), ClassifierFreeGuidance(scale=2.0)
    cost = sampling_cost(plan(size, rollouts[rollout], frames), video_of(frames), calls_per_canvas=4, element=4)
    known = [*network.parameters(), *network.buffers(), *(x for x in condition if torch.is_tensor(x))]
    return lambda: generate(module, noise, condition, rollout=made, guidance=guidance), known, cost


def test_all_rollouts_are_predicted():
    assert sorted(configured().rollouts) == ROLLOUTS
    assert {rollout for _, rollout in CASES} == set(ROLLOUTS)


@pytest.mark.parametrize(("overrides", "rollout"), CASES)
def test_flops_of_a_video_are_those_of_sampling_it(overrides, rollout):
    sample, _, cost = sampled(overrides, rollout, 34)
    assert cost.network == pytest.approx(counted(sample), rel=0.02)


@pytest.mark.parametrize(("overrides", "rollout"), CASES)
def test_memory_of_a_video_is_that_of_the_tensors_alive(overrides, rollout):
    sample, known, cost = sampled((*overrides, "backbone.width=128"), rollout, 34)
    with torch.no_grad(), LiveBytes(known) as live:
        sample()
    if rollout == "spectral_blending":  # and what transforms hold inside, which no tensor shows
        assert live.peak < cost.activations < 1.5 * live.peak
    else:
        assert cost.activations == pytest.approx(live.peak, rel=0.15)


def test_windows_cover_the_canvas():
    assert window_lengths(10, 10, 4) == [10]
    assert window_lengths(4, 10, 4) == [4]
    assert window_lengths(18, 10, 4) == [10, 10, 6]
    assert window_lengths(18, 10, 4, anchor_frames=1) == [10, 10, 8]
    assert [num_mixed_windows(MixingSize(10, 2), frames) for frames in (11, 12, 13)] == [2, 2, 3]


def test_windows_per_call_bound_memory_alone():
    _, size, rollouts = built("network=vin")
    costs = [
        sampling_cost(
            plan(size, {**rollouts["gen_l_video"], "windows_per_call": count}, 64),
            video_of(64),
            calls_per_canvas=1,
            element=4,
        )
        for count in (1, 4, 0)
    ]
    flops = [cost.network for cost in costs]
    assert flops == sorted(flops, reverse=True)
    assert flops[0] < 1.02 * flops[2]  # the places of rows and columns and the time, once a call
    assert costs[0].activations < costs[1].activations < costs[2].activations


def test_segments_remember_within_the_budget():
    _, size, rollouts = built(*LOVIC)
    node = {**rollouts["segmentwise"], "max_context": 2, "rate_growth": 10.0}
    canvases = plan(size, node, 25).canvases
    first = Canvas(14, ())
    second, third = Canvas(14, ((10, 8.0),), given=True), Canvas(9, ((10, 8.0), (10, 64.0)), given=True)
    assert canvases == (first, second, third)


@pytest.mark.parametrize(
    ("overrides", "rollout", "message"),
    [
        (VIN, "segmentwise", "rollout=segmentwise goes with network=lovic or vin_lovic"),
        (LOVIC, "free_noise", "rollout=free_noise goes with network=vin or dit"),
        (HYBRID, "spectral_blending", "rollout=spectral_blending goes with network=vin or dit"),
    ],
)
def test_what_does_not_suit_is_refused_as_sampling_refuses_it(overrides, rollout, message):
    _, size, rollouts = built(*overrides)
    assert not suits(size, rollouts[rollout])
    with pytest.raises(ValueError, match=message):
        plan(size, rollouts[rollout], 33)


def test_the_hybrid_has_no_backbone_by_itself():
    _, size, rollouts = built(*HYBRID)
    assert plan(size, rollouts["whole"], 33).network is size
    with pytest.raises(ValueError, match="rollout=full runs the DiT alone"):
        plan(size, rollouts["full"], 33)


def test_an_unknown_rollout_is_one_clear_sentence():
    _, size, _ = built("network=vin")
    with pytest.raises(ValueError, match=r"^cost=true knows no rollout Other: use whole, full, .* or segmentwise$"):
        plan(size, {"_target_": "x.Other"}, 33)
