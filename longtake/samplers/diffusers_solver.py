"""The flow-matching schedulers of diffusers, behind the sampler's contract."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.objectives.paths import LinearPath, Path
from longtake.samplers.interfaces import Denoise, OnStep
from longtake.samplers.solvers import ContextFrames, time_levels
from networks.ranges import Positive, Size, Text

# How each class spells the shift, and what makes it a solver of flows.
FLOW_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "FlowMatchEulerDiscreteScheduler": ("shift", {}),
    "UniPCMultistepScheduler": ("flow_shift", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
    "DPMSolverMultistepScheduler": ("flow_shift", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
}

Setting = bool | int | float | str | None
"""An argument of a scheduler of diffusers."""


def looks_further(settings: Mapping[str, Any]) -> bool:
    """Whether a scheduler's settings have it look at more than one frame at a time, or draw noise."""
    names = ("thresholding", "stochastic_sampling", "use_dynamic_shifting")
    return any(settings.get(name) for name in names) or "sde" in str(settings.get("algorithm_type"))


class DiffusersSolver:
    """A scheduler of diffusers as a sampler; linear path only, where its sigma is our time.

    The levels are the scheduler's own: ours for Euler, ours from 1 - 1e-6 for UniPC, which takes the logarithm of
    1 - sigma, and from 0.999 before the shift for DPM-Solver, which takes no levels from outside. All end at 0.
    Multistep schedulers take context frames too: they work element by element, and given frames are put back.
    """

    def __init__(
        self,
        *,
        scheduler: Text,
        num_inference_steps: Size,
        shift: Positive = 1.0,
        settings: Mapping[str, Setting],
    ) -> None:
        """All is checked here: a first video may be hours away.

        Args:
            scheduler: name of a class of diffusers.
            num_inference_steps: denoising steps.
            shift: shift of the levels towards noise, above 0, as in training.
            settings: further arguments of the scheduler.

        Raises:
            ValueError: if the scheduler is not one of the three that this adapter knows, a number is out of range, or
                the class does not take a setting.
        """
        if scheduler not in FLOW_SETTINGS:
            raise ValueError(f"sampler.scheduler={scheduler} must be one of {', '.join(FLOW_SETTINGS)}")
        if num_inference_steps < 1:
            raise ValueError(f"sampler.num_inference_steps={num_inference_steps} must be at least 1, e.g. 20")
        if shift <= 0:
            raise ValueError(f"sampler.shift={shift} must be positive; 1 spaces the steps evenly")
        self.scheduler, self.num_inference_steps, self.shift = scheduler, num_inference_steps, shift
        self.settings = dict(settings)
        if settings:
            self._check_settings()

    @property
    def frame_by_frame(self) -> bool:
        """Not where a setting has the whole canvas looked at, or noise drawn for it."""
        return not looks_further(self.settings)

    @torch.no_grad()
    def __call__(
        self,
        denoise: Denoise,
        noise: Tensor,
        *,
        path: Path,
        context_mask: Tensor | None = None,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Samples a video; see Sampler.

        Args:
            denoise: the estimate of a noisy video at a time.
            noise: the canvas b c f h w.
            path: path from clean to noise.
            context_mask: b f, which frames are given; None: none are.
            context: b c f h w, their values.
            generator: generator of fresh noise.
            on_step: called after every step.

        Returns:
            The video b c f h w.

        Raises:
            ValueError: if the path is not the linear one.
        """
        if not isinstance(path, LinearPath):
            raise ValueError(
                f"{self.scheduler} is used for flows on the linear path, not {type(path).__name__}; "
                "use objective=rectified_flow, or sampler=ddim, euler or heun"
            )
        scheduler = self._new_scheduler(noise)
        levels = [float(sigma) for sigma in scheduler.sigmas]
        frames = ContextFrames(context_mask, context, noise)
        times = frames.times(self._times(scheduler))
        draws = {"generator": generator} if "generator" in signature(scheduler.step).parameters else {}
        video = frames.put_into(noise)
        for step, level in enumerate(levels[:-1]):
            estimate = denoise(video, times[step], level)
            flow = estimate.noise - estimate.clean
            video = scheduler.step(flow, scheduler.timesteps[step], video, return_dict=False, **draws)[0]
            video = frames.put_into(video)
            if on_step is not None:
                on_step(step + 1, level, estimate)
        return video

    def _times(self, scheduler: Any) -> list[float]:
        """What the network is told of each level."""
        return [float(sigma) for sigma in scheduler.sigmas]

    def _check_settings(self) -> None:
        """Refuses arguments that the class does not have, of another type than its defaults, or that it refuses."""
        import diffusers

        kind = getattr(diffusers, self.scheduler)
        known = {name: each.default for name, each in signature(kind.__init__).parameters.items() if name != "self"}
        for name, value in self.settings.items():
            if name not in known:
                raise ValueError(f"sampler.settings.{name} is not a setting: {self.scheduler} has {', '.join(known)}")
            kinds: Any = {bool: bool, int: int, float: (int, float), str: str}.get(type(known[name]))
            if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
                raise ValueError(f"sampler.settings.{name}={value} must be of the type of {known[name]}, its default")
        try:
            kind(**self.settings)
        except (NotImplementedError, ValueError, TypeError) as error:
            raise ValueError(f"sampler.settings: {self.scheduler} refuses them ({error})") from error

    def _new_scheduler(self, noise: Tensor) -> Any:
        """A fresh scheduler for each video: schedulers keep the history of one. noise: the canvas, for its size."""
        import diffusers

        shift_name, flow_settings = FLOW_SETTINGS[self.scheduler]
        scheduler = getattr(diffusers, self.scheduler)(**{shift_name: self.shift, **flow_settings, **self.settings})
        if "sigmas" in signature(scheduler.set_timesteps).parameters:
            # Unshifted: set_timesteps shifts them itself and appends the 0.
            levels = time_levels(self.num_inference_steps, shift=1.0, first_time=1.0, last_time=0.0)
            scheduler.set_timesteps(sigmas=np.array(levels[:-1]))
        else:
            scheduler.set_timesteps(self.num_inference_steps)
        # Counts steps from 0 instead of looking timesteps up, which a strong shift makes equal to one another.
        scheduler.set_begin_index(0)
        return scheduler
