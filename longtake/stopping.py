"""Signals that ask a run to end: a scheduler's SIGTERM and SIGUSR1, and Ctrl-C.

While a run has something to lose, the first one only asks: the run saves at the end of its step and then ends. At any
other time it ends the run at once, tidily, and so does a second one. The exit code is 128 and the signal's number, so
that `train.py && export.py` stops there; SIGUSR1, by which SLURM warns of the end, counts as SIGTERM.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
_ONE_SIGNAL_SECONDS = 1.0
"""A signal is one while it is repeated so soon: `timeout` sends its own twice, and a launcher passes one on."""


class Stopped(SystemExit):
    """A run that a signal ended; a SystemExit, which no handler of errors catches."""

    def __init__(self, number: int, *, code: int | None = None) -> None:
        """Takes the signal.

        Args:
            number: number of the signal.
            code: another exit code than the signal's.
        """
        super().__init__(exit_code(number) if code is None else code)
        self.number = number
        self.told = self.code == 0  # whether somebody has said it, or another process does


def exit_code(number: int) -> int:
    """What a shell shows for a process that this signal ended, SIGUSR1 counting as SIGTERM."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class _Asked:
    """The state of this process, which signals have for the whole of it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forgets every signal, so that the state is that of a new process."""
        self.number = 0  # of the signal that asked; 0: none has
        self.since = 0.0
        self.saves_first = False
        self.owner = 0


_ASKED = _Asked()


def asked() -> int:
    """The number of the signal that asked this process to end, 0 where none has."""
    return _ASKED.number


def save_first(wanted: bool) -> None:
    """Says whether a signal should only ask, since the run will look at `asked` and save; else it ends at once."""
    _ASKED.saves_first = wanted


@contextmanager
def stopping_tidily(numbers: Iterable[int] = SIGNALS) -> Iterator[None]:
    """While it lasts, signals do as this module says; elsewhere than in the main thread nothing changes.

    numbers: of the signals; the others are as in a new process, for somebody else to answer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _ASKED.forget()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    take_signals(numbers)
    try:
        yield
    finally:
        _ASKED.forget()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def take_signals(numbers: Iterable[int] = SIGNALS) -> None:
    """Handles the signals here; again after Lightning put its own handler of SIGTERM in front.

    Lightning's would pass the signal on and speak to the other processes in the middle of a step.
    """
    if threading.current_thread() is threading.main_thread():
        _ASKED.owner = os.getpid()
        for number in numbers:
            signal.signal(number, _take)


def _take(number: int, frame: FrameType | None) -> Any:
    if os.getpid() != _ASKED.owner:  # a forked process: its parent ends it
        return
    now = time.monotonic()
    if _ASKED.number:
        if now - _ASKED.since > _ONE_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _ASKED.number, _ASKED.since = number, now
    if not _ASKED.saves_first:
        raise Stopped(number)
