"""Pretrained codecs at tiny random sizes, saved and loaded in the real format; the rules on sizes; the pixel codec."""

import pytest
import torch
from tiny_codecs import MEAN, STD, build_cogvideox, build_hunyuan, build_ltx, build_wan

from networks.codecs.diffusers_codec import DiffusersCodec
from networks.codecs.pixels import PixelCodec
from networks.codecs.rules import check_size, nearest_num_frames, num_latent_frames, num_pixel_frames

# builder, (time factor, space factor), mean and deviation that latents must be normalised by
KINDS = {
    "wan": (build_wan, (4, 8), MEAN, STD),
    "ltx": (build_ltx, (4, 8), MEAN, [2 * std for std in STD]),
    "cogvideox": (build_cogvideox, (4, 8), [0.0] * 4, [1 / 0.7] * 4),
    "hunyuan": (build_hunyuan, (4, 8), [0.0] * 4, [4.0] * 4),
}


OVER_FRAMES = ("AutoencoderKLHunyuanVideo", "AutoencoderKLCogVideoX")  # whose group norms average over frames


@pytest.fixture(
    params=["wan", "ltx", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cogvideox", "hunyuan"))]
)
def case(request, tmp_path):
    builder, factors, mean, std = KINDS[request.param]
    torch.manual_seed(0)
    model = builder().eval()
    model.save_pretrained(tmp_path / "vae")
    codec = DiffusersCodec(class_name=type(model).__name__, channels=4, pretrained=str(tmp_path))
    column = torch.tensor([mean, std]).reshape(2, -1, 1, 1, 1)
    return codec, model, factors, column[0], column[1]


def random_video(num_frames=9, size=16):
    return torch.rand(2, 3, num_frames, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    model = build_wan()
    model.decoder.conv_in.weight.data.fill_(torch.nan)
    model.save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match=f"codec: '{tmp_path}/vae': the tensor 'decoder.conv_in.weight' holds NaN"):
        DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path))


def test_a_codec_of_another_family_is_refused_by_name(tmp_path):
    build_wan().save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match="holds a AutoencoderKLWan, but must hold a AutoencoderKLLTXVideo: give codec"):
        DiffusersCodec(class_name="AutoencoderKLLTXVideo", channels=4, pretrained=str(tmp_path))


def test_latents_are_normalised_and_come_back(case):
    codec, model, factors, mean, std = case
    video = random_video()
    assert (codec.time_factor, codec.space_factor) == factors
    latents = codec.encode(video)
    with torch.no_grad():
        raw = model.encode(video).latent_dist.mode()
        expected = model.decode(raw).sample.clamp(-1, 1)
    assert latents.shape == (2, codec.channels, 3, 2, 2)
    torch.testing.assert_close(latents, (raw - mean) / std)
    decoded = codec.decode(latents)
    assert decoded.shape == video.shape
    torch.testing.assert_close(decoded, expected, atol=1e-4, rtol=1e-4)
    assert decoded.std() > 0
    assert not latents.requires_grad


def test_a_single_frame_stands_alone(case):
    codec = case[0]
    video = random_video()
    latents, first = codec.encode(video), codec.encode(video[:, :, :1])
    assert first.shape[2] == 1
    if codec.class_name not in OVER_FRAMES:
        torch.testing.assert_close(first, latents[:, :, :1], atol=1e-4, rtol=1e-4)
    assert codec.decode(first).shape[2] == 1


@pytest.mark.parametrize("patch", [None, 2])
def test_wan_streams_what_it_decodes(patch, tmp_path):
    torch.manual_seed(0)
    folded = (
        {} if patch is None else {"patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
    )
    build_wan(**folded).save_pretrained(tmp_path / "vae")
    codec = DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path))
    one, other = torch.randn(2, 1, 4, 4, 2, 3).unbind(0)
    whole = codec.decode(one), codec.decode(other)
    side_by_side = list(zip(codec.decode_stream(one), codec.decode_stream(other), strict=True))
    assert [piece.shape[2] for piece, _ in side_by_side] == [1, 4, 4, 4]
    for number in (0, 1):
        streamed = torch.cat([pieces[number] for pieces in side_by_side], dim=2)
        # Rounding differs with the shapes that a CPU's convolutions are given, and random weights enlarge it.
        torch.testing.assert_close(streamed, whole[number], atol=2e-4, rtol=1e-4)
    assert whole[0].std() > 0


def test_the_others_stream_in_one_piece(case):
    codec = case[0]
    latents = torch.randn(1, 4, 3, 2, 2)
    pieces = list(codec.decode_stream(latents))
    assert len(pieces) == (3 if codec.class_name == "AutoencoderKLWan" else 1)
    torch.testing.assert_close(torch.cat(pieces, dim=2), codec.decode(latents), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="4 channels, the latents 5"):
        list(codec.decode_stream(torch.zeros(1, 5, 1, 2, 2)))


def test_wrong_sizes_are_answered_with_the_nearest_right_ones(case):
    codec = case[0]
    with pytest.raises(ValueError, match=rf"{codec.class_name} cannot take 10 frames \(must be 4·n \+ 1: take 9 or 13"):
        codec.encode(random_video(num_frames=10))
    with pytest.raises(ValueError, match=r"height 20 .*16 or 24.* and width 20"):
        codec.encode(random_video(size=20))
    with pytest.raises(ValueError, match="4 channels, the latents 5"):
        codec.decode(torch.zeros(1, 5, 1, 2, 2))


