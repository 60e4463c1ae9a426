"""Finished windows of a video on disk, so that a killed generation loses at most the one in progress."""

import logging
import shutil
from itertools import count
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from longtake.rollouts.interfaces import Generate, Given, Wrap, unwrapped
from networks.files import remove_unfinished, whole
from networks.interfaces import Condition

log = logging.getLogger("longtake")


class KeptWindows:
    """Windows in the order in which a rollout asks for them, one safetensors file each, written and then renamed.

    The folder's name must say all that determines the video: a window is known by its number alone. What comes after
    is made as it would have been, but by samplers that draw fresh noise, which draw it anew.
    """

    def __init__(self, folder: str | Path) -> None:
        """folder: is made when the first window is kept."""
        self.folder = Path(folder)

    def __call__(self, generate: Generate) -> Generate:
        """The same, of which calls that were finished before are read."""
        numbers = count()
        remove_unfinished(self.folder)

        def kept(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
            path = self.folder / f"{next(numbers):05d}.safetensors"
            before = _read(path, noise)
            if before is not None:
                return before
            made = generate(noise, condition, given, wrap)
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                save_file({"latents": made.contiguous()}, part)
            return made

        return kept

    def forget(self) -> None:
        """Removes the windows, and the folder around theirs where it is empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def _read(path: Path, noise: Tensor) -> Tensor | None:
    """A window of the noise's shape, on its device, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        latents = load_file(path)["latents"]
    except (SafetensorError, OSError, KeyError) as error:
        log.warning(f"{path} is broken ({type(error).__name__}): the window is made again")
        return None
    return latents.to(noise) if latents.shape == noise.shape else None
