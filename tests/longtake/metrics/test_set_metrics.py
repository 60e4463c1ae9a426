"""Distances between sets, revisits, features by name and LPIPS, on inputs whose answer is known."""

import pytest
import torch
from pictures import MeanColour, colours_of_noise, sliding, still
from torch import nn

from longtake.metrics.features import ColourTextureFeatures
from longtake.metrics.fetched_features import clip_features
from longtake.metrics.frechet import FrechetFrameDistance, FrechetVideoDistance
from longtake.metrics.named_features import (
    FramesAndChanges,
    KineticsFeatures,
    Remembered,
    WithoutCentre,
    background_features,
    frame_features,
    video_features,
)
from longtake.metrics.reconstruction import VideoLPIPS, VideoSSIM
from longtake.metrics.revisit import RevisitPSNR


def frechet(first, second, metric):
    metric.update(first, is_reference=False)
    metric.update(second, is_reference=True)
    return float(metric.compute())


def test_the_distance_of_equal_sets_is_nothing_and_of_shifted_ones_the_shift():
    metric = FrechetFrameDistance(features=MeanColour(), frames_per_video=8)
    assert frechet(colours_of_noise(0), colours_of_noise(0), metric) == pytest.approx(0.0, abs=1e-6)
    metric.reset()
    # same spread, means 0.3 apart in each of three channels
    assert frechet(colours_of_noise(0), colours_of_noise(0, offset=0.3), metric) == pytest.approx(3 * 0.09, rel=1e-4)


def test_the_distance_of_two_spreads_is_known():
    metric = FrechetFrameDistance(features=MeanColour(), frames_per_video=8)
    once, twice = colours_of_noise(0), 2 * colours_of_noise(0)
    colours = once.mean(dim=(3, 4)).permute(0, 2, 1).flatten(0, 1).double()
    # tr(Σ + 4Σ − 2 · 2Σ) = tr Σ, and the mean is doubled
    expected = colours.T.cov().trace() + colours.mean(dim=0).square().sum()
    assert frechet(once, twice, metric) == pytest.approx(float(expected), rel=1e-4)


def test_the_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")

    class Colour(nn.Module):
        num_features = 3

        def forward(self, pictures):
            return pictures.float().mean(dim=(2, 3))

    theirs = fid.FrechetInceptionDistance(feature=Colour(), normalize=True)
    theirs.set_dtype(torch.float64)
    ours = FrechetFrameDistance(features=MeanColour(), frames_per_video=8)
    first, second = colours_of_noise(0).abs(), 0.7 * colours_of_noise(1, offset=0.2).abs()
    for real, clips in ((False, first), (True, second)):
        theirs.update(clips.transpose(1, 2).flatten(0, 1), real=real)
    assert frechet(first, second, ours) == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_the_distance_adds_up_over_processes():
    parts = [FrechetFrameDistance(features=MeanColour(), frames_per_video=4) for _ in range(2)]
    whole = FrechetFrameDistance(features=MeanColour(), frames_per_video=4)
    first, second = colours_of_noise(0), colours_of_noise(1, offset=0.1)
    expected = frechet(first, second, whole)
    for part, rows in zip(parts, (slice(0, 2), slice(2, 6)), strict=True):
        part.update(first[rows], is_reference=False)
    parts[1].update(second, is_reference=True)  # one of them sees no reference at all
    merged = parts[0]
    merged.merge_state(parts[1])
    assert float(merged.distance()) == pytest.approx(expected, rel=1e-6)
    assert merged.describe()["video_samples"] == 24


def test_too_few_samples_are_no_distance():
    metric = FrechetFrameDistance(features=MeanColour())
    metric.update(colours_of_noise(0), is_reference=False)
    assert metric.distance().isnan()
    with pytest.raises(ValueError, match="frames_per_video is 0"):
        FrechetFrameDistance(features=MeanColour(), frames_per_video=0)


def test_clips_tell_motion_from_stills():
    features = FramesAndChanges(features=MeanColour(), num_frames=4)
    metric = FrechetVideoDistance(features=features)
    assert metric.samples(colours_of_noise(0)[0]).shape == (2, 6)
    blinking = still(8).clone()
    blinking[:, :, ::2] *= -1
    changes = metric.samples(blinking[0])[:, 3:]
    assert torch.allclose(changes, 2 * still(1)[0, :, 0].mean(dim=(1, 2)).abs().expand(2, 3), atol=1e-6)
    assert metric.samples(still(8)[0])[:, 3:].abs().max() == 0
    with pytest.raises(ValueError, match="needs at least 4 frames, got 3"):
        metric.samples(still(3)[0])
    assert "clips of 4 frames" in metric.describe()["sampling"]


def test_kinetics_networks_get_what_they_want():
    class Average(nn.Module):
        def forward(self, clips):
            assert clips.shape == (1, 3, 4, 16, 16)
            return clips.mean(dim=(2, 3, 4))

    features = KineticsFeatures(model=Average(), name="average", size=16, num_frames=4)
    white = features(torch.ones(2, 3, 4, 32, 24))
    assert torch.allclose(
        white[1], (1 - torch.tensor([0.43216, 0.394666, 0.37645])) / torch.tensor([0.22803, 0.22145, 0.216989])
    )


