"""Finished segments on disk, by the hash of everything that determines them, so that a killed run continues."""

from pathlib import Path

from torch import Tensor

from longtake.rollouts.store import LatentStore
from longtake.storyboard.schema import PlanStep
from networks.processes import ALONE, Processes


class SegmentStore:
    """Segments of a take; two names with one key are one segment."""

    def __init__(self, folder: str | Path, processes: Processes = ALONE) -> None:
        """folder: made when the first segment is stored; processes: those that make a take together, of which the first
        reads and stores.
        """
        self._store = LatentStore(folder)
        self._processes = processes

    def path_of(self, step: PlanStep) -> Path:
        """Where a step's latents lie."""
        return self._store.path_of(step.key)

    def has(self, step: PlanStep) -> bool:
        """Whether a step's latents are there and whole, judged without reading them."""
        return self._store.has(step.key, num_frames=step.latents, what=f"segment {step.name}")

    def load(self, step: PlanStep) -> Tensor | None:
        """Latents 1 c f h w on the CPU, or None where there are none that can be read."""
        return self._processes.agree(
            lambda: self._store.load(step.key, num_frames=step.latents, what=f"segment {step.name}")
        )

    def save(self, step: PlanStep, latents: Tensor) -> None:
        """latents: 1 c step.latents h w; the file bears the segment's name as metadata."""
        if self._processes.rank == 0:
            self._store.save(step.key, latents, {"name": step.name, "task": step.task})
