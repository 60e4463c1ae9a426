"""Hashes of large weights, remembered by the files that they were read from: 14 billion weights are hashed once.

A hash stays what it is, of the tensors and not of the files, so that finished videos are found. It is remembered in
the user's cache folder, under what tells a changed file without reading it and the config by which weights are read.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from longtake.releases.locating import locate
from longtake.releases.reading import weights_hash
from networks.files import write_text
from networks.pretrained.learnt import HASH

LARGE = 2**28
"""Bytes of weights from which a hash is remembered: fewer take less than a second."""
SETTLED_SECONDS = 2.0
"""A file that was changed so shortly before may change again within one tick of its clock. Source: as git does it."""
_READ_BY = ("network", "objective", "sampler")
_HASH = re.compile(r"[0-9a-f]{12}")


class WeightFiles:
    """The files of some weights as they were before they were read."""

    def __init__(self, weights: str | Path, key: str = "weights") -> None:
        """Looks at the files.

        Args:
            weights: a .ckpt, a run folder, a release folder, or hub:USER/REPO/FOLDER.
            key: what the setting is called that names them.

        Raises:
            ValueError: if the weights are none of these.
        """
        path = locate(weights, key)
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        stamps = [(str(each.resolve()), each.stat()) for each in files]
        self._seen = [(name, x.st_size, x.st_mtime_ns, x.st_ctime_ns, x.st_ino) for name, x in stamps]
        newest = max(max(x.st_mtime, x.st_ctime) for _, x in stamps)
        self._is_settled = time.time() - newest > SETTLED_SECONDS

    def hash_of(self, module: nn.Module, config: Mapping[str, Any]) -> str:
        """`weights_hash` of the module that was read from these files.

        Args:
            module: module with the weights, in the types that they were loaded in.
            config: config that the module was built by.

        Returns:
            The hash: remembered, where the files, the config and a frozen base are those of an earlier call.
        """
        state = module.state_dict()
        if not self._is_settled or sum(x.numel() * x.element_size() for x in state.values()) < LARGE:
            return weights_hash(module)
        bases = {name: x.tolist() for name, x in state.items() if name.endswith(HASH)}
        told = json.dumps([self._seen, bases, {key: config.get(key) for key in _READ_BY}], sort_keys=True, default=str)
        note = cache_folder() / hashlib.sha256(told.encode()).hexdigest()[:32]
        with suppress(OSError, UnicodeDecodeError):
            known = note.read_text(encoding="utf-8").strip()
            if _HASH.fullmatch(known):
                return known
        found = weights_hash(module)
        with suppress(OSError):  # a cache that cannot be written is none
            note.parent.mkdir(parents=True, exist_ok=True)
            write_text(note, found + "\n")
        return found


def cache_folder() -> Path:
    """Where hashes are remembered, a small file each, which may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtake" / "hashes"
