"""What no step changes is made once a video: keys of the text, and angles of places."""

from collections import Counter

import pytest
import torch
from builders import awake, example, tiny_dit, tiny_lovic, tiny_vin
from lightning import LightningModule

from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers import ClassifierFreeGuidance, Euler
from networks.blocks import DiTBlock
from networks.embeddings import TextEmbedding
from networks.rope import RotaryEmbedding3D
from networks.sequence import positions_of

STEPS, FRAMES = 3, 22
NETWORKS = {
    "dit": tiny_dit,
    "vin": lambda: tiny_vin(fusion="all", windows_per_call=2),
    "vin_lovic": lambda: tiny_lovic(tiny_vin(windows_per_call=2)),
}


def sampled(network, rollout=None, batch=1):
    module = LightningModule()
    module.network, module.sampler = network, Euler(num_inference_steps=STEPS, shift=2.0)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    noise, _, condition = example(FRAMES, batch=batch)
    rollout = rollout or SinglePass(network_part="")
    return generate(module, noise, condition, rollout=rollout, guidance=ClassifierFreeGuidance(scale=2.0))


def counted(network, **more):
    calls = Counter()
    for part in network.modules():
        if isinstance(part, TextEmbedding):
            part.register_forward_hook(lambda *_: calls.update(texts=1))
        elif isinstance(part, DiTBlock):
            part.text_attention.to_key_value.register_forward_hook(lambda *_: calls.update(keys=1))
            part.register_forward_hook(lambda *_: calls.update(blocks=1))
    sampled(network, **more)
    return calls


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_of_a_text_are_made_once_a_pass_of_guidance(name):
    network = awake(NETWORKS[name]()).eval()
    calls = counted(network)
    passes, readers = 2, 1 if name == "dit" else 2  # the interface reads the text too
    assert calls["texts"] == passes * readers
    assert calls["keys"] == passes * network.backbone.depth
    assert calls["blocks"] >= STEPS * calls["keys"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_they_change_no_video(name, batch, monkeypatch):
    network = awake(NETWORKS[name]()).eval()
    for rollout in (None, GenLVideo(window_frames=6, overlap_frames=3, profile="uniform", windows_per_call=2)):
        if rollout is not None and name == "vin_lovic":
            continue
        found = sampled(network, rollout, batch)
        with monkeypatch.context() as patch:
            for kind in {type(network), type(network.over_windows)}:
                patch.setattr(kind, "encode_text", lambda _, condition: condition)
            expected = sampled(network, rollout, batch)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_another_text_is_made_anew():
    network = awake(tiny_dit()).eval()
    _, _, condition = example(4, batch=1)
    with torch.no_grad():
        told = network.encode_text(condition)
    assert told.asked is not None
    assert told.without("control").asked is told.asked
    assert told.without("text").asked is None
    assert network.encode_text(condition).asked is None  # with gradients


def test_angles_of_a_grid_are_those_of_its_places_bit_by_bit():
    rope = RotaryEmbedding3D(head_width=32, theta=100.0)
    index = torch.tensor([[0.0, 1.5, -3.0], [1000.25, 7.0, 2.0]])
    expected, found = rope(positions_of(index, 5, 7)), rope.of_grid(index, 5, 7)
    assert torch.equal(found.cos, expected.cos)
    assert torch.equal(found.sin, expected.sin)
    assert found.cos.shape == (2, 1, 3 * 5 * 7, 32)


def test_angles_are_turned_of_frames_rows_and_columns_alone(monkeypatch):
    turned = []
    for name in ("cos", "sin"):
        turn = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda x, turn=turn: turned.append(x.numel()) or turn(x))
    RotaryEmbedding3D(head_width=32, theta=100.0).of_grid(torch.zeros(1, 9), 32, 32)
    assert sum(turned) == 2 * (9 + 32 + 32) * 16
