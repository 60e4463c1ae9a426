"""Where the pieces of a rollout meet, and segments from end to end."""

import json

import numpy as np
import pytest
import torch
from builders import CHANNELS, TEXT, awake, tiny_dit, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from lightning import LightningModule
from writers import Writer

from longtake.cli.request import requested
from longtake.cli.take import make_videos
from longtake.objectives.objective import Objective
from longtake.objectives.paths import LinearPath
from longtake.objectives.predictions import FlowPrediction
from longtake.objectives.times import Uniform
from longtake.objectives.weights import NoWeight
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import chunk_boundaries
from longtake.samplers.guidance import NestedGuidance
from longtake.samplers.solvers import Euler
from longtake.storyboard.given import GivenReader
from longtake.storyboard.maker import SegmentMaker
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.run import make_storyboard
from longtake.storyboard.schema import GivenFacts, ModelLimits
from longtake.storyboard.store import SegmentStore

# Where pieces meet


@pytest.mark.parametrize("num_latents", [4, 10, 11, 20, 33])
def test_windows_begin_where_they_are_denoised(num_latents):
    from longtake.rollouts.sliding_windows import SlidingWindows

    windows = SlidingWindows(window_frames=10, overlap_frames=4, profile="uniform", windows_per_call=0)
    frames = windows.plan(num_latents, torch.device("cpu"))[0]
    assert windows.starts(num_latents) == frames[:, 0].tolist()
    covered = [int(window[-1]) + 1 for window in frames[:-1]]
    rollout = GenLVideo(window_frames=10, overlap_frames=4, profile="uniform", windows_per_call=0)
    assert chunk_boundaries(rollout.plan(num_latents), None) == covered


def test_pieces_of_each_rollout():
    names = (
        "segmentwise",
        "autoregressive",
        "anchored",
        "free_noise",
        "gen_l_video",
        "spectral_blending",
        "single_pass",
    )
    nodes = {name: composed("generate", f"rollout={name}").rollout for name in names}
    for name in ("autoregressive", "anchored"):
        nodes[name].context_frames = 4
    nodes["gen_l_video"].overlap_frames = 4
    plans = {name: instantiate(node).plan(25) for name, node in nodes.items()}
    found = {name: chunk_boundaries(plan, 10) for name, plan in plans.items()}
    assert found == {
        "segmentwise": [10, 20],
        "autoregressive": [10, 16, 22],
        "anchored": [10, 15, 20],
        "free_noise": [10, 20],
        "gen_l_video": [10, 16, 22],
        "spectral_blending": [10, 20],
        "single_pass": [10, 20],
    }
    assert chunk_boundaries(plans["single_pass"], None) == []


@pytest.mark.parametrize(
    ("kind", "rollout", "expected"),
    [
        ("vin", "single_pass", [5]),
        ("vin", "full_attention", []),
        ("hybrid", "segmentwise", [5]),
        ("vin", "gen_l_video", [5, 9]),
    ],
)
def test_the_manifest_names_where_pieces_meet(ask, tmp_path, kind, rollout, expected):
    sizes = {
        "gen_l_video": ("rollout.window_frames=2", "rollout.overlap_frames=1"),
        "segmentwise": ("rollout.segment_frames=2", "rollout.window_frames=1", "rollout.max_context=2"),
    }
    make_videos(requested(ask(kind, f"rollout={rollout}", *sizes.get(rollout, ()), "num_frames=13")), Writer())
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert line["boundaries"] == expected


# Segments from end to end


class Text:
    def encode(self, prompts):
        features = torch.stack([torch.full((3, TEXT), 0.1 * len(prompt)) for prompt in prompts])
        return features, torch.ones(len(prompts), 3, dtype=torch.bool)


