"""The scheduler of a pretrained base: the steps that its own pipeline takes."""

import math
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.objectives.paths import Path as NoisePath
from longtake.objectives.paths import ScheduledPath
from longtake.samplers.diffusers_solver import FLOW_SETTINGS, DiffusersSolver, Setting, looks_further
from longtake.samplers.interfaces import Denoise, OnStep
from longtake.samplers.solvers import ContextFrames
from networks.model_folder import check_pretrained
from networks.ranges import Size, Text
from networks.reading import read_json, refused
from networks.video_network import PATCH

SCHEDULED = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
"""Those that take steps of v on a schedule of a thousand betas."""


class PretrainedScheduler(DiffusersSolver):
    """A base's scheduler with every setting of its folder, so that a video is that of the base's own pipeline.

    The shift, the last level and the times that the network is told are the scheduler's: UniPC's are whole thousandths,
    cut off, of which a base was always sampled. CogVideoX's schedulers go with objective=cogvideox, all others with
    rectified_flow.
    """

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        num_inference_steps: Size,
        settings: Mapping[str, Setting],
        patch: Size = PATCH,
        even_levels: bool = False,
    ) -> None:
        """Reads scheduler_config.json.

        Args:
            pretrained: a folder, or a name on the hub.
            subfolder: folder of the scheduler inside; "" for the top.
            num_inference_steps: denoising steps of a video.
            settings: settings that replace the folder's, such as flow_shift.
            patch: side of the backbone's tokens in latents, for a scheduler that shifts its levels by how many tokens a
                canvas has (use_dynamic_shifting).
            even_levels: gives the scheduler levels, even from 1 to 1 / num_inference_steps before the shift, as
                HunyuanVideo's pipeline does; false leaves them to the scheduler.

        Raises:
            ValueError: if there is no scheduler, it is none that is known, or it does not take a setting.
        """
        found = _read(pretrained, subfolder)
        name, place = str(found.get("_class_name")), f"{pretrained}/{subfolder}"
        known = (*FLOW_SETTINGS, *SCHEDULED)
        if name not in known:
            raise ValueError(
                f"sampler: '{place}' holds a {name}, but must hold one of {', '.join(known)}: give that of the base"
            )
        merged = {**found, **settings}
        expected = {"prediction_type": "v_prediction"} if name in SCHEDULED else FLOW_SETTINGS[name][1]
        for key, value in expected.items():
            if merged.get(key) != value:
                wanted = "v" if name in SCHEDULED else "flows"
                raise ValueError(
                    f"sampler: '{place}' has {key}={merged.get(key)}, but only {wanted} ({value}) are sampled: "
                    "give the scheduler of the base"
                )
        flow = "UniPCMultistepScheduler" if name in SCHEDULED else name
        super().__init__(scheduler=flow, num_inference_steps=num_inference_steps, settings={})
        self.scheduler, self.settings = name, dict(settings)
        if settings:
            self._check_settings()
        self._config, self.patch, self.even_levels = merged, patch, even_levels
        with refused(f"sampler: scheduler_config.json in '{place}' cannot be used"):
            self._try_out()

    @property
    def frame_by_frame(self) -> bool:
        """As DiffusersSolver has it, by the settings of the folder."""
        return self.scheduler not in SCHEDULED and not looks_further(self._config)

    def _try_out(self) -> None:
        """Takes a step on a small canvas: diffusers looks at many a setting only then."""
        canvas = torch.ones(1, 1, 1, 4 * self.patch, 4 * self.patch)
        scheduler = self._new_scheduler(canvas)
        if self.scheduler in SCHEDULED:
            if not bool(torch.isfinite(scheduler.alphas_cumprod).all()):
                raise ValueError("its schedule holds NaN or infinity")
            return
        levels = torch.as_tensor(scheduler.sigmas).tolist()
        if not all(math.isfinite(level) for level in [*levels, *self._times(scheduler)]):
            raise ValueError(f"its levels of noise are no numbers: {levels}")
        if sorted(levels, reverse=True) != levels or levels[0] == levels[-1]:
            raise ValueError(f"its levels of noise do not fall: {levels}")
        scheduler.step(canvas, scheduler.timesteps[0], canvas, return_dict=False)

    @torch.no_grad()
    def __call__(
        self,
        denoise: Denoise,
        noise: Tensor,
        *,
        path: NoisePath,
        context_mask: Tensor | None = None,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """See Sampler; a path that is not the scheduler's is a ValueError."""
        if self.scheduler not in SCHEDULED:
            given = {"context_mask": context_mask, "context": context, "generator": generator, "on_step": on_step}
            return super().__call__(denoise, noise, path=path, **given)  # type: ignore[arg-type]
        scheduler = self._new_scheduler(noise)
        self._check_path(scheduler, path)
        steps: list[int] = scheduler.timesteps.tolist()
        levels = [(step + 1) / ScheduledPath.STEPS for step in steps]
        frames = ContextFrames(context_mask, context, noise)
        times = frames.times(levels)
        video, before = frames.put_into(noise), None
        for place, (step, level) in enumerate(zip(steps, levels, strict=True)):
            estimate = denoise(video, times[place], level)
            kept = scheduler.alphas_cumprod[step]
            v = kept.sqrt() * estimate.noise - (1 - kept).sqrt() * estimate.clean
            previous = (before, step, steps[place - 1] if place else None) if self._multistep else (step,)
            # its noise is drawn frame after frame
            made = scheduler.step(_turned(v), *previous, _turned(video), generator=generator, return_dict=False)
            video, before = frames.put_into(_turned(made[0]).to(noise.dtype)), made[1]
            if on_step is not None:
                on_step(place + 1, level, estimate)
        return video

    @property
    def _multistep(self) -> bool:
        import diffusers

        return "old_pred_original_sample" in signature(getattr(diffusers, self.scheduler).step).parameters

    def _check_path(self, scheduler: Any, path: NoisePath) -> None:
        """The objective's path must be the scheduler's."""
        shift = self._config.get("snr_shift_scale", 3.0)
        what = f"objective=cogvideox objective.path.snr_shift={shift}"
        if not isinstance(path, ScheduledPath):
            raise ValueError(f"{self.scheduler} takes steps of v on its own schedule: use {what}")
        steps = torch.arange(1, ScheduledPath.STEPS + 1, dtype=torch.float64) / ScheduledPath.STEPS
        own, its = path.coefficients(steps).alpha, scheduler.alphas_cumprod.double().sqrt()
        if own.shape != its.shape or not torch.allclose(own, its, atol=1e-5):
            raise ValueError(
                f"{self.scheduler} of this base has another schedule than objective.path (snr_shift={path.snr_shift}): "
                f"use {what}, and of betas those of its scheduler_config.json"
            )

    def _new_scheduler(self, noise: Tensor) -> Any:
        import diffusers

        scheduler, steps = getattr(diffusers, self.scheduler).from_config(self._config), self.num_inference_steps
        even = np.linspace(1.0, 1 / steps, steps)
        if self.scheduler in SCHEDULED:
            scheduler.set_timesteps(steps)
            return scheduler
        if self._config.get("use_dynamic_shifting"):
            tokens = noise[0, 0].numel() // self.patch**2
            scheduler.set_timesteps(sigmas=even, mu=_log_shift(self._config, tokens))
        elif self.even_levels:
            scheduler.set_timesteps(sigmas=even)
        else:
            scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        return scheduler

    def _times(self, scheduler: Any) -> list[float]:
        """What the network is told of each step, and 0 for the end."""
        steps: Tensor = scheduler.timesteps.to(torch.float64) / scheduler.config.num_train_timesteps
        return [*steps.tolist(), 0.0]


def _turned(video: Tensor) -> Tensor:
    """Frames before channels, or back."""
    return video.transpose(1, 2)


def _log_shift(config: Mapping[str, Any], tokens: int) -> float:
    """Logarithm of the shift for so many tokens: a line through those of two sizes.

    Source: calculate_shift of diffusers' pipelines, and its values where a folder is silent.
    """
    fewest, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    lowest, highest = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (highest - lowest) / (most - fewest)
    return float(tokens * slope + (lowest - slope * fewest))


def _read(pretrained: str, subfolder: str) -> dict[str, Any]:
    from diffusers import UniPCMultistepScheduler

    check_pretrained(pretrained, subfolder, "sampler.pretrained")
    path = Path(pretrained, subfolder, "scheduler_config.json")
    if path.is_file():
        return read_json(path)
    with refused(f"sampler: no scheduler_config.json in '{path.parent}'"):
        return dict(UniPCMultistepScheduler.load_config(pretrained, subfolder=subfolder))
