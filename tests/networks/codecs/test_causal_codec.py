"""The shipped kind of codec: frame rule, causality, exact streaming, its folder."""

import pytest
import torch
from builders import awake
from einops import rearrange

from networks.codecs.causal import CausalVideoAutoencoder
from networks.saving import build, load_pretrained, save_pretrained

SIZES = {"channels": 4, "fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 2}


@pytest.fixture(scope="module", params=[False, True], ids=["layers", "linear_path"])
def codec(request):
    made = CausalVideoAutoencoder(**SIZES, linear_path=request.param)
    return awake(made, scale=0.05).eval().requires_grad_(False)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (17, 5)])
def test_frame_rule(codec, frames, latents):
    video = torch.rand(2, 3, frames, 16, 24) * 2 - 1
    encoded = codec.encode(video)
    assert encoded.shape == (2, 4, latents, 2, 3)
    assert codec.decode(encoded).shape == video.shape


@pytest.mark.parametrize("size", [(6, 16, 16), (4, 16, 16), (5, 12, 16)])
def test_sizes_that_break_the_rule_are_refused(codec, size):
    with pytest.raises(ValueError, match="codec"):
        codec.encode(torch.zeros(1, 3, *size))


def test_streaming_decode_equals_full_decode(codec):
    latents = torch.randn(1, 4, 11, 2, 2)
    mean, std = (x.view(-1, 1, 1, 1) for x in (codec.latents_mean, codec.latents_std))
    whole = codec.decode_raw(latents * std + mean).clamp(-1, 1)
    for group in (1, 3, 16):
        pieces = list(codec.decode_stream(latents, group=group))
        assert pieces[0].shape[2] == 4 * min(group, 11) - 3
        torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-5)


def test_encoder_and_decoder_are_causal(codec):
    video = torch.rand(1, 3, 17, 16, 16) * 2 - 1
    changed = video.clone()
    changed[:, :, 9:] = 0
    assert torch.equal(codec.encode(changed)[:, :, :3], codec.encode(video)[:, :, :3])
    assert not torch.equal(codec.encode(changed)[:, :, 3:], codec.encode(video)[:, :, 3:])
    latents = torch.randn(1, 4, 5, 2, 2)
    later = latents.clone()
    later[:, :, 3:] = 0
    assert torch.equal(codec.decode(later)[:, :, :9], codec.decode(latents)[:, :, :9])


def test_statistics_normalise_latents():
    codec = awake(CausalVideoAutoencoder(**SIZES)).eval()
    video = torch.rand(8, 3, 9, 16, 16) * 2 - 1
    codec.track_statistics(codec.encode_raw(video), momentum=1.0)
    encoded = codec.encode(video).transpose(0, 1).flatten(1)
    torch.testing.assert_close(encoded.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(encoded.std(1), torch.ones(4), atol=1e-3, rtol=0)


def test_folder_round_trip(codec, tmp_path):
    settings = {**SIZES, "linear_path": codec.linear is not None}
    config = {"_class_name": "networks.codecs.causal.CausalVideoAutoencoder", **settings}
    save_pretrained(codec, config, tmp_path / "codec")
    loaded = load_pretrained(folder=tmp_path / "codec", channels=4)
    latents = torch.randn(1, 4, 3, 2, 2)
    assert torch.equal(loaded.decode(latents), codec.decode(latents))
    assert loaded.fingerprint == codec.fingerprint
    with pytest.raises(ValueError, match="16 are configured"):
        load_pretrained(folder=tmp_path / "codec", channels=16)
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_pretrained(folder=tmp_path, channels=4)
    save_pretrained(codec, {**config, "fine_width": 16}, tmp_path / "other")
    with pytest.raises(ValueError, match="does not fit"):
        load_pretrained(folder=tmp_path / "other", channels=4)


def test_config_files_build_networks_only():
    with pytest.raises(ValueError, match="no network class of this project"):
        build({"_class_name": "subprocess.Popen", "args": "true"})


@pytest.mark.parametrize("sizes", [(1, 4, 4, 8, 4), (9, 8, 4), (21,)])
def test_streaming_encode_equals_full_encode(codec, sizes):
    video = torch.rand(1, 3, sum(sizes), 16, 16) * 2 - 1
    pieces = list(codec.encode_stream(iter(video.split(list(sizes), dim=2))))
    assert [piece.shape[2] for piece in pieces] == [(size + 3) // 4 for size in sizes]
    torch.testing.assert_close(torch.cat(pieces, dim=2), codec.encode(video), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="codec"):
        list(codec.encode_stream([video[:, :, :4]]))


def test_the_linear_path_begins_as_the_best_linear_autoencoder():
    torch.manual_seed(0)
    made = CausalVideoAutoencoder(**{**SIZES, "channels": 12}, linear_path=True)
    # Videos of six kinds of patches, each a random multiple: six numbers a patch say all, and six for the first frames.
    kinds = torch.rand(6, 4 * 3 * 8 * 8) - 0.5
    parts = torch.einsum("b f h w k, k d -> b f h w d", torch.rand(8, 3, 2, 2, 6), kinds)
    video = rearrange(parts, "b f h w (t c p q) -> b c (f t) (h p) (w q)", t=4, c=3, p=8, q=8)[:, :, 3:]
    made.linear.fit(made.fold(video))
    made.track_statistics(made.encode_raw(video), 1.0)
    torch.testing.assert_close(made.decode_raw(made.encode_raw(video)), video, atol=1e-4, rtol=0)
    assert made.latents_std.max() < 4 * made.latents_std.min()


def test_what_decodes_names_no_latents():
    made = CausalVideoAutoencoder(**SIZES, linear_path=True)
    before = made.fingerprint
    with torch.no_grad():
        made.linear.up.weight.add_(1.0)
        assert made.fingerprint == before
        made.linear.down.weight.add_(1.0)
    assert made.fingerprint != before
