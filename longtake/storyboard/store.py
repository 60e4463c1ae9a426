"""Finished segments on disk, by the hash of everything that determines them, so that a killed run continues."""

import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtake.storyboard.schema import PlanStep
from networks.files import remove_unfinished, whole

log = logging.getLogger("longtake")


class SegmentStore:
    """One safetensors file a segment, written and then renamed; a broken one counts as not there."""

    def __init__(self, folder: str | Path) -> None:
        """folder: is made when the first segment is stored."""
        self.folder = Path(folder)
        remove_unfinished(self.folder)

    def path_of(self, step: PlanStep) -> Path:
        """Where a step's latents lie; two names with one key are one segment."""
        return self.folder / f"{step.key}.safetensors"

    def has(self, step: PlanStep) -> bool:
        """Whether a step's latents are there and whole, judged without reading them."""
        return self._read(step, header_only=True) is not None

    def load(self, step: PlanStep) -> Tensor | None:
        """Latents 1 c f h w on the CPU, or None where there are none that can be read."""
        return self._read(step, header_only=False)

    def save(self, step: PlanStep, latents: Tensor) -> None:
        """latents: 1 c step.latents h w; the file bears the segment's name as metadata."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.path_of(step)) as part:
            save_file({"latents": latents.contiguous()}, part, metadata={"name": step.name, "task": step.task})

    def _read(self, step: PlanStep, *, header_only: bool) -> Tensor | None:
        path = self.path_of(step)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                shape = file.get_slice("latents").get_shape()
                if len(shape) == 5 and shape[2] == step.latents:
                    tensor: Tensor = file.get_slice("latents")[:, :, :1] if header_only else file.get_tensor("latents")
                    return tensor
        except (SafetensorError, OSError) as error:
            log.warning(f"{path} is broken ({type(error).__name__}): segment {step.name} is made again")
            return None
        log.warning(f"{path} does not hold {step.latents} latents: segment {step.name} is made again")
        return None