class MeanCodec:
    """Latents are means of frames and places, so a known video has known latents."""

    time_factor, space_factor, channels = 4, 2, CHANNELS

    def encode(self, video):
        small = torch.nn.functional.avg_pool3d(video, (1, 2, 2))
        first, rest = small[:, :1, :1], small[:, :1, 1:]
        latents = torch.cat([first, torch.nn.functional.avg_pool3d(rest, (4, 1, 1))], dim=2) if rest.shape[2] else first
        return latents.expand(-1, CHANNELS, -1, -1, -1)


TINY = ModelLimits("weights", 3, 4, 4, MemoryPolicy(5, 2.0, 1.0, 64.0), 1)
GIVEN = {
    "start": ("first", "  - {name: next}\n", ["first", "next"], {"next": ("predict", "first", None)}),
    "end": ("last", "  - {name: lead}\n", ["lead", "last"], {"lead": ("retrodict", None, "last")}),
    "both": (
        "both",
        "  - {name: middle, between: [first, last]}\n",
        ["first", "middle", "last"],
        {"middle": ("interpolate", "first", "last")},
    ),
}


def maker_of(network):
    module = LightningModule()
    module.network = network
    module.sampler = Euler(num_inference_steps=2)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    return SegmentMaker(
        module=module,
        guidance=NestedGuidance(scales={"text": 2.0}),
        text_encoder=Text(),
        size=(CHANNELS, 4, 4),
        noise_level=0.02,
        on_step=None,
    )


@pytest.mark.parametrize("window", ["dit", "vin"])
@pytest.mark.parametrize("place", GIVEN)
def test_a_given_video_is_continued_led_to_and_filled(tmp_path, window, place):
    role, segments, order, tasks = GIVEN[place]
    (tmp_path / "own.mp4").touch()
    (tmp_path / "story.yaml").write_text(f"video: {{path: own.mp4, role: {role}}}\nsegments:\n{segments}")
    made = plan(read_storyboard(tmp_path / "story.yaml", TINY), TINY, lambda path: GivenFacts(40, "content"))
    found = {step.name: (step.task, step.before, step.after) for step in made.steps if step.given is None}
    assert found == tasks

    torch.manual_seed(0)
    network = awake(tiny_lovic(window=tiny_dit() if window == "dit" else tiny_vin())).eval()
    canvases = []
    network.register_forward_pre_hook(lambda _, inputs: canvases.append(inputs))
    maker = maker_of(network)

    def run(scale, folder):
        ramp = np.linspace(0, 255 * scale, 40, dtype=np.float32).astype(np.uint8)
        frames = np.broadcast_to(ramp[:, None, None, None], (40, 8, 8, 3)).copy()
        reader = GivenReader(MeanCodec(), lambda *_, **__: frames, 8, 8, 8.0, torch.device("cpu"))
        canvases.clear()
        return make_storyboard(made, SegmentStore(tmp_path / folder), maker, reader)

    latents = run(1.0, "one")
    assert list(latents) == order
    assert all(latents[step.name].shape == (1, CHANNELS, step.latents, 4, 4) for step in made.steps)
    assert all(bool(torch.isfinite(x).all()) for x in latents.values())
    _, before, after = next(iter(tasks.values()))
    for noisy, time, condition in canvases:  # one frame of window on each side of the segment's three
        exists = [before is not None, True, True, True, after is not None]
        assert exists == [True] * 5 if condition.frame_mask is None else condition.frame_mask[0].tolist() == exists
        assert condition.memory.layers[0][0].shape[2] > 1, "the video is remembered"
        if before is not None:
            assert torch.equal(noisy[:, :, 0], latents[before][:, :, -1])
            assert float(time[0, 0]) == 0
        if after is not None:
            assert torch.equal(noisy[:, :, -1], latents[after][:, :, 0])
            assert float(time[0, -1]) == 0
    name = next(iter(tasks))
    assert torch.equal(run(1.0, "two")[name], latents[name]), "the same video, the same segment"
    assert (run(0.5, "three")[name] - latents[name]).abs().max() > 1e-3, "another video, another segment"
