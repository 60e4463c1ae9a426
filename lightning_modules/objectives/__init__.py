"""Diffusion objectives: path, prediction, law of times, weight."""

from lightning_modules.objectives.objective import Objective, SampledTime
from lightning_modules.objectives.paths import Coefficients, CosinePath, LinearPath, Path
from lightning_modules.objectives.predictions import (
    CleanPrediction,
    EpsPrediction,
    FlowPrediction,
    Prediction,
    VPrediction,
)
from lightning_modules.objectives.times import LogitNormal, Shifted, TimeLaw, Uniform, shift_time
from lightning_modules.objectives.weights import MinSNR, NoWeight, Weight

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
    "Shifted",
    "TimeLaw",
    "Uniform",
    "VPrediction",
    "Weight",
    "shift_time",
]
