"""Finished windows of a video on disk, so that a killed generation loses at most the one in progress."""

import shutil
from functools import partial
from itertools import count
from pathlib import Path

from torch import Tensor

from longtake.rollouts.interfaces import Generate, Given, Wrap, unwrapped
from longtake.rollouts.store import LatentStore
from networks.interfaces import Condition
from networks.processes import ALONE, Processes


class WindowCache:
    """Windows in the order in which a rollout asks for them.

    The folder's name must say all that determines the video: a window is known by its number alone. What comes after
    is made as it would have been, but by samplers that draw fresh noise, which draw it anew.
    """

    def __init__(self, folder: str | Path, processes: Processes = ALONE) -> None:
        """folder: made when the first window is kept.
        processes: those that make the same windows together, of which the first keeps and finds them for all.
        """
        self.folder, self.processes = Path(folder), processes

    def __call__(self, generate: Generate) -> Generate:
        """The same, of which calls that were finished before are read."""
        numbers, store = count(), LatentStore(self.folder)

        def kept(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
            name = f"{next(numbers):05d}"
            load = partial(store.load, name, num_frames=noise.shape[2], what="the window")
            before = self.processes.agree(load)
            if before is not None and before.shape == noise.shape:
                return before.to(noise)
            made = generate(noise, condition, given, wrap)
            if self.processes.rank == 0:
                store.save(name, made)
            return made

        return kept

    def forget(self) -> None:
        """Removes the windows, and the folder around theirs where it is empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
