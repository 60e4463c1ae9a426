"""Programs in processes of their own that are killed when it is time, and how they ended."""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import ROOT
from benchmarks.busy import patience
from longtake.stopping import exit_code

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SECONDS = 300
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["benchmarks.killing", "lightning", "hydra", "longtake.cli.training", "longtake.cli.take"])


class Started:
    """A program of this project in a process of its own, forked from one that has loaded the libraries already."""

    def __init__(self, program: str, arguments: Sequence[str], **environment: str) -> None:
        """arguments: as typed; environment: beside this process's own."""
        self._said = tempfile.NamedTemporaryFile(prefix="kills-said-", delete=False).name  # noqa: SIM115 - removed below
        own = {"target": run_program, "args": (program, list(arguments), environment, self._said)}
        self._process = FORKS.Process(**own)  # type: ignore[arg-type]
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """To the program alone."""
        if self._process.pid is not None:
            os.kill(self._process.pid, number)

    def ended(self) -> tuple[int, str]:
        """Exit code and the end of what it said on stderr, once it has ended."""
        self._process.join(SECONDS * patience())
        if self._process.exitcode is None:
            self._process.kill()
            return 1, f"still running after {SECONDS} s"
        said = Path(self._said)
        text = said.read_text(errors="replace")
        said.unlink()
        return self._process.exitcode, text[-2000:]


def run_program(program: str, arguments: list[str], environment: dict[str, str], said: str) -> None:
    """`python PROGRAM ARGUMENTS` in the repository; stderr goes to the file `said`."""
    os.setsid()
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)  # whatever started this benchmark may ignore some
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(ROOT)
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR is another one now
    sys.argv = [program, *arguments]
    runpy.run_path(str(ROOT / program), run_name="__main__")


def killed_at(process: Started, number: int, is_time: Callable[[], bool]) -> None:
    """Sends the signal when it is time, unless the process ends before."""
    while process.is_running and not is_time():
        time.sleep(0.001)
    if process.is_running:
        process.send_signal(number)


def appears(folder: Path, patterns: Sequence[str]) -> Callable[[], bool]:
    """Whether a file that was not there before is there now."""

    def found() -> set[Path]:
        return {path for pattern in patterns for path in folder.glob(pattern)}

    before = found()
    return lambda: bool(found() - before)


def after(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def wrong_exit(number: int, code: int, said: str) -> str | None:
    """What is wrong with how a signalled process ended, if anything; 0: it was done before."""
    right = (0, -signal.SIGKILL) if number == signal.SIGKILL else (0, exit_code(number), -number)
    if code in right and "Traceback" not in said:
        return None
    return f"{signal.Signals(number).name}: exit {code}, {said.strip().splitlines()[-1:]}"
