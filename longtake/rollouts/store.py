"""Finished latents on disk, so that a killed run loses at most what is in progress: of windows and of segments alike.

Axes: b batch, c channels, f frames, h height, w width.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from networks.files import remove_unfinished, whole

log = logging.getLogger("longtake")


class LatentStore:
    """One safetensors file for each name, written and then renamed; a broken one counts as not there."""

    def __init__(self, folder: str | Path) -> None:
        """folder: is made when the first latents are stored."""
        self.folder = Path(folder)
        remove_unfinished(self.folder)

    def path_of(self, name: str) -> Path:
        """Where latents lie."""
        return self.folder / f"{name}.safetensors"

    def load(self, name: str, *, num_frames: int, what: str) -> Tensor | None:
        """Latents b c f h w on the CPU, or None where there are none of so many frames that can be read.

        what: is made again where a file is broken, for the warning.
        """
        return self._read(name, num_frames, what, header_only=False)

    def has(self, name: str, *, num_frames: int, what: str) -> bool:
        """Whether latents are there and whole, judged without reading them."""
        return self._read(name, num_frames, what, header_only=True) is not None

    def save(self, name: str, latents: Tensor, metadata: Mapping[str, str] | None = None) -> None:
        """Stores latents, b c f h w, under a name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.path_of(name)) as part:
            save_file({"latents": latents.contiguous()}, part, metadata=None if metadata is None else dict(metadata))

    def _read(self, name: str, num_frames: int, what: str, *, header_only: bool) -> Tensor | None:
        path = self.path_of(name)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                shape = file.get_slice("latents").get_shape()
                if len(shape) == 5 and shape[2] == num_frames:
                    tensor: Tensor = file.get_slice("latents")[:, :, :1] if header_only else file.get_tensor("latents")
                    return tensor
        except (SafetensorError, OSError) as error:
            log.warning(f"{path} is broken ({type(error).__name__}): {what} is made again")
            return None
        log.warning(f"{path} does not hold {num_frames} latents: {what} is made again")
        return None
