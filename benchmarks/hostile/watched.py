"""One program in a process of its own, with everything noted that it does to the world outside of its folder."""

import json
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ROOT

SECRET = "canary-7f3a91c2d5e8"
"""The value of an environment variable named like a token; it must not appear in anything that a program writes."""

_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.fork", "pty.spawn")
_SENDS = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "urllib.Request", "http.client.connect")
_HARMS = ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate")


class Ending(NamedTuple):
    """How a program ended.

    kind: "refused" in one sentence with exit code 2, "passed", "trace", or "hang".
    broken: what it did that no file may make it do; empty where all is well.
    said: the last line that it printed.
    """

    kind: str
    broken: list[str]
    said: str


class Watch:
    """An audit hook that notes processes started, requests sent, code run and files changed outside of a folder."""

    def __init__(self, evil: Path, own: Sequence[Path]) -> None:
        """evil: the folder of the hostile files, from which nothing may be imported; own: where files may change."""
        self.evil = str(evil)
        self.own = tuple(str(path) for path in own)
        self.noted: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python at each event."""
        if event in _STARTS:
            self._note(event, arguments[0])
        elif event in _SENDS:
            self._note(event, arguments[1] if event == "socket.connect" else arguments[0])
        elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(self.evil):
            self._note("code of the stranger ran", arguments[0].co_filename)
        elif event == "open" and self._writes(arguments) and self._outside(arguments[0]):
            self._note("opened for writing", arguments[0])
        elif event in _HARMS and any(self._outside(each) for each in arguments if isinstance(each, str)):
            self._note(event, arguments[0])

    def _note(self, what: str, which: object) -> None:
        self.noted.append(f"{what}: {str(which)[:120]}")

    @staticmethod
    def _writes(arguments: tuple[Any, ...]) -> bool:
        mode, flags = arguments[1], arguments[2] if len(arguments) > 2 else 0
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))

    def _outside(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a file descriptor, which was opened before
        place = os.path.abspath(os.fsdecode(path))
        return not place.startswith(self.own) and not place.startswith(("/dev/null", "/dev/shm", "/proc/self"))


def run(program: str, arguments: Sequence[str], folder: Path, *, timeout: float) -> Ending:
    """Forks, runs `python PROGRAM ARGUMENTS` in the folder's `work`, and waits.

    Args:
        program: of the repository, such as generate.py.
        arguments: as typed.
        folder: with the hostile files; `work`, where the program runs and writes, is made inside.
        timeout: seconds, after which it counts as a hang and is killed.
    """
    work = folder / "work"
    work.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        _in_child(program, arguments, folder, work)
    ended = time.monotonic() + timeout
    while time.monotonic() < ended:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return _ending(folder, work, os.waitstatus_to_exitcode(status))
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Ending("hang", _leaks(work), f"still running after {timeout:g} s")


def _in_child(program: str, arguments: Sequence[str], folder: Path, work: Path) -> None:
    code = 1
    watch = Watch(folder, [work, Path("/tmp/torchinductor")])
    try:
        printed = os.open(work / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.chdir(work)
        os.environ.update(SECRET_TOKEN=SECRET, HF_HUB_OFFLINE="1", TMPDIR=str(work), LONGTAKE_DATA=str(work / "data"))
        sys.argv = [program, *arguments]
        sys.path.insert(0, str(ROOT))
        if (folder / "hub").is_dir():
            import huggingface_hub.constants

            huggingface_hub.constants.HF_HUB_CACHE = str(folder / "hub")
            huggingface_hub.constants.HF_HUB_OFFLINE = True
        sys.addaudithook(watch)
        sys.stdout = os.fdopen(os.dup(1), "w", errors="replace")  # the parent's may write elsewhere
        sys.stderr = os.fdopen(os.dup(2), "w", errors="replace")
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        noted = list(watch.noted)
        (work / "noted.json").write_text(json.dumps(noted))
        os._exit(code if 0 <= code < 256 else 1)


def _ending(folder: Path, work: Path, code: int) -> Ending:
    printed = (work / "printed.txt").read_text(errors="replace") if (work / "printed.txt").is_file() else ""
    noted = json.loads((work / "noted.json").read_text()) if (work / "noted.json").is_file() else [f"died with {code}"]
    broken = [*noted, *_leaks(work)]
    if (folder / "canary").exists():
        broken.append("the canary was written")
    lines = [line for line in printed.splitlines() if line.strip()]
    said = lines[-1] if lines else ""
    if "Traceback (most recent call last)" in printed:
        return Ending("trace", broken, said)
    if code == 2 and sum(line.startswith("error: ") for line in lines) == 1:
        return Ending("refused", broken, said)
    return Ending("passed" if code == 0 else f"ended with {code}", broken, said)


def _leaks(work: Path) -> list[str]:
    """Files in which the secret stands."""
    secret = SECRET.encode()
    files = [path for path in work.rglob("*") if path.is_file() and path.stat().st_size < 50_000_000]
    return [f"the secret stands in {path.relative_to(work)}" for path in files if secret in path.read_bytes()]
