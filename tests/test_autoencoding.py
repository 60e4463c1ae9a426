"""The codec's training: with all of it, with the decoder alone, and with textures that count."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from lightning_modules.autoencoding import AutoencodingModule
from lightning_modules.feature_distance import FeatureDistance
from networks.codecs.causal import CausalVideoAutoencoder
from networks.interfaces import VideoBatch


def module(**changes):
    torch.manual_seed(0)
    codec = CausalVideoAutoencoder(channels=4, fine_width=8, coarse_width=12, num_fine_blocks=1, num_coarse_blocks=1)
    settings = {
        "codec": codec, "optimizer": partial(torch.optim.AdamW, lr=1e-2), "latent_noise": 0.1,
        "scheduler": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda _: 1.0), "squared_error_weight": 1.0,
        "statistics_momentum": 0.1, "halved_share": 0.5, "train_encoder": True, "features": None,
        "feature_weight": 0.0, "feature_frames": 0, "seed": 0,
    }  # fmt: skip
    part = AutoencodingModule(**{**settings, **changes})
    part._trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=1, global_rank=0, global_step=0)
    return part


def batch():
    video = F.interpolate(torch.rand(2, 3, 5, 8, 8, generator=torch.Generator().manual_seed(1)), scale_factor=(1, 4, 4))
    return VideoBatch(video * 2 - 1, torch.zeros(2, 5), torch.zeros(2, 1, 1), torch.zeros(2, 1, dtype=torch.bool))


def trained(part, steps=15):
    """Losses of a few steps without a trainer."""
    part.log = lambda *_, **__: None
    optimizer = part.configure_optimizers()["optimizer"]
    losses = []
    for step in range(steps):
        loss = part.training_step(batch(), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


def test_everything_learns():
    part = module()
    before = copy.deepcopy(part.codec.state_dict())
    losses = trained(part)
    assert losses[-1] < 0.9 * losses[0]
    after = part.codec.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder", "decoder", "latents_mean", "latents_std"}


def test_the_decoder_alone_leaves_the_latents_and_their_cache_as_they_are():
    part = module(train_encoder=False)
    part.codec.requires_grad_(False)  # as a codec comes that was loaded
    part = module(train_encoder=False, codec=part.codec)
    before, key = copy.deepcopy(part.codec.state_dict()), part.codec.fingerprint
    latents = part.codec.encode(batch().video)
    losses = trained(part)
    assert losses[-1] < 0.9 * losses[0]
    after = part.codec.state_dict()
    assert {n.split(".")[0] for n in before if not torch.equal(before[n], after[n])} == {"decoder"}
    assert torch.equal(part.codec.encode(batch().video), latents)
    assert part.codec.fingerprint == key
    with torch.no_grad():
        part.codec.encoder.layers[0].bias.add_(1)
    assert part.codec.fingerprint != key


@pytest.fixture(scope="module")
def distance():
    return FeatureDistance(size=64)


def test_features_mind_lost_texture_more_than_a_shift_of_the_same_error(distance):
    real = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    blurred = F.avg_pool2d(F.pad(real, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    error = (blurred - real).square().mean().sqrt()
    assert distance(real, real) == 0
    assert distance(blurred, real) > 2 * distance(real + error, real)
    halfway = (blurred + real) / 2
    assert distance(halfway, real) < distance(blurred, real)


def test_features_reach_the_decoder_and_are_not_kept_with_it(distance):
    part = module(train_encoder=False, features=distance, feature_weight=0.5, feature_frames=2)
    logged = {}
    part.log = lambda name, value, **_: logged.setdefault(name, float(value))
    loss = part.training_step(batch(), 0)
    halved = logged["train/halved_loss"]
    expected = logged["train/loss"] + 0.5 * logged["train/feature_distance"] + 0.5 * halved
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert part.codec.decoder.layers[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in part.codec.encoder.parameters())
    assert all(name.startswith("codec.") for name in part.state_dict())
