"""Samplers: solvers, the adapter to diffusers' schedulers, and guidance."""

from lightning_modules.samplers.diffusers_solver import DiffusersSolver
from lightning_modules.samplers.guidance import ClassifierFreeGuidance, Guidance, NestedGuidance
from lightning_modules.samplers.interfaces import Denoise, OnStep, Sampler
from lightning_modules.samplers.solvers import DDIM, Euler, Heun

__all__ = [
    "DDIM",
    "ClassifierFreeGuidance",
    "Denoise",
    "DiffusersSolver",
    "Euler",
    "Guidance",
    "Heun",
    "NestedGuidance",
    "OnStep",
    "Sampler",
]