def test_hiding_the_middle_leaves_the_background():
    features = WithoutCentre(features=MeanColour(), share=0.5)
    picture = still(2, seed=1)[0].transpose(0, 1).clone()
    changed = picture.clone()
    changed[:, :, 20:44, 20:44] = 1
    assert torch.equal(features(picture), features(changed))
    changed[:, :, 0, 0] = 1
    assert not torch.equal(features(picture), features(changed))
    assert features.name == "mean colour, middle 50% of height and width hidden"
    with pytest.raises(ValueError, match="share is 1"):
        WithoutCentre(features=MeanColour(), share=1)


def test_features_are_computed_once_for_each_picture():
    asked = []

    class Counting(MeanColour):
        def __call__(self, frames):
            asked.append(len(frames))
            return super().__call__(frames)

    features = Remembered(features=Counting(), most=5)
    frames = torch.rand(4, 3, 8, 8)
    first = features(frames)
    assert torch.equal(features(frames[[2, 0]]), first[[2, 0]])
    assert asked == [4]
    torch.testing.assert_close(features(torch.cat([frames[:1], frames[:1] + 1])), torch.cat([first[:1], first[:1] + 1]))
    assert asked == [4, 1]
    features(torch.rand(5, 3, 8, 8))  # pushes the others out
    features(frames[:1])
    assert asked == [4, 1, 5, 1]
    assert len(features.known) == 5


def test_features_come_by_name(tmp_path):
    assert isinstance(frame_features(name="histograms").features, ColourTextureFeatures)
    assert frame_features(name="histograms") is frame_features(name="histograms")
    assert background_features(name="histograms") is frame_features(name="histograms")
    with pytest.raises(ValueError, match="timm has no model 'resnet_of_ours'"):
        frame_features(name="resnet_of_ours")
    with pytest.raises(ValueError, match="neither a folder with a CLIP nor to be had"):
        frame_features(name=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"video_features\.name=i3d is not known: the names are offline"):
        video_features(name="i3d")


def test_a_clip_is_read_from_a_folder(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, projection_dim=6, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    features = clip_features(model_name=str(tmp_path))
    assert features(sliding(1, 3)[0].transpose(0, 1)).shape == (3, 6)
    assert features.size == 32


def poses(*legs):
    """x, y, z, angle of every frame."""
    return torch.tensor([[x, 0.0, 0.0, angle] for x, angle in legs])


def test_a_revisit_is_a_return_after_being_away():
    there_and_back = poses(*[(10.0 * min(n, 20 - n), 0.0) for n in range(21)])
    metric = RevisitPSNR(min_gap=8, distance=2, angle=4, away=4)
    assert metric.pairs(there_and_back) == [(10 - n, 10 + n) for n in range(4, 11)]
    standing = poses(*[(0.0, 0.0)] * 21)
    assert metric.pairs(standing) == []  # never away
    turned = poses(*[(10.0 * min(n, 20 - n), 0.0 if n < 10 else 180.0) for n in range(21)])
    assert metric.pairs(turned) == []  # another view
    around = poses(*[(0.0, 18.0 * n) for n in range(21)])
    assert metric.pairs(around) == [(0, 20)]  # 360 degrees are 0


def test_a_revisit_compares_the_right_frames():
    places = poses(*[(10.0 * min(n, 20 - n), 0.0) for n in range(21)])
    video = sliding(1, 21)[0]
    mirrored = torch.cat([video[:, :11], video[:, :10].flip(1)], dim=1)
    metric = RevisitPSNR(min_gap=8, distance=2)
    assert metric.measure(mirrored, poses=places).score == 100
    assert metric.measure(video, poses=places).score < 40
    worse = mirrored.clone()
    worse[:, 20] = (worse[:, 20] * 0.5).clamp(-1, 1)
    curve = metric.measure(worse, poses=places).curve
    assert curve.frames == list(range(14, 21))
    assert curve.values[:-1] == [100.0] * 6
    assert curve.values[-1] < 40
    with pytest.raises(ValueError, match="21 poses for 20 frames"):
        metric.measure(video[:, :20], poses=places)
    metric.update(video[None, :, :3], poses=places[:3])
    assert metric.count == 0  # nothing comes back
    with pytest.raises(ValueError, match="angle is 0"):
        RevisitPSNR(angle=0)


def test_ssim_is_one_for_equal_frames_and_falls_with_blur():
    video = sliding(1, 40)[0]
    assert VideoSSIM().measure(video, reference=video).score == pytest.approx(1, abs=1e-5)
    noisy = (video + 0.2 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    measured = VideoSSIM().measure(noisy, reference=video)
    assert 0 < measured.score < 0.9
    assert len(measured.curve.values) == 40


def test_lpips_without_its_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metric = VideoLPIPS()
    assert "LPIPS needs AlexNet's weights, which are not on this machine" in metric.unavailable()
    with pytest.raises(ValueError, match="LPIPS needs AlexNet's weights"):
        metric.measure(still(3)[0], reference=still(3)[0])


@pytest.mark.slow
def test_lpips_is_that_of_torchmetrics(monkeypatch, tmp_path):
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import alexnet

    # untrained weights in the place of the trained ones: the arithmetic is the same
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.save(alexnet().state_dict(), tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: torch.load(
        tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    ))  # fmt: skip
    video, other = sliding(1, 3)[0], sliding(3, 3)[0].flip(2)
    theirs = LearnedPerceptualImagePatchSimilarity(net_type="alex")(video.transpose(0, 1), other.transpose(0, 1))
    assert VideoLPIPS().measure(video, reference=other).score == pytest.approx(theirs.item(), rel=1e-4)
    assert VideoLPIPS().measure(video, reference=video).score == pytest.approx(0, abs=1e-6)
