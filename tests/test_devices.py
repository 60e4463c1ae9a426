"""Everything is made on the device of what it is made from, as seen on an accelerator that is only pretended.

Fake tensors have a device and a shape and no values; mixing devices is an error among them as among real ones.
"""

from unittest.mock import patch

import pytest
import torch
from composing import composed, options_of
from hydra.utils import instantiate
from lightning import LightningModule
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import ROOT
from longtake.generation import generate
from longtake.objectives.objective import SampledTime
from networks.interfaces import Condition, VideoBatch

DEVICE = "cuda"
CONF = ROOT / "conf"
FRAMES = 25  # more than a window of every rollout
SMALL = ("text=null_text", "codec=pixels", "backbone.depth=1", "sampler.num_inference_steps=2")
NETWORKS = ("dit", "vin", "vin_plan", "lovic", "vin_lovic")


def config(*overrides):
    shallow = [] if "network=dit" in overrides else ["interface.depth=1"]
    return composed("train", "~local", *SMALL, *overrides, *shallow)


def move(module):
    """`module.to`, which does not know fake tensors."""
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            setattr(part, name, torch.nn.Parameter(torch.empty_like(value, device=DEVICE)))
        for name, value in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty_like(value, device=DEVICE))
    if isinstance(module, LightningModule):
        module._device = torch.device(DEVICE)  # as `to` would note, which cannot swap fake tensors
    return module


def inputs(cfg, frames=FRAMES, batch=2):
    video = torch.randn(batch, cfg.codec.channels, frames, 8, 8, device=DEVICE)
    index = torch.arange(frames, device=DEVICE, dtype=torch.float32).expand(batch, -1)
    text = torch.randn(batch, 3, cfg.text.features, device=DEVICE)
    return VideoBatch(video, index, text, torch.ones(batch, 3, dtype=torch.bool, device=DEVICE))


def condition_of(batch):
    return Condition(batch.frame_index, batch.text, batch.text_mask)


def sampled(*overrides):
    cfg = config(*overrides)
    module = move(instantiate(cfg.lightning_module).eval())
    batch = inputs(cfg)
    rollout, guidance = instantiate(cfg.rollout), instantiate(cfg.guidance)
    return generate(module, batch.video, condition_of(batch), rollout=rollout, guidance=guidance)


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    # One look at every finished window, which waits for the device as it must: there is no number to look at here.
    monkeypatch.setattr("longtake.generation.check_finite", lambda *_: None)
    with FakeTensorMode():
        yield


def test_two_devices_are_told_apart():
    with pytest.raises(RuntimeError, match=r"same device|two different devices"):
        torch.ones(2, device=DEVICE) + torch.ones(2)


@pytest.mark.slow
@pytest.mark.parametrize("rollout", [name for name in options_of("rollout") if name != "segmentwise"])
def test_rollouts_sample_on_their_device(rollout):
    assert sampled(f"rollout={rollout}", "sampler.num_inference_steps=1").device.type == DEVICE


@pytest.mark.slow
@pytest.mark.parametrize(  # other samplers look at numbers of the host, which are none here
    ("sampler", "guidance"), [*(("euler", name) for name in options_of("guidance")), ("ddim", "classifier_free")]
)
def test_samplers_and_guidance_stay_on_their_device(sampler, guidance):
    assert sampled(f"sampler={sampler}", f"guidance={guidance}").device.type == DEVICE


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_predict_in_training_on_their_device(network):
    cfg = config(f"network={network}")
    module = move(instantiate(cfg.network)).train()
    batch = inputs(cfg, frames=20)
    mask = torch.ones(2, 20, dtype=torch.bool, device=DEVICE)
    condition = condition_of(batch)._replace(frame_mask=mask, shot=torch.zeros(2, dtype=torch.long, device=DEVICE))
    time = torch.rand(2, 20, device=DEVICE)
    assert module(batch.video, time, condition).device.type == DEVICE


@pytest.mark.slow
def test_training_and_validation_stay_on_their_device():
    cfg = config("network=vin_plan", "lightning_module.validation_times=[0.5]")
    module = move(instantiate(cfg.lightning_module)).train()
    batch = inputs(cfg)
    # Generators of a device that is not there cannot be made.
    drawn = SampledTime(torch.rand(2, FRAMES, device=DEVICE), torch.ones(2, FRAMES, dtype=torch.bool, device=DEVICE))
    draw = patch.object(module, "_draw", lambda *_: (drawn, torch.randn_like(batch.video), condition_of(batch)))
    with draw, patch.object(module, "log"):
        assert module.training_step(batch, 0).device.type == DEVICE
    module.eval()
    logged = {}
    with patch.object(module, "log_dict", lambda named, **_: logged.update(named)), torch.no_grad():
        module.validation_step(batch, 0)
    assert {value.device.type for value in logged.values()} == {DEVICE}


@pytest.mark.slow
def test_the_codec_streams_on_its_device():
    codec = move(instantiate(composed("train", "codec=causal").codec).eval())
    latents = torch.randn(1, codec.channels, 9, 8, 8, device=DEVICE)
    with torch.no_grad():
        pieces = list(codec.decode_stream(latents))
        assert sum(piece.shape[2] for piece in pieces) == 33
        assert {piece.device.type for piece in pieces} == {DEVICE}
        assert codec.encode(pieces[0]).device.type == DEVICE
