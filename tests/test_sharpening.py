"""A codec's decoder against an adversary: what each learns from, and that latents stay as they are."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from test_autoencoding import batch, trained
from test_training import ROOT, TINY, videos  # noqa: F401 (a fixture)
from torch import nn
from torch.nn import functional as F

from lightning_modules.runs import load_run, release
from lightning_modules.sharpening import SharpeningModule
from lightning_modules.training import train
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.discriminator import PatchDiscriminator, hinge
from networks.saving import load_pretrained, save_pretrained

CODEC = {"channels": 4, "fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 1}


def module(share=0.5):
    torch.manual_seed(0)
    codec = CausalVideoAutoencoder(**CODEC).requires_grad_(False)
    part = SharpeningModule(
        codec=codec, adversary=PatchDiscriminator(width=8), adversarial_share=share, latent_noise=0.1,
        optimizer=partial(torch.optim.AdamW, lr=1e-3), squared_error_weight=1.0, seed=0,
        scheduler=partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda _: 1.0),
    )  # fmt: skip
    part._trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=1, global_rank=0, global_step=0)
    part.log = lambda *_, **__: None
    return part


def gradients(part, at_pixels):
    """Of one step, with pixels that are leaves in the decoder's place."""
    part._decode = lambda raw, noise: at_pixels
    part.zero_grad()
    part.training_step(batch(), 0).backward()
    return at_pixels.grad


def test_the_decoder_and_the_adversary_learn_and_latents_stay():
    part = module()
    before = copy.deepcopy(part.state_dict())
    key, latents = part.codec.fingerprint, part.codec.encode(batch().video)
    trained(part, steps=3)
    changed = {name for name, value in part.state_dict().items() if not torch.equal(before[name], value)}
    assert {name.split(".")[1] for name in changed if name.startswith("codec.")} == {"decoder"}
    assert any(name.startswith("adversary.") for name in changed)
    assert part.codec.fingerprint == key
    assert torch.equal(part.codec.encode(batch().video), latents)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_pixels_get_the_error_s_gradient_and_a_share_of_its_norm_from_the_adversary(share):
    part = module(share)
    video = batch().video
    made = (0.5 * video).requires_grad_()
    (towards_video,) = torch.autograd.grad(part._error(made, video), made)
    rest = gradients(part, made) - towards_video
    assert float(rest.norm() / towards_video.norm()) == pytest.approx(share, abs=1e-5)


def test_the_adversary_s_gradient_is_that_of_its_hinge_loss_alone():
    part = module(share=0.9)
    video = batch().video
    part.adversary.eval()  # spectral normalisation does not move
    gradients(part, (0.5 * video).requires_grad_())
    found = [p.grad.clone() for p in part.adversary.parameters()]
    losses = []
    for start in range(PatchDiscriminator.frames):  # which one was drawn is not asked
        part.adversary.zero_grad()
        if video.shape[2] - start < PatchDiscriminator.frames:
            continue
        hinge(part.adversary(video, start), part.adversary(0.5 * video, start)).backward()
        pairs = zip(part.adversary.parameters(), found, strict=True)
        losses.append(all(torch.allclose(p.grad, g, atol=1e-6) for p, g in pairs))
    assert any(losses)


def test_the_adversary_tells_blur_from_texture_and_where_groups_begin():
    torch.manual_seed(0)
    adversary = PatchDiscriminator(width=8)
    optimizer = torch.optim.AdamW(adversary.parameters(), lr=1e-2)
    for _ in range(60):
        real = torch.rand(2, 3, 9, 32, 32) * 2 - 1
        made = F.avg_pool3d(real, (1, 3, 3), stride=1, padding=(0, 1, 1))
        loss = hinge(adversary(real), adversary(made))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5
    scores = adversary.eval()(real, start=1)
    assert scores.shape == (4, 8, 8)  # two groups of four in frames 1 to 8, of two videos
    torch.testing.assert_close(scores, adversary(real[:, :, 1:]))


def test_a_share_that_nothing_would_hold_is_refused():
    with pytest.raises(ValueError, match=r"^lightning_module\.adversarial_share=1\.5 must be at least 0 and below 1"):
        module(share=1.5)


def test_single_pictures_are_refused():
    with pytest.raises(ValueError, match=r"^datamodule\.num_frames=1: the adversary judges four frames; 5 would do"):
        module().training_step(batch()._replace(video=batch().video[:, :, :1]), 0)


def test_a_run_is_released_as_the_codec_that_it_began_with(videos, tmp_path):  # noqa: F811
    codec = CausalVideoAutoencoder(**CODEC)
    for layer in codec.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)
    save_pretrained(
        codec, {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", **CODEC}, tmp_path / "codec"
    )
    tiny = [
        x for x in TINY if x.split(".")[0] in ("trainer", "global_batch_size=4", "clips_per_device=4", "logger=csv")
    ]
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        cfg = compose(
            "train",
            overrides=[
                "experiment=codec_sharp_freedoom", *tiny, "datamodule=folder", f"datamodule.root={videos}",
                "datamodule.pixels=true", "datamodule.cache_dtype=uint8", "datamodule.num_frames=[9]",
                "datamodule.hop_frames=8", "datamodule.make=null", "codec.channels=4",
                "datamodule.height=32", "datamodule.width=32",
                "datamodule.num_validation_clips=4", "datamodule.validation_share=0.3", "~callbacks.progress",
                f"codec.folder={tmp_path / 'codec'}", f"paths.run_dir={tmp_path / 'run'}", f"paths.root_dir={ROOT}",
                f"paths.data_dir={tmp_path}", "lightning_module.adversary.width=8",
            ],
            return_hydra_config=False,
        )  # fmt: skip
    train(cfg)
    release(tmp_path / "run", tmp_path / "release", torch.float32)
    loaded = load_pretrained(folder=tmp_path / "release", channels=4)
    sharpened = load_run(tmp_path / "run")[1].get_submodule("codec")
    for name, value in sharpened.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert loaded.fingerprint == codec.fingerprint
    assert not torch.equal(loaded.decoder.layers[0].weight, codec.decoder.layers[0].weight)
