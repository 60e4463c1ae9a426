"""Work that goes on in a thread of its own, however many browsers look at it: none, one or two."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from longtake.failures import explain_failure
from longtake.studio.weights import Watch

log = logging.getLogger("longtake")

State = Literal["idle", "running", "done", "stopped", "failed"]


class Halted(Exception):
    """Somebody pressed Stop; not an error."""


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    steps, total: denoising steps that are done, and of all. finished: names of segments that are there. seconds: since
    it began, or of all of it. message: a sentence for its end.
    """

    state: State = "idle"
    steps: int = 0
    total: int = 0
    finished: tuple[str, ...] = field(default=())
    seconds: float = 0.0
    message: str = ""

    @property
    def share(self) -> float:
        """The share of the work that is done, in [0, 1]."""
        return 1.0 if self.state == "done" else min(self.steps / self.total, 1.0) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None before the first step."""
        return self.seconds * (self.total - self.steps) / self.steps if self.steps else None


class Job:
    """One piece of work at a time."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._lock = threading.Lock()
        self._began = 0.0
        self._asked_to_stop = False
        self._thread: threading.Thread | None = None

    @property
    def progress(self) -> Progress:
        """How far the work is now."""
        with self._lock:
            if self._progress.state != "running":
                return self._progress
            return replace(self._progress, seconds=time.monotonic() - self._began)

    def start(self, work: Callable[[Watch], str], *, total: int) -> None:
        """Begins a piece of work in a thread of its own.

        Args:
            work: function that is given the `Watch` to report to, and returns a sentence for its end.
            total: denoising steps of all of it.

        Raises:
            ValueError: if something is being made already.
        """
        with self._lock:
            if self._progress.state == "running":
                raise ValueError("a take is being made: wait for it, or press Stop")
            self._progress, self._began = Progress("running", total=total), time.monotonic()
            self._asked_to_stop = False
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Asks the work to end after the step that it is at."""
        self._asked_to_stop = True

    def wait(self, seconds: float | None = None) -> None:
        """Returns when the work has ended, or after so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, work: Callable[[Watch], str]) -> None:
        try:
            self._end("done", work(Watch(self._step, self._segment)))
        except Halted:
            self._end("stopped", "stopped; finished segments are kept, and Make goes on from there")
        except Exception as error:
            said = explain_failure(error)
            if said is None and not isinstance(error, ValueError | OSError):
                log.exception("the studio's work failed")
                said = f"a mistake of longtake's own, {type(error).__name__}: {error}; the terminal shows more"
            self._end("failed", said or " ".join(str(error).split()))

    def _step(self) -> None:
        if self._asked_to_stop:
            raise Halted
        with self._lock:
            self._progress = replace(self._progress, steps=self._progress.steps + 1)

    def _segment(self, name: str) -> None:
        with self._lock:
            self._progress = replace(self._progress, finished=(*self._progress.finished, name))
        if self._asked_to_stop:
            raise Halted

    def _end(self, state: State, message: str) -> None:
        with self._lock:
            seconds = time.monotonic() - self._began
            self._progress = replace(self._progress, state=state, seconds=seconds, message=message)