def test_dtype_and_posterior_are_obeyed(case, tmp_path):
    exact = case[0]
    video = random_video()
    half = DiffusersCodec(class_name=exact.class_name, channels=4, pretrained=str(tmp_path), dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16
    latents = half.encode(video)
    assert latents.dtype == torch.float32
    assert half.decode(latents).dtype == torch.float32
    torch.testing.assert_close(latents, exact.encode(video), atol=0.1, rtol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(exact.encode(video), exact.encode(video))
        assert exact.encode(video).dtype == torch.float32
    drawing = DiffusersCodec(class_name=exact.class_name, channels=4, pretrained=str(tmp_path), posterior="sample")
    assert not drawing.encode(video).equal(drawing.encode(video))
    assert len({exact.fingerprint, half.fingerprint, drawing.fingerprint}) == 3
    same = DiffusersCodec(class_name=exact.class_name, channels=4, pretrained=str(tmp_path / "vae"), subfolder="")
    assert same.fingerprint == exact.fingerprint


def test_a_codec_stays_frozen_and_lets_gradients_through(case):
    codec = case[0].train()
    assert not codec.model.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    latents = codec.encode(random_video()).requires_grad_()
    codec.decode(latents).square().sum().backward()
    assert latents.grad.abs().sum() > 0


def test_ltx_decoder_with_a_time_is_served(tmp_path):
    torch.manual_seed(0)
    build_ltx(timestep_conditioning=True).save_pretrained(tmp_path / "vae")
    codec = DiffusersCodec(class_name="AutoencoderKLLTXVideo", channels=4, pretrained=str(tmp_path))
    assert codec.decode(codec.encode(random_video())).shape == (2, 3, 9, 16, 16)


def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not there: give a folder that is"):
        DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="class_name is 'AutoencoderKL', but must be one of AutoencoderKLWan"):
        DiffusersCodec(class_name="AutoencoderKL", channels=4, pretrained=str(tmp_path))
    build_wan().save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match=r"channels is 16, but '.*' has 4: set codec\.channels=4"):
        DiffusersCodec(class_name="AutoencoderKLWan", channels=16, pretrained=str(tmp_path))
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path), dtype="int8")


def test_pixels_pass_unchanged():
    codec, video = PixelCodec(channels=3), random_video(num_frames=6)
    assert codec.encode(video).equal(video)
    assert codec.decode(video * 2).abs().max() == 1
    assert (codec.channels, codec.time_factor, codec.space_factor) == (3, 1, 1)
    with pytest.raises(ValueError, match=r"3 channels, not 4: set codec\.channels=3"):
        PixelCodec(channels=4)
    with pytest.raises(ValueError, match="cannot take 4 channels"):
        codec.encode(torch.zeros(1, 4, 1, 2, 2))


@pytest.mark.parametrize(
    ("num_frames", "factor", "nearest"),
    [
        (1, 4, (1, 1)),
        (9, 4, (9, 9)),
        (10, 4, (9, 13)),
        (12, 4, (9, 13)),
        (7, 1, (7, 7)),
        (0, 4, (1, 1)),
        (16, 8, (9, 17)),
    ],
)
def test_nearest_num_frames(num_frames, factor, nearest):
    assert nearest_num_frames(num_frames, factor) == nearest
    for fitting in nearest:
        assert num_pixel_frames(num_latent_frames(fitting, factor), factor) == fitting
        check_size(fitting, 8, 16, factor, 8, "here")


def test_sizes_below_the_smallest_name_the_smallest():
    with pytest.raises(ValueError, match=r"^here cannot take 0 frames \(.*take 1\) and height 3 \(.*take 8\)$"):
        check_size(0, 3, 16, 4, 8, "here")
    with pytest.raises(ValueError, match=r"num_frames is 6, but must be 4·n \+ 1: take 5 or 9"):
        num_latent_frames(6, 4)


def test_a_streamed_encoding_is_the_whole_one(case):
    """Norms over frames see those that they are given, so the pieces of such a codec are only nearly the whole's."""
    codec = case[0]
    video = random_video(25)
    pieces = list(codec.encode_stream(iter(video.split([9, 8, 4, 4], dim=2))))
    assert [piece.shape[2] for piece in pieces] == [3, 2, 1, 1]
    assert torch.equal(pieces[0], codec.encode(video[:, :, :9]))
    if codec.class_name not in OVER_FRAMES:
        torch.testing.assert_close(torch.cat(pieces, dim=2), codec.encode(video), rtol=0, atol=1e-4)


def test_wan_with_patches_and_with_tiles_is_streamed_too(tmp_path):
    torch.manual_seed(0)
    build_wan(in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16).save_pretrained(tmp_path / "vae")
    video = random_video(13, 32)
    for tiling in (False, True):
        codec = DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path), tiling=tiling)
        streamed = torch.cat(list(codec.encode_stream(iter(video.split([5, 4, 4], dim=2)))), dim=2)
        torch.testing.assert_close(streamed, codec.encode(video), rtol=0, atol=1e-4)


def test_a_past_too_short_to_see_everything_is_near(monkeypatch):
    """What is encoded behind too little of the past differs a little from the whole where an encoder sees further."""
    from networks.codecs.rules import encode_behind_past

    def encode(video):  # a mean over the last nine frames, every fourth
        padded = torch.cat([video[:, :, :1].expand(-1, -1, 8, -1, -1), video], dim=2)
        return torch.stack([padded[:, :, f : f + 9].mean(2) for f in range(0, video.shape[2], 4)], dim=2)

    video = random_video(17, 8)
    for past, exact in ((4, True), (0, False)):
        made = torch.cat(list(encode_behind_past(encode, video.split([5, 4, 8], dim=2), 4, past)), dim=2)
        assert made.shape == encode(video).shape
        assert torch.allclose(made, encode(video), atol=1e-6) == exact
