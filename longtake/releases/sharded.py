"""Checkpoints in pieces, one of each process: a folder that is whole or not there."""

from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy

from longtake.failures import no_room
from networks.files import is_full_disk, replace_folder, unfinished_name


class _WholeFolders:
    """Lightning writes pieces into the very folder, so that a kill would leave a half new one: here beside it first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Lightning's hook, called by every process; the first one renames, when all have written.

        Raises:
            ValueError: if the disk is full; the checkpoint that was there stays.
        """
        strategy: Any = self
        path = Path(strategy.broadcast(filepath))
        part = strategy.broadcast(unfinished_name(path))  # of the first process, which is the one that is asked for
        try:
            super().save_checkpoint(checkpoint, part, storage_options)  # type: ignore[misc]
        except (OSError, RuntimeError) as error:
            if not is_full_disk(error):
                raise
            raise ValueError(no_room(path.parent, 0, "a checkpoint")) from error
        strategy.barrier()
        if strategy.global_rank == 0:
            if part.is_dir():
                replace_folder(part, path)
            else:  # one file, where the strategy is told to gather the pieces
                part.replace(path)
        strategy.barrier()


class WholeFSDP(_WholeFolders, FSDPStrategy):
    """FSDP with `state_dict_type: sharded`: `trainer.strategy._target_=longtake.releases.sharded.WholeFSDP`."""


class WholeModelParallel(_WholeFolders, ModelParallelStrategy):
    """FSDP2 and tensor parallel, whose checkpoints are in pieces by default."""
