"""Where weights lie on this disk, and the codec of a release beside them."""

import os
from pathlib import Path
from typing import Any

from longtake.configs import weights_folder
from longtake.releases.checkpoints import META, last_checkpoint
from longtake.releases.hub import PREFIX, on_disk, repository_of
from networks.saving import WEIGHTS

NETWORK_FOLDER = "network"
"""Of a release: its network, as a diffusers folder."""


def locate(weights: str | Path, key: str) -> Path:
    """A release's folder or a checkpoint's file; a plain name also stands for released weights of that name.

    Args:
        weights: as in `read_run`.
        key: what the setting is called that names them.

    Returns:
        Where they lie on this disk.

    Raises:
        ValueError: if the weights are neither.
    """
    path = on_disk(weights, key)
    named = weights_folder() / str(weights)
    if not path.exists() and path.parent == Path() and named.is_dir():
        path = named
    if (path / NETWORK_FOLDER / WEIGHTS).exists():
        return path
    if path.is_dir() and not (path / META).is_file():
        path = last_checkpoint(path)
    if not path.is_file() and not (path / META).is_file():
        raise ValueError(f"{key}={weights}: no such file or folder; give a .ckpt, a run folder or a release folder")
    return path


def codec_folder(release: Path, folder: Any, weights: str | Path, key: str) -> Path:
    """Where the codec of a release lies: its config names it relative to the release.

    Args:
        release: folder of the release.
        folder: what its config says.
        weights: as in `read_run`.
        key: what the setting is called that names them.

    Returns:
        The folder of the codec.

    Raises:
        ValueError: if the config names no folder, or one outside of the downloaded repository.
    """
    if not isinstance(folder, str):
        raise ValueError(f"{key}={weights}: codec.folder in its config is {folder!r}, no folder; take the weights anew")
    inside = os.path.normpath(release / folder)  # by its words: the hub's cache is full of links
    if str(weights).startswith(PREFIX) and not Path(inside).is_relative_to(repository_of(release, weights)):
        raise ValueError(f"{key}={weights}: codec.folder={folder} in its config leads out of the repository")
    return (release / folder).resolve()
