"""Files that are whole or not there: written beside their target, then renamed."""

import errno
import os
import platform
import re
import shutil
import stat
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CLAIM = ".in_use"
PART = ".part"
"""How the names of unfinished files end."""

_NAMED = re.compile(r"\.(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{6}\.part$")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = re.compile(r"\(os error (28|27|122)\)|No space left on device|File too large|Disk quota exceeded")
_SECONDS_KEPT = 24 * 3600
"""Unfinished files of other machines are left alone for so long, as their writer may be alive."""


@contextmanager
def whole(path: str | Path, *, within: Path | None = None) -> Iterator[Path]:
    """A name beside a file to write to, which takes the file's name when the block ends, and is removed if it fails.

    Args:
        path: path of the file, in a folder that is there. What stood there before stays until the new file is on the
            disk.
        within: another folder of the same disk for the temporary file, where the file's own must hold nothing else.

    Yields:
        The temporary path, which no other writer has. It says which process writes it, so that `remove_unfinished`
        knows what a killed process left.

    Raises:
        OSError: if the disk is full, with the file's name, whatever the writer raised; the old file is as it was.
    """
    path = Path(path)
    part = unfinished_name(path if within is None else within / path.name)
    try:
        part.touch()
        rights = stat.S_IMODE(part.stat().st_mode)  # those that the umask leaves: safetensors gives its owner alone any
        part.unlink()
        yield part
        part.chmod(rights)
        with part.open("rb+") as file:  # a disk, a quota or a server may refuse what it took before
            os.fsync(file.fileno())
        os.replace(part, path)
    except Exception as error:
        if is_full_disk(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def unfinished_name(path: Path) -> Path:
    """A name beside a file or folder that no other writer has, and that says which process writes it."""
    return path.with_name(f"{path.name}.{_place()}-{os.getpid()}-{uuid.uuid4().hex[:6]}{PART}")


@contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """A folder of this process within another, for what is only needed while it lasts.

    A kill leaves it there, by a name that `remove_unfinished` knows. Where the disk is full, whatever its writer raised
    becomes an OSError with this folder's name.
    """
    made = unfinished_name(Path(folder).resolve() / "scratch")
    made.mkdir(parents=True)
    try:
        yield made
    except Exception as error:
        if is_full_disk(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(made)) from error
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def replace_folder(new: Path, old: Path) -> None:
    """Replaces one folder by another in two renames.

    A process that is killed between them leaves at least one of the two folders, and no folder is ever half written or
    half removed.

    Args:
        new: the folder that takes the place.
        old: the place, with a suffix, such as last.ckpt. While it is replaced, the old folder is called last.old.ckpt.
    """
    aside = old.with_name(f"{old.stem}.old{old.suffix}")
    if old.is_dir():
        discard(aside)
        old.rename(aside)
    elif old.exists():
        old.unlink()
    new.rename(old)
    discard(aside)


def discard(folder: Path) -> None:
    """Removes a folder, if there is one, under a name by which nobody takes what a kill leaves of it for a whole one.

    Args:
        folder: the folder.
    """
    if folder.is_dir():
        left = folder.rename(unfinished_name(folder))
        shutil.rmtree(left, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a small text file in UTF-8, whole or not at all; what killed processes left beside it is removed."""
    remove_unfinished(Path(path).parent)
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def is_full_disk(error: BaseException | None) -> bool:
    """Whether a write was refused for want of room: a full disk, a quota, a limit on a file's size."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if type(error).__name__ == "SafetensorError" and _FULL_WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def claimed(
    folder: Path,
    *,
    advice: str = "wait for it, or give paths.run_dir=… another folder (RUN_DIR in the environment says where all "
    "runs go)",
    leaves_no_file: bool = False,
) -> Iterator[None]:
    """While it lasts, the folder is this process's alone; it is made where it is not there.

    Args:
        folder: folder that is claimed.
        advice: what a second process's user can do, which ends the error's sentence.
        leaves_no_file: whether the file that marks the claim is removed in the end. A process that opens that file at
            this moment may then share the folder with a third one.

    Raises:
        ValueError: if another process has claimed it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    with (folder / CLAIM).open("a") as file:
        try:
            # The process's own, not its children's, which may live a little longer; its end releases it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(f"{folder} is in use by another run that is still going: {advice}") from error
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            if leaves_no_file:
                (folder / CLAIM).unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> int:
    """Removes what killed processes left in a folder, files and scratch folders, not below it; returns how many.

    Files of a live process stay, and those of another machine until they are a day old.
    """
    folder, removed = Path(folder), 0
    for part in folder.glob(f"*{PART}") if folder.is_dir() else ():
        if (named := _NAMED.search(part.name)) and _is_left(part, named["place"], int(named["pid"])):
            with suppress(OSError):  # another process may tidy up as well, or own the file
                shutil.rmtree(part) if part.is_dir() else part.unlink()
                removed += 1
    return removed


def _is_left(part: Path, place: str, pid: int) -> bool:
    """Whether nobody writes a file any more."""
    if place == _place():
        return not _is_alive(pid)
    with suppress(OSError):
        return time.time() - part.stat().st_mtime > _SECONDS_KEPT
    return False


def _place() -> str:
    """Where the numbers of processes mean what they mean here: the machine, and the container on it."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
