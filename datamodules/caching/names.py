"""Films by what they are: a hash of their bytes, remembered by path, size and time, so that a start is cheap.

A copy, another path or a `touch` is the same film; a file that was changed is another one.
"""

import errno
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from datamodules.caching.places import Reader
from datamodules.caching.shards import ShardWriter

log = logging.getLogger("longtake")

LOOKED_AT = 20_000
"""Up to so many films are looked at at every start, whether any was changed; more are known by their names."""
_AT_ONCE = 16
_PACKED = struct.Struct("<dqq16s")


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

    def packed(self) -> bytes:
        """The same in 40 bytes: a million films are to fit into memory."""
        return _PACKED.pack(self.when, self.size, _number(self.changed), bytes.fromhex(self.key))

    @classmethod
    def unpacked(cls, data: bytes) -> "Known":
        """What `packed` made; a server's tag is a number now."""
        when, size, changed, key = _PACKED.unpack(data)
        return cls(when, size, changed, key.hex())

    def looks_like(self, stamp: Stamp) -> bool:
        """Whether the file has not been changed since."""
        return self.size == stamp.size and _number(self.changed) == _number(stamp.changed)


class FilmNames:
    """Keys of films by their paths, remembered in a folder that any number of processes add to."""

    def __init__(self, folder: str | Path) -> None:
        """folder: a path, or a URL, which is only read."""
        self.folder = str(folder)
        self._reader = Reader(self.folder)
        self._known: dict[str, bytes] = {}
        self._lines = ShardWriter(Path(self.folder))

    def refresh(self) -> None:
        """Reads what others have added."""
        for _, lines, _ in self._reader.added():
            for line in lines:
                try:
                    told = json.loads(line)
                    known = Known(float(told["when"]), told["size"], told["changed"], told["key"])
                    self._learn(told["path"], known.packed())
                except (ValueError, TypeError, KeyError, AttributeError, struct.error):
                    continue

    def forget(self) -> None:
        """Lets go of what was read, some 300 bytes a film; `refresh` reads it again."""
        self._known, self._reader = {}, Reader(self.folder)

    def _learn(self, path: str, known: bytes) -> None:
        before = self._known.get(path)
        if before is None or _PACKED.unpack(before)[0] <= _PACKED.unpack(known)[0]:
            self._known[path] = known

    def _key(self, path: str) -> str | None:
        known = self._known.get(path)
        return None if known is None else known[-16:].hex()

    def known(self, paths: Sequence[str | Path]) -> list[str | None]:
        """The key of each film that was seen before, without looking at any."""
        return [self._key(name_of(path)) for path in paths]

    def keys(self, paths: Sequence[str | Path], *, look: bool) -> list[str | None]:
        """The key of each film; None where the file is not there or cannot be read.

        look: whether films that are known are looked at too, as they may have been changed; a call each.
        """
        keys = self.known(paths)
        asked = [place for place, key in enumerate(keys) if look or key is None]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            names = [name_of(paths[place]) for place in asked]
            for place, name, (key, fresh) in zip(asked, names, threads.map(self._look, names), strict=True):
                keys[place] = key
                if fresh is not None:
                    self._learn(name, fresh.packed())
                    self._remember(name, fresh)
        return keys

    def _look(self, name: str) -> tuple[str | None, Known | None]:
        """A film's key, and what is to be remembered of it where it was read."""
        try:
            stamp, data = _stamp(name), self._known.get(name)
            if data is not None and (known := Known.unpacked(data)).looks_like(stamp):
                return known.key, None
            fresh = Known(time.time(), *stamp, _hash(name))
        except (OSError, ValueError):
            return None, None
        return fresh.key, fresh

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


def _number(changed: int | str) -> int:
    """A time as it is; of a server's tag 63 bits that differ where it does."""
    if isinstance(changed, int):
        return changed
    return int.from_bytes(hashlib.sha256(changed.encode()).digest()[:8]) >> 1


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
