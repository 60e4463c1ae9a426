"""Films by what they are: a hash of their bytes, remembered by path, size and time, so that a start is cheap.

A copy, another path or a `touch` is the same film; a file that was changed is another one.
"""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from datamodules.caching.places import Reader
from datamodules.caching.shards import ShardWriter

log = logging.getLogger("longtake")

LOOKED_AT = 20_000
"""Up to so many films are looked at at every start, whether any was changed; more are known by their names."""
_AT_ONCE = 16


class Stamp(NamedTuple):
    """What tells a changed file without reading it: its size in bytes and its time in ns, or a server's tag."""

    size: int
    changed: int | str


class Known(NamedTuple):
    """What is remembered of a path: when it was read, its stamp then, and the hash of its bytes."""

    when: float
    size: int
    changed: int | str
    key: str

    @property
    def stamp(self) -> Stamp:
        """What the file looked like."""
        return Stamp(self.size, self.changed)


class FilmNames:
    """Keys of films by their paths, remembered in a folder that any number of processes add to."""

    def __init__(self, folder: str | Path) -> None:
        """folder: a path, or a URL, which is only read."""
        self.folder = str(folder)
        self._reader = Reader(self.folder)
        self._known: dict[str, Known] = {}
        self._lines = ShardWriter(Path(self.folder))

    def refresh(self) -> None:
        """Reads what others have added."""
        for _, lines, _ in self._reader.added():
            for line in lines:
                try:
                    told = json.loads(line)
                    bytes.fromhex(told["key"])
                    known = Known(float(told["when"]), told["size"], told["changed"], told["key"])
                    self._learn(told["path"], known)
                except (ValueError, TypeError, KeyError):
                    continue

    def forget(self) -> None:
        """Lets go of what was read, some 400 bytes a film; `refresh` reads it again."""
        self._known, self._reader = {}, Reader(self.folder)

    def _learn(self, path: str, known: Known) -> None:
        before = self._known.get(path)
        if before is None or before.when <= known.when:
            self._known[path] = known

    def known(self, paths: Sequence[Path]) -> list[str | None]:
        """The key of each film that was seen before, without looking at any."""
        found = (self._known.get(name_of(path)) for path in paths)
        return [None if known is None else known.key for known in found]

    def keys(
        self, paths: Sequence[Path], *, look: bool, on_film: Callable[[], None] = lambda: None
    ) -> list[str | None]:
        """The key of each film; None where the file is not there or cannot be read.

        look: whether films that are known are looked at too, as they may have been changed; a call each.
        """
        absolute = [name_of(path) for path in paths]
        keys = [None if known is None else known.key for known in map(self._known.get, absolute)]
        asked = [place for place, key in enumerate(keys) if look or key is None]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            names = [absolute[place] for place in asked]
            for place, name, known in zip(asked, names, threads.map(self._look, names), strict=True):
                keys[place] = None if known is None else known.key
                if known is not None and known is not self._known.get(name):
                    self._learn(name, known)
                    self._remember(name, known)
                on_film()
        return keys

    def _look(self, name: str) -> Known | None:
        try:
            stamp, known = _stamp(name), self._known.get(name)
            return known if known is not None and known.stamp == stamp else Known(time.time(), *stamp, _hash(name))
        except (OSError, ValueError):
            return None

    def _remember(self, name: str, known: Known) -> None:
        """Adds a line to a file of this process; where that is not allowed the film is read again the next time."""
        if not self._reader.is_local:
            return
        line = {"path": name, "when": known.when, "size": known.size, "changed": known.changed}
        try:
            self._lines.note({**line, "key": known.key})
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise


def name_of(path: object) -> str:
    """A film's path as it is remembered: absolute, or a URL as it is."""
    name = str(path)
    is_plain = name.startswith("/") and ".." not in name  # of a Path that is so, nothing else is left to be done
    return name if is_plain or "://" in name else os.path.abspath(name)


def _stamp(name: str) -> Stamp:
    if "://" not in name:
        status = os.stat(name)
        return Stamp(status.st_size, status.st_mtime_ns)
    import fsspec

    files, path = fsspec.core.url_to_fs(name)
    told = files.info(path)
    tag = next((told[key] for key in ("ETag", "etag", "mtime", "LastModified", "last_modified") if told.get(key)), "")
    return Stamp(int(told.get("size") or 0), str(tag))


def _hash(name: str) -> str:
    """32 hexadecimal digits of a file's bytes."""
    if "://" not in name:
        if not os.path.isfile(name):  # a pipe would be waited for, a device read for ever
            raise ValueError(f"{name} is no file")
        with open(name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    import fsspec

    digest = hashlib.sha256()
    with fsspec.open(name, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()[:32]
