"""Every rollout's predicted FLOPs and memory beside those of sampling a whole video by it."""

import pytest
import torch
from counted import HYBRID, LOVIC, ROLLOUTS, built, configured, example, video_of
from lightning import LightningModule

from longtake.compat.live import LiveBytes
from longtake.compat.torch import flop_counter
from longtake.cost.counting import on_meta
from longtake.cost.sampling import sampling_cost
from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.rollouts.gen_l_video import GenLVideo
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
    ((*LOVIC, "rollouts.segmentwise.max_context=1", "rollouts.segmentwise.ratio_growth=2.0"), "segmentwise"),
    ((*LOVIC, "network.low_resolution=true"), "segmentwise"),
    (HYBRID, "single_pass"),
    (HYBRID, "gen_l_video"),
    (HYBRID, "segmentwise"),
]


def sampled(overrides, rollout, frames):
    """What samples a video of so many latents, its network and inputs, and its predicted cost."""
    network, rollouts = built(*overrides)
    module = LightningModule()
    module.network, module.sampler = network, Euler(num_inference_steps=2)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    noise, _, condition = example(frames)
    guidance = ClassifierFreeGuidance(scale=2.0)
    calls = {"calls_per_canvas": 4, "texts_per_canvas": 2}
    cost = sampling_cost(on_meta(network), rollouts[rollout], video_of(frames), dtype=torch.float32, **calls)
    known = [*network.parameters(), *network.buffers(), *(x for x in condition if torch.is_tensor(x))]
    return lambda: generate(module, noise, condition, rollout=rollouts[rollout], guidance=guidance), known, cost


def test_all_rollouts_are_predicted():
    assert sorted(configured().rollouts) == ROLLOUTS
    assert {rollout for _, rollout in CASES} == set(ROLLOUTS)


@pytest.mark.parametrize(("overrides", "rollout"), CASES)
def test_flops_and_memory_of_a_video_are_those_of_sampling_it(overrides, rollout):
    sample, known, cost = sampled((*overrides, "backbone.width=128"), rollout, 34)
    with torch.no_grad(), flop_counter() as counter, LiveBytes(known) as live:
        sample()
    assert cost.network == counter.get_total_flops()
    assert cost.activations == pytest.approx(live.peak, rel=0.15)


def test_windows_per_call_bound_memory_alone():
    network, _ = built("network=vin")
    sizes = {"window_frames": 10, "overlap_frames": 5, "profile": "uniform"}
    costs = [
        sampling_cost(
            on_meta(network),
            GenLVideo(**sizes, windows_per_call=calls),
            video_of(64),
            calls_per_canvas=1,
            dtype=torch.float32,
        )
        for calls in (1, 4, 0)
    ]
    flops = [cost.network for cost in costs]
    assert flops == sorted(flops, reverse=True)
    assert flops[0] < 1.02 * flops[2]  # the places of rows and columns and the time, once a call
    assert costs[0].activations < costs[1].activations < costs[2].activations
