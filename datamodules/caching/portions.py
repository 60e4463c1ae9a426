"""Which part of the work is this process's: of torchrun, of a SLURM array, or of `srun`."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Portion(NamedTuple):
    """One of `world` equal parts of a list; all parts together are the list."""

    rank: int = 0
    world: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every world-th item, so that long films that lie side by side go to different processes."""
        return items if self.world == 1 else items[self.rank :: self.world]


def portion_from(environment: Mapping[str, str] = os.environ) -> Portion:
    """The share that a launcher asks for: torchrun's RANK, a SLURM array's task and, within it, `srun`'s process.

    Args:
        environment: environment variables of the process.

    Returns:
        The share.

    Raises:
        ValueError: if the launcher's numbers do not fit together.
    """
    rank, world = 0, 1
    pairs = (
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
        ("RANK", "WORLD_SIZE", None) if "RANK" in environment else ("SLURM_PROCID", "SLURM_NTASKS", None),
    )
    for own, of, first in pairs:
        if own not in environment or of not in environment:
            continue
        try:
            number, count = int(environment[own]) - int(environment.get(first or "", 0)), int(environment[of])
        except ValueError as error:
            raise ValueError(f"{own}={environment[own]} and {of}={environment[of]} must be whole numbers") from error
        if not 0 <= number < count:
            raise ValueError(
                f"{own}={environment[own]} is not one of {of}={count} parts: number an array from 0 on without gaps, "
                "such as --array=0-15"
            )
        rank, world = rank * count + number, world * count
    return Portion(rank, world)
