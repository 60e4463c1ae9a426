"""Videos whose scores are known, and every metric."""

import torch
from torch.nn import functional

from longtake.metrics.consistency import BackgroundConsistency, SubjectConsistency
from longtake.metrics.drift import ColourDrift, FeatureDrift, ScoreDrift
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.motion import DynamicDegree, MotionAwareWarpError, MotionMagnitude, MotionSmoothness
from longtake.metrics.reconstruction import VideoPSNR, VideoSSIM
from longtake.metrics.revisit import RevisitPSNR, RevisitSSIM
from longtake.metrics.scene_cuts import SceneCuts
from longtake.metrics.sharpness import Sharpness
from longtake.metrics.subject_colour import PromptColour, SubjectColour


class MeanColour:
    """Features known by heart: the mean of each channel."""

    name = "mean colour"
    sees = "whole frames"

    def __call__(self, frames):
        return frames.mean(dim=(2, 3))


def texture(size=64, seed=0):
    """A smooth random picture, c h w in [-1, 1]."""
    noise = torch.randn(1, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    picture = functional.interpolate(noise, size=(size, size), mode="bicubic")[0]
    return (picture / picture.abs().max()).clamp(-1, 1)


def still(num_frames=20, seed=0):
    return texture(seed=seed)[None, :, None].repeat(1, 1, num_frames, 1, 1)


def sliding(pixels_per_frame, num_frames=20, size=64):
    frames = [texture(size).roll(number * pixels_per_frame, dims=2) for number in range(num_frames)]
    return torch.stack(frames, dim=1)[None]


def flat(levels):
    """Grey frames of the given levels in [-1, 1]."""
    return torch.tensor(levels).reshape(1, 1, -1, 1, 1).repeat(1, 3, 1, 32, 32)


def colours_of_noise(seed, number=6, offset=0.0):
    """Flat frames of random colours, b 3 f h w."""
    colours = 0.1 * torch.randn(number, 3, 8, 1, 1, generator=torch.Generator().manual_seed(seed)) + offset
    return colours.clamp(-1, 1).repeat(1, 1, 1, 32, 32)


EVERY_METRIC = {
    "subject_consistency": lambda: SubjectConsistency(features=MeanColour()),
    "background_consistency": lambda: BackgroundConsistency(features=MeanColour()),
    "temporal_flicker": TemporalFlicker,
    "motion_magnitude": MotionMagnitude,
    "dynamic_degree": DynamicDegree,
    "motion_smoothness": MotionSmoothness,
    "mawe": MotionAwareWarpError,
    "sharpness": Sharpness,
    "scene_cuts": SceneCuts,
    "feature_drift": lambda: FeatureDrift(features=MeanColour()),
    "colour_drift": ColourDrift,
    "score_drift": lambda: ScoreDrift(metric=TemporalFlicker()),
    "seam": SeamScore,
    "subject_colour": SubjectColour,
    "prompt_colour": PromptColour,
    "revisit_psnr": RevisitPSNR,
    "revisit_ssim": RevisitSSIM,
    "psnr": VideoPSNR,
    "ssim": VideoSSIM,
}
"""What makes each metric that scores single videos, by a name as in conf/metrics."""
