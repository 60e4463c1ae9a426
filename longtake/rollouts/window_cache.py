"""Finished windows of a video on disk, so that a killed generation loses at most the one in progress."""

import shutil
from itertools import count
from pathlib import Path

from torch import Tensor

from longtake.rollouts.interfaces import Generate, Given, Wrap, unwrapped
from longtake.rollouts.store import LatentStore
from networks.interfaces import Condition


class WindowCache:
    """Windows in the order in which a rollout asks for them.

    The folder's name must say all that determines the video: a window is known by its number alone. What comes after
    is made as it would have been, but by samplers that draw fresh noise, which draw it anew.
    """

    def __init__(self, folder: str | Path) -> None:
        """folder: is made when the first window is kept."""
        self.folder = Path(folder)

    def __call__(self, generate: Generate) -> Generate:
        """The same, of which calls that were finished before are read."""
        numbers, store = count(), LatentStore(self.folder)

        def kept(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
            name = f"{next(numbers):05d}"
            before = store.load(name, num_frames=noise.shape[2], what="the window")
            if before is not None and before.shape == noise.shape:
                return before.to(noise)
            made = generate(noise, condition, given, wrap)
            store.save(name, made)
            return made

        return kept

    def forget(self) -> None:
        """Removes the windows, and the folder around theirs where it is empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
