"""Features that a folder has or a network brings: frames keep their shape, and what cannot be had is one sentence."""

import json
import time
import urllib.error

import pytest
import torch
from pictures import sliding
from torch.nn import functional

from longtake.metrics import fetched_features, hub
from longtake.metrics.features import TimmFeatures, fitted
from longtake.metrics.named_features import background_features, frame_features


class Keeps(torch.nn.Module):
    """Returns the mean of what it is shown, and keeps it."""

    def forward(self, frames):
        self.shown = frames
        return frames.mean(dim=(2, 3))


def features(fit, size=32):
    return TimmFeatures(model=Keeps(), name="keeps", mean=(0, 0, 0), std=(1, 1, 1), size=size, fit=fit)


def test_frames_keep_their_shape_where_vbench_keeps_it():
    frames = sliding(1, 3)[0].transpose(0, 1)
    wide = functional.interpolate(frames, size=(72, 128), mode="bilinear")
    for fit, shape in (("stretched", (32, 32)), ("short side", (32, 48)), ("centre", (32, 32))):
        kept = features(fit)
        kept(wide)
        assert kept.model.shown.shape[2:] == shape, fit
    assert fitted(wide.transpose(2, 3), size=32, fit="short side").shape[2:] == (48, 32)
    assert features("short side").sees == "a short side of 32 pixels"
    assert features("centre").sees == "the middle 32 × 32 pixels of a short side of 32"


def test_a_circle_stays_round_and_the_middle_is_in_the_middle():
    down, across = torch.meshgrid(torch.arange(90.0), torch.arange(160.0), indexing="ij")
    disc = ((down - 44.5).square() + (across - 79.5).square() < 30**2).float()
    frame = (2 * disc - 1).expand(1, 3, 90, 160)
    for fit in ("short side", "centre", "stretched"):
        found = (fitted(frame, size=96, fit=fit)[0, 0] > 0).float()
        tall, wide = (float(found.sum(dim=axis).max()) for axis in (0, 1))
        assert (wide == pytest.approx(tall, abs=2)) == (fit != "stretched"), fit
    square = fitted(frame, size=96, fit="centre")[0, 0]
    torch.testing.assert_close(square, square.flip(1), atol=1e-4, rtol=0)


def test_short_side_and_centre_are_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    frames = functional.interpolate(sliding(1, 2)[0].transpose(0, 1), size=(90, 130), mode="bilinear")
    shrunk = transforms.Resize(48, antialias=False)(frames)
    torch.testing.assert_close(fitted(frames, size=48, fit="short side"), shrunk[..., :48, :64])
    bicubic = transforms.Resize(48, interpolation=transforms.InterpolationMode.BICUBIC, antialias=False)
    expected = transforms.CenterCrop(48)(bicubic(frames))
    torch.testing.assert_close(fitted(frames, size=48, fit="centre"), expected)


@pytest.mark.slow
def test_a_folder_of_timms_is_read_and_dino_sees_whole_frames(tmp_path):
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(model.state_dict(), str(tmp_path / "model.safetensors"))
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "num_features": 192}
    cfg = {"input_size": [3, 224, 224], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0, "tag": "dino"}
    for tag, fit in (("dino", "short side"), ("augreg", "stretched")):
        (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {**cfg, "tag": tag}}))
        frame_features.cache_clear()
        loaded = frame_features(name=str(tmp_path)).features
        assert loaded.fit == fit
        assert loaded(sliding(1, 2, size=32)[0].transpose(0, 1)).shape == (2, 192)
    assert torch.equal(loaded.model.pos_embed, model.pos_embed)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    frame_features.cache_clear()
    with pytest.raises(ValueError, match=r"model\.safetensors is no whole safetensors file"):
        frame_features(name=str(tmp_path))


@pytest.mark.parametrize("name", ["dino", "clip", "owner/model", "vit_small_patch14_dinov2.lvd142m"])
def test_without_a_network_there_is_one_sentence_after_one_question(name, monkeypatch, tmp_path):
    from huggingface_hub import constants

    asked = []

    def nowhere(request, timeout):
        asked.append(request.full_url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(hub.urllib.request, "urlopen", nowhere)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    before = time.monotonic()
    with pytest.raises(
        ValueError, match=rf"^background_features\.name={name}: .*\(the hub does not answer: no network\)"
    ):
        background_features(name=name)
    with pytest.raises(ValueError, match=rf"^features\.name={name}: ") as refused:
        frame_features(name=name)
    assert str(refused.value).endswith(fetched_features.WAYS_OUT)
    assert "\n" not in str(refused.value)
    assert len(asked) == 2
    assert time.monotonic() - before < 5


def test_the_hub_is_not_asked_where_it_must_not_be(monkeypatch):
    from huggingface_hub import constants

    def asked(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 404, "Not Found", {}, None)

    monkeypatch.setattr(hub.urllib.request, "urlopen", asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub.refusal("owner/model") == "the hub has no owner/model for everybody: 404"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.refusal("owner/model") == "HF_HUB_OFFLINE is set"


def test_weights_that_were_fetched_before_need_no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: f"/kept/{repository}/{file}")
    monkeypatch.setattr(fetched_features, "refusal", lambda repository: pytest.fail("asked"))
    asked = []

    class NoModelIsMade(Exception):
        pass

    def asked_for(*_, **given):
        asked.append(given)
        raise NoModelIsMade

    monkeypatch.setattr("timm.create_model", asked_for)
    with pytest.raises(ValueError, match="NoModelIsMade"):
        fetched_features.timm_features(model_name="vit_base_patch16_224.dino")
    assert asked[0]["pretrained_cfg_overlay"] == {"file": "/kept/timm/vit_base_patch16_224.dino/model.safetensors"}
