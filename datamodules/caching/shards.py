"""Shards: tensors by key in tar files, which grow by one writer each and are read anywhere by a range of bytes.

A shard NAME.tar is a WebDataset: each member KEY.safetensors holds one tensor `rows`, whose first axis is contiguous
in the file, so that any stretch of it is one read. NAME.jsonl beside it is its index, a line a member, written when the
member is whole on the disk: whatever a killed writer leaves behind it is never read. Names are unique, so that any
number of writers, on any machines, add to one folder without knowing of each other.
"""

import errno
import json
import os
import tarfile
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from datamodules.caching.places import Reader

TYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "uint8": "U8"}
"""Names of types in PyTorch and in safetensors."""
SHARD_BYTES = 1 << 30
"""A shard that has reached this size is closed. Source: our choice: few files, each still quick to copy."""
_BLOCK = tarfile.BLOCKSIZE
_HEADERS = 2 * _BLOCK
"""Bytes before a member's data: tar's header, and safetensors' padded to the same length."""


class ShardWriter:
    """Adds members to a folder; makes its first shard when there is something to write."""

    def __init__(self, folder: Path) -> None:
        """folder: is made where it is not there."""
        self.folder = folder
        self._stem = folder
        self._tar: BinaryIO | None = None
        self._index: BinaryIO | None = None

    @contextmanager
    def member(self, key: str) -> Iterator[Callable[[Tensor], None]]:
        """Gives a function that adds rows, r …, to one tensor; the member is there once the block has ended.

        Args:
            key: name of the member.

        Yields:
            A function that adds rows, r ….

        Raises:
            OSError: if the disk is full; what was written before is whole.
        """
        tar = self._tar = self._tar or self._begun().with_suffix(".tar").open("xb+")
        begin = tar.seek(0, os.SEEK_END)
        rows, kind = 0, ""
        inner: tuple[int, ...] = ()

        def add(tensor: Tensor) -> None:
            nonlocal rows, kind, inner
            kind, inner = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:])
            rows += len(tensor)
            tar.write(_bytes_of(tensor))

        try:
            # Zeros end an archive: a reader of tars stops here while the member is not whole.
            tar.write(bytes(_HEADERS))
            yield add
            size = tar.tell() - begin - _BLOCK
            tar.write(bytes(-size % _BLOCK))
            tar.seek(begin)
            tar.write(_headers(key, size, kind, (rows, *inner)))
            tar.flush()
            os.fsync(tar.fileno())
            self.note({"key": key, "at": begin + _HEADERS, "rows": rows, "bytes": size - _BLOCK})
        except BaseException:
            self._cut(begin)
            raise
        if begin + size > SHARD_BYTES:
            self.close()

    def note(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the index, of a member or of anything else that is to be remembered."""
        self._begun()
        assert self._index is not None
        self._index.write(json.dumps(dict(line)).encode() + b"\n")
        self._index.flush()

    def close(self) -> None:
        """Ends the shard; the next member begins another."""
        files, self._tar, self._index = (self._tar, self._index), None, None
        for file in files:
            if file is not None:
                file.close()

    def _begun(self) -> Path:
        """A shard's path without its ending; its index is open."""
        if self._index is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stem = self.folder / uuid.uuid4().hex[:16]
            self._index = self._stem.with_suffix(".jsonl").open("xb")
        return self._stem

    def _cut(self, size: int) -> None:
        """Takes back what was written of a member; the next one goes to another shard."""
        tar, index = self._stem.with_suffix(".tar"), self._stem.with_suffix(".jsonl")
        with suppress(OSError):  # what is buffered would be written now, which a full disk refuses again
            self.close()
        os.truncate(tar, size)
        for left in (tar, index):
            if left.stat().st_size == 0:
                left.unlink()


def _bytes_of(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return flat.numpy().data


def _headers(key: str, size: int, kind: str, shape: Sequence[int]) -> bytes:
    """Both headers of a member; size: bytes of the safetensors file."""
    entry = tarfile.TarInfo(f"{key}.safetensors")
    entry.size, entry.mode = size, 0o644
    tensor = {"dtype": TYPES[kind], "shape": [*shape], "data_offsets": [0, size - _BLOCK]}
    described = json.dumps({"rows": tensor}).encode().ljust(_BLOCK - 8)
    assert len(described) == _BLOCK - 8
    return entry.tobuf(tarfile.GNU_FORMAT) + len(described).to_bytes(8, "little") + described


class Shards:
    """All members of a folder, by key; nothing of them is held but where they are: some 100 bytes each.

    Notes, lines of the index that are no members, are kept whole.
    """

    def __init__(self, folder: str | Path, *, kind: str, row: Sequence[int]) -> None:
        """folder: a path, or a URL that fsspec reads; kind, row: type and shape of each row of every tensor."""
        self.folder, self.kind, self.row = str(folder), kind, tuple(row)
        self.dtype: torch.dtype = getattr(torch, kind)
        self.row_bytes = self.dtype.itemsize * torch.Size(self.row).numel()
        self.notes: dict[str, dict[str, Any]] = {}
        self._reader = Reader(self.folder)
        self._names: list[str] = []
        self._rows: dict[bytes, int] = {}
        self._shard, self._at, self._length = array("i"), array("q"), array("q")

    def __len__(self) -> int:
        """How many members are there."""
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        """Whether a member is there."""
        return bytes.fromhex(key) in self._rows

    def refresh(self) -> None:
        """Reads what has been added to the indices since the last time."""
        for name, lines, sizes in self._reader.added():
            tar = f"{name.removesuffix('.jsonl')}.tar"
            self._add(tar, sizes.get(tar, 0), lines)

    def _add(self, tar: str, size: int, lines: Iterable[bytes]) -> None:
        self._names.append(tar)
        number = len(self._names) - 1
        for text in lines:
            try:
                line = json.loads(text)
                key, at, length = bytes.fromhex(line["key"]), line.get("at"), line.get("rows")
                if at is None:
                    self.notes[line["key"]] = line
                    continue
                if not isinstance(at, int) or not isinstance(length, int):
                    continue
                fits = line["bytes"] == length * self.row_bytes and 0 <= at <= size - line["bytes"]
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            # Half a copy of a shard from another machine: what lies beyond its end is made again.
            if fits and key not in self._rows:
                self._rows[key] = len(self._at)
                self._shard.append(number)
                self._at.append(at)
                self._length.append(length)

    def number(self, key: str) -> int | None:
        """The number by which a member is read; None where it is not there."""
        return self._rows.get(bytes.fromhex(key))

    def length(self, number: int) -> int:
        """How many rows a member has."""
        return self._length[number]

    def place(self, number: int) -> str:
        """The shard that holds a member."""
        return f"{self.folder}/{self._names[self._shard[number]]}"

    def read(self, number: int, start: int = 0, count: int | None = None) -> Tensor:
        """Rows of a member from one on: r …; count: None for all that follow.

        Args:
            number: number of the member, see `number`.
            start: first row.
            count: number of rows; None for all that follow.

        Returns:
            Rows r ….

        Raises:
            OSError: if the shard is gone, or was cut since the index was read.
        """
        count = self._length[number] - start if count is None else count
        if not count:
            return torch.empty(0, *self.row, dtype=self.dtype)
        size = count * self.row_bytes
        begin = self._at[number] + start * self.row_bytes
        content = self._reader.range(self._names[self._shard[number]], begin, size)
        if start < 0 or start + count > self._length[number] or len(content) != size:
            raise OSError(errno.EIO, "the shard is shorter than its index says", self.place(number))
        return torch.frombuffer(bytearray(content), dtype=self.dtype).view(count, *self.row)
