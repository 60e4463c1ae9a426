"""How a run writes a checkpoint. Whoever only reads one needs no Lightning, whose import takes seconds."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from longtake.failures import no_room
from longtake.releases.checkpoints import size_of
from networks.files import discard, is_full_disk, whole


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's files, written beside their target: Lightning itself goes through the folder of temporary files, and
    copies from there where that is another disk, so that a full one or a kill would leave half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Lightning's hook, called by the process that writes.

        Args:
            checkpoint: all that is saved.
            path: path of the file, which is replaced as a whole.
            storage_options: options of other kinds of storage, which are not used here.

        Raises:
            ValueError: if the disk is full; the checkpoint that was there stays.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Through Python's own file: its error says what was wrong, that of PyTorch's file does not.
            with whole(path) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            if not is_full_disk(error):
                raise
            raise ValueError(no_room(path.parent, size_of(checkpoint), "a checkpoint")) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Lightning's hook."""
        if Path(path).is_dir():  # in pieces
            discard(Path(path))
        else:
            Path(path).unlink(missing_ok=True)
