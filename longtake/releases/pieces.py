"""Weights out of a checkpoint in pieces, which is a folder that several processes wrote (PyTorch's DCP)."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

AVERAGE = "state_dict"
"""Where the weights lie that a run is used by: the average, where one is kept."""
TRAINED = "current_model_state"
"""Where those lie that training goes on with, if these are others."""
_WHOLE = "model"
"""Where Lightning's own FSDP puts the weights."""


def join_pieces(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint that a run is used by, whole, by name.

    Args:
        path: its folder.

    Returns:
        As a checkpoint of one process holds them.

    Raises:
        ValueError: if it holds none.
    """
    key = next((key for key in (AVERAGE, _WHOLE) if holds(path, key)), None)
    if key is None:
        raise ValueError(f"{path} is a checkpoint in pieces without weights: give one as train.py wrote it")
    found = {
        name.removeprefix(f"{key}."): torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in _contents(path).items()
        if name.startswith(f"{key}.") and isinstance(about, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is one process
        read_pieces({key: found}, path, no_dist=True)
    return found


def read_pieces(state: dict[str, Any], path: Path, *, no_dist: bool = False) -> None:
    """Reads what a checkpoint in pieces holds under the keys of `state`, in place; no code of it runs.

    Args:
        state: tensors to be filled, and values to be replaced.
        path: the checkpoint's folder.
        no_dist: whether this process reads it alone.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        load(state, checkpoint_id=path, planner=PlainPieces(), no_dist=no_dist)
    except CheckpointException as error:  # which is no Exception
        found = next(iter(error.failures.values()), None)
        reason = "" if found is None else " ".join(str(found[0]).split())[:200]
        raise ValueError(
            f"{path}, a checkpoint in pieces, cannot be read ({reason}): take another, such as an earlier step_*.ckpt"
        ) from error


def holds(path: Path, key: str) -> bool:
    """Whether a checkpoint in pieces has something under a key."""
    return any(name.startswith(f"{key}.") for name in _contents(path))


class PlainPieces(DefaultLoadPlanner):
    """What is no tensor, such as a learning rate, is read without running code from it."""

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        """PyTorch's hook, which itself reads whatever a file says."""
        torch.load(value, weights_only=True)  # raises for anything else
        value.seek(0)
        super().load_bytes(read_item, value)


class _Plain(pickle.Unpickler):
    """Reads what lies in which file, as DCP writes it, and nothing else: a pickle from outside could run any code."""

    _KINDS = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
    _ALSO = frozenset((("pathlib", "PosixPath"), ("pathlib", "WindowsPath"), ("pathlib", "PurePosixPath")))
    _OWN = frozenset((("torch", "Size"), ("torch.serialization", "_get_layout"), ("collections", "OrderedDict")))

    def find_class(self, module: str, name: str) -> Any:
        """Python's hook."""
        found = None
        if module in self._KINDS or (module, name) in self._ALSO | self._OWN or module == "torch":
            found = super().find_class(module, name)
        plain = isinstance(found, torch.dtype | torch.memory_format) or (module, name) in self._ALSO | self._OWN
        if plain or (module in self._KINDS and isinstance(found, type) and found.__module__ == module):
            return found
        raise ValueError(
            f"a checkpoint in pieces names {module}.{name}, which is none of its parts: it is not read; take one that "
            "train.py wrote"
        )


def _contents(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, by name.

    Args:
        path: its folder.

    Returns:
        DCP's word on each.

    Raises:
        ValueError: if that cannot be read, or names what would run code.
    """
    try:
        with (path / ".metadata").open("rb") as file:
            return dict(_Plain(file).load().state_dict_metadata)
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise ValueError(
            f"{path} is a checkpoint in pieces whose list of them cannot be read ({error}): take another, such as an "
            "earlier step_*.ckpt"
        ) from error
