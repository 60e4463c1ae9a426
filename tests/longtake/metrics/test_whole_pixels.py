"""Videos of whole pixels score what the same videos in fractions score, and are never turned into such at once."""

import pytest
import torch
from pictures import sliding
from torch.utils._python_dispatch import TorchDispatchMode

from longtake.metrics.consistency import BackgroundConsistency, SubjectConsistency
from longtake.metrics.drift import ColourDrift, FeatureDrift, ScoreDrift
from longtake.metrics.features import ColourTextureFeatures
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.frechet import FrechetFrameDistance, FrechetVideoDistance
from longtake.metrics.motion import DynamicDegree, MotionAwareWarpError, MotionMagnitude, MotionSmoothness
from longtake.metrics.named_features import FramesAndChanges, WithoutCentre
from longtake.metrics.per_video import floats
from longtake.metrics.reconstruction import VideoPSNR, VideoSSIM
from longtake.metrics.revisit import RevisitPSNR, RevisitSSIM
from longtake.metrics.scene_cuts import SceneCuts
from longtake.metrics.sharpness import Sharpness
from longtake.metrics.subject_colour import PromptColour, SubjectColour
from longtake.reports.strips import frame_strip

FEATURES = ColourTextureFeatures()
NUM_FRAMES = 80
POSES = torch.tensor([[10.0 * min(n, 79 - n), 0.0, 0.0, 0.0] for n in range(NUM_FRAMES)])
SCORED = [
    *((metric, {}) for metric in (SubjectConsistency(features=FEATURES), FeatureDrift(features=FEATURES))),
    (BackgroundConsistency(features=WithoutCentre(features=FEATURES)), {}),
    *((metric, {}) for metric in (ColourDrift(), TemporalFlicker(), Sharpness(), SceneCuts(), SubjectColour())),
    *((metric, {}) for metric in (MotionSmoothness(), MotionAwareWarpError(), ScoreDrift(metric=MotionSmoothness()))),
    *((metric, {"fps": 8.0}) for metric in (MotionMagnitude(), DynamicDegree())),
    *((metric, {"poses": POSES}) for metric in (RevisitPSNR(), RevisitSSIM())),
    (SeamScore(), {"boundaries": [40]}),
    (PromptColour(), {"prompt": "a red marine"}),
    *((metric, {"reference": None}) for metric in (VideoPSNR(), VideoSSIM())),
]


class LargestFloats(TorchDispatchMode):
    """Keeps how many numbers the largest tensor of fractions holds that is made while it is on."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.largest = max(self.largest, tensor.numel())
        return made


@pytest.fixture(scope="module")
def whole():
    """3 f h w in uint8, laid out as decoders give it."""
    frames = ((sliding(1, NUM_FRAMES)[0] + 1) * 127.5).round().byte()
    return frames.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def given_to(metric, given, video):
    return metric.measure(video, **{**given, **({"reference": video.flip(1)} if "reference" in given else {})})


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "given"), SCORED, ids=lambda value: getattr(type(value), "__name__", ""))
def test_whole_pixels_score_what_fractions_do(metric, given, whole):
    expected = given_to(metric, given, floats(whole))
    with LargestFloats() as floating:
        found = given_to(metric, given, whole)
    assert found.score == pytest.approx(expected.score, rel=1e-5)
    assert found.curve.frames == expected.curve.frames
    assert found.curve.values == pytest.approx(expected.curve.values, rel=1e-4, abs=1e-5)
    # pieces of 32 frames; structural similarity puts five pictures of each, padded, beside each other
    most = 220 if isinstance(metric, VideoSSIM | RevisitSSIM) else 33
    assert floating.largest <= most * whole[:, 0].numel()


def test_samples_and_strips_of_whole_pixels_are_those_of_fractions(whole):
    for metric in (
        FrechetFrameDistance(features=FEATURES),
        FrechetVideoDistance(features=FramesAndChanges(features=FEATURES)),
    ):
        torch.testing.assert_close(metric.samples(whole), metric.samples(floats(whole)))
    assert frame_strip(whole) == frame_strip(floats(whole))
