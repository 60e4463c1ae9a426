"""Diffusion objectives: path, prediction, law of times, weight."""

from longtake.objectives.objective import Objective, SampledTime
from longtake.objectives.paths import Coefficients, CosinePath, LinearPath, Path, ScheduledPath
from longtake.objectives.predictions import (
    CleanPrediction,
    EpsPrediction,
    FlowPrediction,
    Prediction,
    VPrediction,
)
from longtake.objectives.times import LogitNormal, Shifted, TimestepSampler, Uniform, shift_time
from longtake.objectives.weights import MinSNR, NoWeight, Weight

__all__ = [
    "CleanPrediction",
    "Coefficients",
    "CosinePath",
    "EpsPrediction",
    "FlowPrediction",
    "LinearPath",
    "LogitNormal",
    "MinSNR",
    "NoWeight",
    "Objective",
    "Path",
    "Prediction",
    "SampledTime",
    "ScheduledPath",
    "Shifted",
    "TimestepSampler",
    "Uniform",
    "VPrediction",
    "Weight",
    "shift_time",
]
