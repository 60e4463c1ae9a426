"""Reading by ranges of bytes, from this machine's disks or from wherever fsspec reaches."""

import errno
import io
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from longtake.video.places import is_remote, place
from networks.files import is_full_disk

UNKNOWN = 1 << 62
"""Bytes of a file whose server does not say."""
_OPEN = 64
"""Files that are kept open."""


@contextmanager
def answering(place: str, left: Callable[[], str]) -> Iterator[None]:
    """Turns what a disk refuses to a writer of a cache into one sentence.

    Args:
        place: path of the cache.
        left: function that says what is left to be written.

    Raises:
        ValueError: if the disk is full or may not be written to.
    """
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            folder = next(path for path in (Path(place), *Path(place).parents) if path.is_dir())
            raise ValueError(
                f"the disk is full: {place} has room for {shutil.disk_usage(folder).free:,} bytes, and {left()}; what "
                "is cached stays: make room, or give datamodule.cache_dir=… another place, and start again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ValueError(
                f"{place} may only be read, and {left()}: give datamodule.cache_dir=… a folder that may be written to, "
                "or have its owner run `longtake cache`"
            ) from error
        raise


class Reader:
    """Files of one folder; may be used on in processes that were forked."""

    def __init__(self, folder: str) -> None:
        """Reads nothing yet.

        Args:
            folder: a path, or a URL such as s3://bucket/cache.

        Raises:
            ValueError: if nothing here reads such a URL.
        """
        self._open: OrderedDict[str, int] = OrderedDict()
        if is_remote(folder):
            place(folder)  # says what is not installed
        self.folder = folder.rstrip("/")
        self.is_local = "://" not in folder
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
        files_there = (each for each in found if each["type"] == "file")
        return {each["name"].rpartition("/")[2]: _size(each["size"]) for each in files_there}

    def added(self) -> Iterator[tuple[str, Iterator[bytes], dict[str, int]]]:
        """Indices, NAME.jsonl, that have grown since the last call: name, new lines, and the sizes of all files.

        A line that is being written is given the next time. Remote files are fetched side by side.
        """
        sizes = self.sizes()
        names = [name for name in sorted(sizes) if name.endswith(".jsonl") and self._has_grown(name, sizes[name])]
        if self.is_local:
            for name in names:
                with open(f"{self.folder}/{name}", "rb") as file:
                    file.seek(self._read.get(name, 0))
                    yield name, self._whole_lines(name, file), sizes
        elif names:
            files, path = self._remote
            starts = [self._read.get(name, 0) for name in names]
            contents = files.cat_ranges([f"{path}/{name}" for name in names], starts, [None] * len(names))
            for name, content in zip(names, contents, strict=True):
                yield name, self._whole_lines(name, io.BytesIO(content)), sizes

    def _has_grown(self, name: str, size: int) -> bool:
        """Whether there is more than was read; a file that nobody knows the size of is read once."""
        return name not in self._read if size == UNKNOWN else size > self._read.get(name, 0)

    def _whole_lines(self, name: str, file: IO[bytes]) -> Iterator[bytes]:
        """Line by line: an index of a million films is never held as text."""
        read = self._read.setdefault(name, 0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            read += len(line)
            yield line
        self._read[name] = read

    def range(self, name: str, begin: int, size: int) -> bytes:
        """Bytes of a file; fewer where it ends before.

        Args:
            name: name of the file in the folder.
            begin: first byte.
            size: number of bytes.

        Returns:
            The bytes.

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


def _size(told: int | None) -> int:
    return UNKNOWN if told is None else told
