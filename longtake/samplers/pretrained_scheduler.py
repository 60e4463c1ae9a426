"""The scheduler of a pretrained base: the steps that its own pipeline takes."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.samplers.diffusers_solver import FLOW_SETTINGS, DiffusersSolver, Setting
from networks.ranges import Size, Text
from networks.reading import check_pretrained, read_json, refused
from networks.video_network import PATCH


class PretrainedScheduler(DiffusersSolver):
    """A base's scheduler with every setting of its folder, so that a video is that of the base's own pipeline.

    The shift, the last level and the times that the network is told are the scheduler's: UniPC's are whole thousandths,
    cut off, of which a base was always sampled.
    """

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        num_inference_steps: Size,
        settings: Mapping[str, Setting],
        patch: Size = PATCH,
    ) -> None:
        """Reads scheduler_config.json.

        Args:
            pretrained: a folder, or a name on the hub.
            subfolder: where the scheduler lies inside; "" for the top.
            num_inference_steps: of a video.
            settings: in place of the folder's, such as flow_shift.
            patch: side of the backbone's tokens in latents, for a scheduler that shifts its levels by how many tokens a
                canvas has (use_dynamic_shifting).

        Raises:
            ValueError: if there is no scheduler, it is none of flows, or it does not take a setting.
        """
        found = _read(pretrained, subfolder)
        name, place = str(found.get("_class_name")), f"{pretrained}/{subfolder}"
        if name not in FLOW_SETTINGS:
            raise ValueError(f"sampler: '{place}' holds a {name}, but must hold one of {', '.join(FLOW_SETTINGS)}")
        merged = {**found, **settings}
        for key, value in FLOW_SETTINGS[name][1].items():
            if merged.get(key) != value:
                raise ValueError(
                    f"sampler: '{place}' has {key}={merged.get(key)}, but only flows ({value}) are sampled"
                )
        super().__init__(scheduler=name, num_inference_steps=num_inference_steps, settings=settings)
        self._config, self.patch = merged, patch
        with refused(f"sampler: scheduler_config.json in '{place}' cannot be used"):
            self._try_out()

    def _try_out(self) -> None:
        """Takes a step on a small canvas: diffusers looks at many a setting only then."""
        canvas = torch.ones(1, 1, 1, 4 * self.patch, 4 * self.patch)
        scheduler = self._new_scheduler(canvas)
        levels = torch.as_tensor(scheduler.sigmas).tolist()
        if not all(math.isfinite(level) for level in [*levels, *self._times(scheduler)]):
            raise ValueError(f"its levels of noise are no numbers: {levels}")
        if sorted(levels, reverse=True) != levels or levels[0] == levels[-1]:
            raise ValueError(f"its levels of noise do not fall: {levels}")
        scheduler.step(canvas, scheduler.timesteps[0], canvas, return_dict=False)

    def _new_scheduler(self, noise: Tensor) -> Any:
        import diffusers

        scheduler, steps = getattr(diffusers, self.scheduler).from_config(self._config), self.num_inference_steps
        if self._config.get("use_dynamic_shifting"):
            tokens = noise[0, 0].numel() // self.patch**2
            scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=_log_shift(self._config, tokens))
        else:
            scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        return scheduler

    def _times(self, scheduler: Any) -> list[float]:
        """What the network is told of each step, and 0 for the end."""
        steps: Tensor = scheduler.timesteps.to(torch.float64) / scheduler.config.num_train_timesteps
        return [*steps.tolist(), 0.0]


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

    check_pretrained(pretrained, subfolder)
    path = Path(pretrained, subfolder, "scheduler_config.json")
    if path.is_file():
        return read_json(path)
    with refused(f"sampler: no scheduler_config.json in '{path.parent}'"):
        return dict(UniPCMultistepScheduler.load_config(pretrained, subfolder=subfolder))
