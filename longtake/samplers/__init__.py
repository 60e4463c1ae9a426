"""Samplers: solvers, the adapter to diffusers' schedulers, and guidance."""

from longtake.samplers.diffusers_solver import DiffusersSolver
from longtake.samplers.guidance import (
    ClassifierFreeGuidance,
    DynamicGuidance,
    Guidance,
    GuidanceByTime,
    NestedGuidance,
)
from longtake.samplers.interfaces import Denoise, OnStep, Sampler
from longtake.samplers.pretrained_scheduler import PretrainedScheduler
from longtake.samplers.solvers import DDIM, Euler, Heun

__all__ = [
    "DDIM",
    "ClassifierFreeGuidance",
    "Denoise",
    "DiffusersSolver",
    "DynamicGuidance",
    "Euler",
    "Guidance",
    "GuidanceByTime",
    "Heun",
    "NestedGuidance",
    "OnStep",
    "PretrainedScheduler",
    "Sampler",
]
