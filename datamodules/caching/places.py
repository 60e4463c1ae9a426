"""Reading by ranges of bytes, from this machine's disks or from wherever fsspec reaches."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

_OPEN = 64
"""Files that are kept open."""


class Reader:
    """Files of one folder; may be used on in processes that were forked."""

    def __init__(self, folder: str) -> None:
        """folder: a path, or a URL such as s3://bucket/cache."""
        self.folder = folder.rstrip("/")
        self.is_local = "://" not in folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._read: dict[str, int] = {}

    def __del__(self) -> None:
        """Closes what is open."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, which are a process's own."""
        return {**self.__dict__, "_open": OrderedDict()}

    @property
    def _remote(self) -> tuple[Any, str]:
        """fsspec's file system, which it keeps one of for each process, and the folder's name there."""
        import fsspec

        return fsspec.core.url_to_fs(self.folder)

    def sizes(self) -> dict[str, int]:
        """Bytes of every file by name; none where there is no folder."""
        if self.is_local:
            try:
                with os.scandir(self.folder) as found:
                    return {each.name: each.stat().st_size for each in found if each.is_file()}
            except FileNotFoundError:
                return {}
        files, path = self._remote
        try:
            files.invalidate_cache(path)
            found = files.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        return {each["name"].rpartition("/")[2]: each["size"] or 0 for each in found if each["type"] == "file"}

    def added(self) -> Iterator[tuple[str, list[bytes], dict[str, int]]]:
        """Indices, NAME.jsonl, that have grown since the last call: name, new lines, and the sizes of all files.

        A line that is being written is given the next time. Remote files are fetched side by side.
        """
        sizes = self.sizes()
        names = [name for name in sorted(sizes) if name.endswith(".jsonl") and sizes[name] > self._read.get(name, 0)]
        for name, content in zip(names, self._tails(names), strict=True):
            whole = content[: content.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(whole)
            yield name, whole.splitlines(), sizes

    def _tails(self, names: Sequence[str]) -> Iterator[bytes]:
        starts = [self._read.get(name, 0) for name in names]
        if self.is_local:
            for name, start in zip(names, starts, strict=True):
                with open(f"{self.folder}/{name}", "rb") as file:
                    file.seek(start)
                    yield file.read()
        elif names:
            files, path = self._remote
            yield from files.cat_ranges([f"{path}/{name}" for name in names], starts, [None] * len(names))

    def range(self, name: str, begin: int, size: int) -> bytes:
        """Bytes of a file; fewer where it ends before.

        Raises:
            OSError: if it is not there.
        """
        if not self.is_local:
            files, path = self._remote
            return bytes(files.cat_file(f"{path}/{name}", begin, begin + size))
        if name not in self._open:
            self._open[name] = os.open(f"{self.folder}/{name}", os.O_RDONLY)
            if len(self._open) > _OPEN:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(name)
        # Not seek and read: processes that were forked share the place in a file.
        return os.pread(self._open[name], size, begin)
