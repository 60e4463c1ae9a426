"""Equal blocks are counted once, and the figures are those of counting all of them."""

from functools import partial

import pytest
import torch
from builders import CHANNELS, TEXT, tiny_dit, tiny_lovic, tiny_vin
from tiny_families import FAMILIES
from torch import nn

from longtake.cost.counting import Counting, on_meta
from longtake.cost.repeats import Repeats
from longtake.cost.sampling import VideoSize, canvas_costs
from longtake.generation import part_of
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.free_noise import FreeNoise
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass
from longtake.rollouts.spectral_blending import SpectralBlending
from networks.blocks import DiTBlock

DEPTH = 5
MEMORY = {"max_context": 3, "compression_ratio": 4.0, "ratio_growth": 1.0, "max_compression_ratio": 8.0}
ONCE = SinglePass(network_part="")
SEGMENTS = Segmentwise(segment_frames=4, window_frames=1, memory_level=0.0, **MEMORY)


def deep():
    return tiny_dit(depth=DEPTH)


def pretrained(family, **changes):
    return FAMILIES[family].backbone_of(FAMILIES[family].folder(), **changes)


CASES = {
    "dit": (deep, ONCE),
    "windows": (deep, Autoregressive(window_frames=6, context_frames=2)),
    "vin": (lambda: tiny_vin(plan=True, fusion="all", backbone=deep()), ONCE),
    "lovic": (lambda: tiny_lovic(deep()), SEGMENTS),
    **{name: (partial(pretrained, name), ONCE) for name in FAMILIES},
    "wan apart": (lambda: FAMILIES["wan"].network("vin", pretrained("wan", context_attention="gated")), ONCE),
    "windows in attention": (deep, FreeNoise(window_frames=4, stride_frames=2)),
    "blended attention": (deep, SpectralBlending(window_frames=4, time_cutoff=0.25, space_cutoff=0.25)),
}


def costs(network, rollout, frames=14):
    network = on_meta(network).eval().requires_grad_(False)
    video = VideoSize(frames, CHANNELS, 4, 4, 3, TEXT)
    return canvas_costs(part_of(network, rollout), rollout, video, torch.float32)


def all_blocks(monkeypatch):
    for name in ("start", "stop"):
        monkeypatch.setattr(Repeats, name, lambda self: None)


QUICK = ("dit", "lovic", "wan")


@pytest.mark.parametrize("name", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in CASES])
def test_the_figures_are_those_of_every_block(name, monkeypatch):
    make, rollout = CASES[name]
    network = make()
    costs(network, rollout)  # what a library keeps from its first call in a process is of no block
    once = costs(network, rollout)
    all_blocks(monkeypatch)
    assert once == costs(network, rollout)
    assert once[0].step.flops > 0


def test_a_block_of_each_kind_is_run_once(monkeypatch):
    runs = []
    forward = DiTBlock.forward
    monkeypatch.setattr(DiTBlock, "forward", lambda self, *inputs: runs.append(self) or forward(self, *inputs))
    costs(deep(), ONCE)
    assert len(runs) == 2  # once as it is, and once with the text's keys made before
    costs(deep(), Autoregressive(window_frames=6, context_frames=2))
    assert len(runs) == 2 * (1 + 2)  # the first window has no clean frames, the others have one size
    all_blocks(monkeypatch)
    costs(deep(), ONCE)
    assert len(runs) == 2 * (3 + DEPTH)


def test_blocks_have_their_own_forward_again():
    network = on_meta(deep()).requires_grad_(False)
    costs(network, ONCE)
    assert not any("forward" in vars(block) for block in network.blocks)


class Layers(nn.Module):
    """Layers one after another; `keep` names those that hold what they made, `views` those that return a view."""

    def __init__(self, widths, keep=(), views=()):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, n in keep, n in views) for n, width in enumerate(widths))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Layer(nn.Module):
    def __init__(self, width, keeps, views):
        super().__init__()
        self.rises, self.falls = nn.Linear(4, width), nn.Linear(width, 4)
        self.keeps, self.views = keeps, views

    def forward(self, x):
        if self.views:
            return x[:]
        made = self.falls(self.rises(x))
        if self.keeps:
            self.kept = made * 2
        return made


@pytest.mark.parametrize(
    ("network", "grad"),
    [
        (Layers([8, 8, 16, 8, 16]), False),
        (Layers([8, 8, 8, 8], keep=(0, 1, 2, 3)), False),
        (Layers([8, 8, 8, 8], views=(0, 1, 2, 3)), False),
        (Layers([8, 8, 8, 8]), True),
    ],
    ids=["two kinds", "kept", "views", "with gradients"],
)
def test_what_is_not_alike_is_counted_by_itself(network, grad):
    def count(blocks):
        made = on_meta(network)
        x = torch.empty(3, 4, device="meta")
        with torch.set_grad_enabled(grad), Counting([x, *made.parameters()], made if blocks else None) as counting:
            out = made(x)
        return counting.cost, out.shape

    assert count(True) == count(False)


def test_functions_of_a_pretrained_block_run_once_though_its_adapters_know_their_places():
    network = on_meta(pretrained("wan")).eval().requires_grad_(False)
    runs, step = [], network.step
    network.step = lambda *inputs: runs.append(1) or step(*inputs)
    canvas_costs(network, ONCE, VideoSize(14, CHANNELS, 4, 4, 3, TEXT), torch.float32)
    assert network.depth > 1
    assert len(runs) == 2  # once as it is, and once with the text's keys made before
    assert network.around_block(None, len, "as before") == 9
