"""The codec's training, and what names its latents."""

import copy
import itertools
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from builders import awake
from torch.nn import functional as F

from lightning_modules.autoencoding import AutoencodingModule, detail, strength
from longtake.releases.writing import release
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.growing import begin_from
from networks.interfaces import VideoBatch
from networks.saving import load_pretrained, read_config, save_pretrained


def module(**changes):
    torch.manual_seed(0)
    codec = CausalVideoAutoencoder(channels=4, fine_width=8, coarse_width=12, num_fine_blocks=1, num_coarse_blocks=1)
    settings = {
        "codec": codec, "optimizer": partial(torch.optim.AdamW, lr=1e-2), "latent_noise": 0.1,
        "scheduler": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda _: 1.0), "squared_error_weight": 1.0,
        "detail_weight": 0.1, "strength_weight": 0.1, "statistics_momentum": 0.1, "halved_share": 0.5, "seed": 0,
        "train_encoder": True,
        "begin_from": None,
    }  # fmt: skip
    part = AutoencodingModule(**{**settings, **changes})
    part.trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=1, global_rank=0, global_step=0)
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
        losses.append(float(loss.detach()))
    return losses


def test_the_strength_of_detail_asks_for_as_much_as_there_is_and_not_for_its_place():
    noise = torch.randn(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(strength(torch.zeros(1, 3, 2, 32, 32)), torch.tensor(2 / 255))  # flat
    whole = strength(noise)
    assert whole.shape == (2, 3, 6, 6)
    expected = detail(noise)[0, 1, 1, 4:12, 12:20].square().mean().sqrt()
    assert whole[1, 1, 1, 3] == pytest.approx(float(expected), rel=1e-3)
    assert torch.allclose(strength(0.5 * noise), 0.5 * whole, rtol=1e-3)
    moved = strength(noise.roll(1, dims=-1))
    assert (moved - whole).abs().mean() < 0.2 * (0.5 * whole - whole).abs().mean()
    assert torch.isfinite(
        torch.autograd.grad(strength(flat := torch.zeros(1, 3, 1, 8, 8, requires_grad=True)).sum(), flat)[0]
    ).all()


def test_each_weight_adds_its_own_error():
    part = module(detail_weight=0.0, strength_weight=0.0, squared_error_weight=0.0)
    video = batch().video
    made = 0.7 * video
    plain = part._error(made, video)
    part.strength_weight = 2.0
    added = 2 * (strength(made) - strength(video)).abs().mean()
    assert added > 0
    assert part._error(made, video) == pytest.approx(float(plain + added))


def test_everything_learns():
    part = module()
    before = copy.deepcopy(part.codec.state_dict())
    losses = trained(part)
    assert losses[-1] < 0.9 * losses[0]
    after = part.codec.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder", "decoder", "latents_mean", "latents_std"}


def test_the_decoder_learns_alone_and_latents_stay():
    part = module(train_encoder=False)
    before, key, latents = (
        copy.deepcopy(part.codec.state_dict()),
        part.codec.fingerprint,
        part.codec.encode(batch().video),
    )
    losses = trained(part)
    assert losses[-1] < 0.9 * losses[0]
    after = part.codec.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert part.codec.fingerprint == key
    assert torch.equal(part.codec.encode(batch().video), latents)


def test_a_shipped_codec_that_comes_frozen_learns_on_and_is_released_alone(tmp_path, monkeypatch):
    settings = {"channels": 4, "fine_width": 8, "coarse_width": 8, "num_fine_blocks": 1, "num_coarse_blocks": 1}
    codec = CausalVideoAutoencoder(**settings)
    config = {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", **settings}
    save_pretrained(codec, config, tmp_path / "shipped")
    source = {"folder": str(tmp_path / "shipped"), "channels": 4}
    part = module(codec=load_pretrained(**source), train_encoder=False)
    learns = {name.split(".")[0] for name, parameter in part.codec.named_parameters() if parameter.requires_grad}
    assert learns == {"decoder"}
    assert all(parameter.requires_grad for parameter in module(codec=part.codec).parameters())
    named = {"codec": {"_target_": "networks.saving.load_pretrained", **source}, "network": None}
    monkeypatch.setattr("longtake.releases.writing.load_run", lambda *_, **__: (named, part))
    release("a run", tmp_path / "release", torch.float32)
    assert read_config(tmp_path / "release") == config


def test_latents_are_named_by_what_makes_them():
    codec = module().codec
    key, latents = codec.fingerprint, codec.encode(batch().video)
    with torch.no_grad():
        codec.decoder.layers[0].bias.add_(1)
        assert codec.fingerprint == key
        assert torch.equal(codec.encode(batch().video), latents)
        codec.encoder.layers[0].bias.add_(1)
        assert codec.fingerprint != key


def test_a_codec_begins_from_one_with_fewer_channels(tmp_path):
    torch.manual_seed(0)
    settings = {"fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 1}
    trained = CausalVideoAutoencoder(channels=4, **settings)
    trained.track_statistics(torch.randn(2, 4, 3, 4, 4), 1.0)
    config = {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", "channels": 4, **settings}
    save_pretrained(trained, config, tmp_path)
    part = module(codec=CausalVideoAutoencoder(channels=6, **settings), begin_from=str(tmp_path))
    part.on_train_start()
    video = batch().video
    with torch.no_grad():
        latents = part.codec.encode(video)
        assert torch.allclose(latents[:, :4], trained.encode(video), atol=1e-5)
        assert latents[:, 4:].std() > 0
        assert torch.allclose(part.codec.decode(latents), trained.decode(latents[:, :4]), atol=1e-5)
    before = copy.deepcopy(part.codec.state_dict())
    trained_on = {"train/loss": trained_step(part, video)}
    assert trained_on["train/loss"] > 0
    part.trainer.global_step = 1  # a resumed run
    part.on_train_start()
    assert any(not torch.equal(before[name], value) for name, value in part.codec.state_dict().items())


@pytest.mark.parametrize("linear_path", [False, True])
def test_a_codec_of_a_larger_picture_begins_as_the_trained_one_on_means_of_squares(tmp_path, linear_path):
    settings = {"fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 1}
    settings["linear_path"] = linear_path
    trained = awake(CausalVideoAutoencoder(channels=4, **settings), scale=0.05).eval()
    config = {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", "channels": 4, **settings}
    save_pretrained(trained, config, tmp_path)
    larger = CausalVideoAutoencoder(channels=4, patch=8, **settings).eval()
    assert (trained.space_factor, larger.space_factor) == (8, 16)
    begin_from(larger, tmp_path)
    video = torch.rand(1, 3, 5, 32, 48) * 2 - 1
    with torch.no_grad():
        latents = larger.encode(video)
        small = F.avg_pool3d(video, (1, 2, 2))
        torch.testing.assert_close(latents, trained.encode(small), rtol=0, atol=1e-5)
        repeated = trained.decode(latents).repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
        torch.testing.assert_close(larger.decode(latents), repeated, rtol=0, atol=1e-5)
    assert trained.decode(latents).std() > 0.01


def test_a_linear_path_is_fitted_before_the_first_step_and_never_again():
    settings = {"fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 1}
    part = module(codec=CausalVideoAutoencoder(channels=12, linear_path=True, **settings))
    part._trainer.datamodule = SimpleNamespace(train_dataloader=lambda: itertools.repeat(batch()))
    part._trainer.strategy = SimpleNamespace(broadcast=lambda state: state)
    part.on_train_start()
    fitted = copy.deepcopy(part.codec.linear.state_dict())
    with torch.no_grad():
        error = (part.codec.decode_raw(part.codec.encode_raw(batch().video)) - batch().video).square().mean()
    assert error < 0.5 * batch().video.var()
    trained(part, steps=2)
    assert not torch.equal(part.codec.linear.up.weight, fitted["up.weight"])
    part.codec.linear.load_state_dict(fitted)
    part._trainer.global_step = 2  # a resumed run
    part._trainer.datamodule = None
    part.on_train_start()
    frozen = module(codec=part.codec, train_encoder=False).codec
    assert not any(weight.requires_grad for weight in frozen.linear.down.parameters())
    assert all(weight.requires_grad for weight in frozen.linear.up.parameters())


def trained_step(part, video):
    part.log = lambda *_, **__: None
    optimizer = part.configure_optimizers()["optimizer"]
    loss = part.training_step(batch(), 0)
    loss.backward()
    grown = part.codec.decoder.layers[0].weight.grad[:, 4:]
    assert grown.abs().max() > 0  # new channels are free to learn
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("change", [{"channels": 3}, {"fine_width": 16}, {"num_coarse_blocks": 2}, {"patch": 6}])
def test_a_codec_of_another_make_is_no_beginning(change, tmp_path):
    settings = {"channels": 4, "fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 1}
    config = {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", **settings}
    save_pretrained(CausalVideoAutoencoder(**settings), config, tmp_path)
    with pytest.raises(ValueError, match=r"holds no codec of these blocks|but the codec's is"):
        begin_from(CausalVideoAutoencoder(**{**settings, **change}), tmp_path)


def test_detail_is_what_a_pixel_differs_by():
    from lightning_modules.autoencoding import detail

    video = torch.zeros(1, 1, 1, 5, 5)
    video[..., 2, 2] = 1.0
    assert detail(video)[0, 0, 0].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    assert detail(torch.arange(25.0).view(1, 1, 1, 5, 5)).abs().max() == 0  # a ramp has none
