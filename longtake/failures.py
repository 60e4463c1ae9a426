"""What a machine refuses, in one sentence that says what to change: memory, disk, a process that was killed."""

import errno
import re
import shutil
from pathlib import Path

from networks.files import is_full_disk

_MEMORY_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|Cannot allocate memory|std::bad_alloc", re.IGNORECASE
)
_ASKED = re.compile(r"(?:allocate|you tried to allocate) ([\d.]+ ?(?:[KMGT]i?B|bytes))", re.IGNORECASE)
_LOST_WORDS = re.compile(r"gloo.*(?:Connection|Read error|Write error|Broken pipe)|Connection (?:closed|reset) by peer")
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\)")
_IN_WORKER = re.compile(r"^Caught (\w+) in DataLoader worker process")


def explain_failure(error: BaseException) -> str | None:
    """The sentence for a failure of the machine and not of a program; None for any other error."""
    text = str(error)
    if _IN_WORKER.match(text) and (inner := _inner(text)) is not None:
        return inner
    if isinstance(error, ValueError):  # has its sentence already
        return None
    if is_out_of_memory(error):
        return (
            f"out of memory{_asked(text)}: train with half of clips_per_device, which halves the activations, or with "
            "backbone.checkpoint_activations=true; generate with network.windows_per_call=1, or fewer num_frames; "
            "evaluate with a smaller short_side"
        )
    if is_full_disk(error):
        return f"{_where(error)}: make room, or remove the limit on file sizes, and start again; {_KEPT}"
    if killed := _WORKER.search(text):
        return (
            f"a process that reads clips (pid {killed[1].strip()}) was ended from outside, most often by the system "
            f"for want of memory: set datamodule.num_workers=0, or a lower number, and go on with resume=last; {_KEPT}"
        )
    if type(error).__name__ == "BrokenProcessPool":
        return (
            "a process that works beside this one was ended from outside, most often by the system for want of memory: "
            f"start again with fewer of them (num_workers); {_KEPT}"
        )
    return None


_KEPT = "what was finished is kept"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the host or of a device was refused."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return refused or (isinstance(error, RuntimeError) and _MEMORY_WORDS.search(str(error)) is not None)


def is_lost_process(error: BaseException) -> bool:
    """Whether torch.distributed says that another process is gone, in the words of one of its backends."""
    if type(error).__name__ in ("LostProcess", "DistBackendError", "DistNetworkError"):
        return True
    return isinstance(error, RuntimeError) and _LOST_WORDS.search(str(error)) is not None


def no_room(folder: Path, size: int, what: str) -> str:
    """The sentence for a file that a folder has no room for.

    size: bytes that it needs, beside what is there; what: the file, such as "a checkpoint".
    """
    free = shutil.disk_usage(folder).free
    return (
        f"no room for {what} in {folder}: it needs {size:,} bytes ({size / 2**20:,.0f} MiB), {free:,} are free; what "
        "stood there before is whole: make room, or remove the limit on file sizes, and go on from it"
    )


def _where(error: BaseException) -> str:
    """The file that there was no room for, and the room that there is."""
    named = getattr(error, "filename", None)
    if named is None:
        return "a disk is full"
    folder = Path(named).parent
    free = f" ({shutil.disk_usage(folder).free:,} bytes are free there)" if folder.is_dir() else ""
    return f"no room for {named}{free}"


def _inner(text: str) -> str | None:
    """The sentence of an error that a loader's process sent with its whole trace, if it has one."""
    kind, _, said = text.strip().splitlines()[-1].partition(": ")
    if kind == "ValueError":
        return said
    return explain_failure(RuntimeError(said)) if _MEMORY_WORDS.search(said) else None


def _asked(text: str) -> str:
    """How much was asked for, where PyTorch says so."""
    found = _ASKED.search(text)
    return f" ({found[1]} were asked for)" if found else ""
