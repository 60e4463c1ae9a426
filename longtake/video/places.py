"""Where films and tables lie: on this machine, or anywhere that fsspec reaches (https, s3, gs, hf, …).

A place on this machine is a `pathlib.Path`; any other is a `UPath`, which has the same methods and is annotated as one.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

Place: TypeAlias = Path

PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "hf", "az", "abfs", "memory")
"""What may be named by a table or setting; fsspec knows more, of which some would run programs or unpack archives."""
_ELSEWHERE = re.compile(rf"({'|'.join(PROTOCOLS)}|file):/+(.*)", re.IGNORECASE | re.DOTALL)
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ANYWHERE = re.compile(r"([^/:]*):+//(.*)", re.DOTALL)


def is_remote(where: object) -> bool:
    """Whether a text or place names something that is not on this machine's disks."""
    return "://" in str(where)


def check_path(path: object) -> None:
    """Refuses what names no file, such as a number, which Python takes for an open one.

    Args:
        path: what a caller gives.

    Raises:
        ValueError: if it is neither a text nor a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{path!r} is no path: give a text or a pathlib.Path")


def place(where: str | Path) -> Place:
    """The place that a text names.

    Args:
        where: a path, or a text such as s3://… or https://….

    Returns:
        A path of this machine, or one that reads from elsewhere.

    Raises:
        ValueError: if its protocol is none of PROTOCOLS, or what reads it is not installed.
    """
    if not isinstance(where, str | Path):
        return where
    # A Path that was made of it has lost a slash: of `s3://a/b` it made `s3:/a/b`.
    named = _ELSEWHERE.match(str(where)) or (is_remote(where) and _ANYWHERE.match(str(where)))
    if not named:
        return Path(where)
    protocol, rest = named[1], named[2]
    if protocol.lower() == "file":
        return Path(f"/{rest}")
    if protocol.lower() not in PROTOCOLS:
        known = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise ValueError(f"{where}: nothing here reads {protocol}://; known are {known}")
    try:
        from upath import UPath

        found = UPath(f"{protocol.lower()}://{rest}")
        _ = found.fs  # says now what is not installed
    except ImportError as error:
        raise ValueError(f'{where}: {error}; pip install "longtake[remote]"') from error
    return cast(Path, found)


def joined(root: Place, name: str) -> Place:
    """A name as a table under `root` gives it: relative to it, absolute, or a place of its own."""
    if is_remote(name):
        return place(name)
    # In a URL what follows a # is no part of the name.
    return root / (name.replace("#", "%23") if str(root).lower().startswith("http") and is_remote(root) else name)


@contextmanager
def local_file(where: str | Path) -> Iterator[Path]:
    """A file of this machine with the same bytes: the file itself, or a copy that lasts as long as the block.

    Args:
        where: as in `place`.

    Raises:
        ValueError: if there is none, or what is there has no end or may not be read.
    """
    path = place(where)
    if isinstance(path, Path):
        yield _regular(path)
        return
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        copy = Path(folder, path.name or "film")
        with told(path), path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        yield copy


@contextmanager
def told(where: object) -> Iterator[None]:
    """Turns what a file system or server refuses into one sentence; a full disk and no memory stay what they are.

    Args:
        where: what the sentence calls the place.

    Raises:
        ValueError: that names the place and the reason.
    """
    try:
        yield
    except FileNotFoundError as error:
        if is_remote(where) and error.__cause__ is not None:  # what a server said, or that there is none
            raise ValueError(f"{shown(where)}: cannot be fetched ({_reason(error.__cause__)})") from error
        raise ValueError(f"{shown(where)}: there is no such file") from error
    except PermissionError as error:
        raise ValueError(f"{shown(where)}: may not be read ({_reason(error)})") from error
    except Exception as error:
        if is_remote(where) and not isinstance(error, MemoryError | ValueError) and not _is_local(error):
            raise ValueError(f"{shown(where)}: cannot be fetched ({_reason(error)})") from error
        raise


def shown(where: object) -> str:
    """A name as one line that any file can hold: bytes that are no UTF-8, and line breaks, are written as escapes."""
    text = str(where).encode("utf-8", "backslashreplace").decode()
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _reason(error: BaseException) -> str:
    said: Any = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return f"{type(error).__name__}: {' '.join(str(said).split())}"[:200]


def _is_local(error: Exception) -> bool:
    """Whether the disk of this machine refused: its errors bear the file's name."""
    return isinstance(error, OSError) and error.filename is not None


def _regular(path: Path) -> Path:
    """The absolute path of a file with an end: a pipe would be waited for, a device read for ever.

    Absolute, since FFmpeg reads `a:b` as a protocol and an address.
    """
    try:
        is_there, is_file = path.exists(), path.is_file()
    except OSError as error:  # a name of 300 letters
        raise ValueError(f"{shown(path)}: there can be no such file ({error.strerror})") from error
    except ValueError as error:  # a name with a NUL in it
        raise ValueError(f"{shown(path)!r}: there can be no such file ({error})") from error
    if not is_there:
        raise ValueError(f"{shown(path)}: there is no such file")
    if not is_file:
        raise ValueError(f"{shown(path)}: no video but a folder, pipe, socket or device")
    return path.absolute()
