"""Rendering a world: walks in several processes, resumable, then one table of all of them.

A world gives plans (one a walk) and a function that renders one of them; what is here is the same for every world.
"""

import csv
import io
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.recording import write_whole
from networks.files import remove_unfinished, scratch

_RENDERING = threading.Lock()  # held while a process renders a walk
_LOG = logging.getLogger(__name__)
_SECONDS_TO_CLOSE = 5.0  # for a process to close its game; it takes a fraction of one


class Plan(Protocol):
    """What is known of a walk before it is rendered: its folder and its name, unique within it."""

    @property
    def root(self) -> str:
        """Folder of the corpus."""

    @property
    def walk_id(self) -> str:
        """The walk's name."""


PlanT = TypeVar("PlanT", bound=Plan)


def render_missing(
    *, world: str, plans: Sequence[PlanT], render_walk: Callable[[PlanT], None], num_workers: int
) -> None:
    """Render walks in processes of their own; one that fails is named in a warning and passed over.

    Args:
        world: its name, shown beside the progress.
        plans: walks that are missing; none does nothing.
        render_walk: renders one walk; a function of a module, so that another process finds it.
        num_workers: processes to render in.

    Raises:
        RuntimeError: not one walk could be rendered.
    """
    if not plans:
        return
    columns = (TextColumn(world), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    failures = 0
    remove_unfinished(plans[0].root)  # scratch folders of renderings that were killed
    _LOG.info("rendering %d walks into %s", len(plans), plans[0].root)
    with (
        ended_by_sigterm(),
        scratch(plans[0].root) as folder,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("walks", total=len(plans))

        def fail(plan: PlanT, why: str) -> None:
            nonlocal failures
            failures += 1
            _LOG.warning("Walk %s was skipped: %s", plan.walk_id, why)

        def finish(plan: PlanT, error: BaseException | None) -> None:
            if error is not None:
                fail(plan, f"{type(error).__name__}: {error}")
            progress.advance(task)

        left, processes = list(plans), num_workers
        while left:
            lost = _render_in_pool(
                plans=left, render_walk=render_walk, num_workers=processes, scratch=str(folder), finish=finish
            )
            if lost and processes == 1:  # then it was the first of them that was being rendered
                fail(lost.pop(0), "the game does not take its level and ended the process that had started it")
                progress.advance(task)
            left, processes = lost, 1
    if failures == len(plans):
        msg = f"not one of {failures} walks could be rendered; the reasons are in the warnings above."
        raise RuntimeError(msg)


def _render_in_pool(
    *,
    plans: Sequence[PlanT],
    render_walk: Callable[[PlanT], None],
    num_workers: int,
    scratch: str,
    finish: Callable[[PlanT, BaseException | None], None],
) -> list[PlanT]:
    """Calls `finish` for every walk that was rendered or raised; returns those left where a process died of one."""
    left = dict(enumerate(plans))
    others = set(multiprocessing.active_children())
    with (
        ProcessPoolExecutor(
            max_workers=min(num_workers, len(plans)),
            # Spawned processes share nothing with this one, whatever threads it runs.
            mp_context=multiprocessing.get_context("spawn"),
            # The game makes a folder where it is started, so the processes start it elsewhere.
            initializer=_enter_process,
            initargs=(scratch,),
        ) as pool,
        _ended_with_their_games(pool),
    ):
        futures = {pool.submit(partial(_render_alone, render_walk), plan): place for place, plan in left.items()}
        processes = set(multiprocessing.active_children()) - others
        for future in as_completed(futures):
            error = future.exception()
            if not isinstance(error, BrokenProcessPool):
                finish(left.pop(futures[future]), error)
        if left:  # the executor ends the other processes, but not their games
            _kill_groups(processes)
    return list(left.values())


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """While it lasts, SIGTERM raises SystemExit, so that all is tidied up; only the main thread can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one would break off the tidying up
    raise SystemExit(128 + number)


@contextmanager
def _ended_with_their_games(pool: ProcessPoolExecutor) -> Iterator[None]:
    """On an error ends the pool's processes and their games, which would live on: they take no notice of signals."""
    others = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        processes = [process for process in multiprocessing.active_children() if process not in others]
        for process in processes:
            process.terminate()
        left = [process.sentinel for process in processes]
        while left and (closed := wait(left, timeout=_SECONDS_TO_CLOSE)):
            left = [sentinel for sentinel in left if sentinel not in closed]
        _kill_groups(processes)
        raise


def _kill_groups(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        if process.pid is not None:
            with suppress(ProcessLookupError):  # the usual case: nothing is left of its group
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # one that had no group yet


def _enter_process(folder: str) -> None:
    # Its game joins its group, and can be ended with it. A signal to the group of this process, as `timeout` and Ctrl-C
    # send it, goes to the parent alone, which ends the others in order.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _leave)
    enter_folder(folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def enter_folder(folder: str) -> None:
    """Gives this process a folder of its own to work in, inside the given one.

    Two games that make theirs in one place at the same moment end one of the processes, and so the pool.
    """
    own = tempfile.mkdtemp(dir=folder)
    os.chdir(own)
    tempfile.tempdir = own  # what a killed process leaves there, the parent removes


def _end_with_parent() -> None:
    # A killed parent cannot end its processes, and they would wait for work for ever. The walk in progress is finished
    # first, for it would leave a game running.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _RENDERING.acquire()
        os._exit(1)


def _render_alone(render_walk: Callable[[PlanT], None], plan: PlanT) -> None:
    with _RENDERING:
        try:
            render_walk(plan)
        except SystemExit:  # by SIGTERM; the pool would take it for a failed walk and give this process the next one
            os._exit(1)


def write_table(*, root: Path, columns: Sequence[str]) -> Path:
    """Write `table.csv` from the files under `rows/` whose videos exist, and return its path."""
    rows = [json.loads(path.read_text()) for path in sorted((root / "rows").glob("*/*.json"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if (root / row["path"]).is_file())
    path = root / "table.csv"
    write_whole(path=path, data=text.getvalue().encode())
    return path


def check_settings(*, root: Path, settings: Mapping[str, object], may_grow: str) -> None:
    """Refuse a root that was rendered with other settings; write them down where there are none yet.

    Args:
        root: folder of the corpus.
        settings: what every walk of one root has in common, as JSON holds it.
        may_grow: what may differ from call to call, such as "levels or walks".

    Raises:
        ValueError: a setting differs from that of the walks that are there.
    """
    path = root / "settings.json"
    if path.is_file():
        found = json.loads(path.read_text())
        for name, value in settings.items():
            if found.get(name) != value:
                msg = (
                    f"{root} was rendered with {name} = {found.get(name)}, now {name} is {value}; "
                    f"choose another folder or the same setting (more {may_grow} may be added)."
                )
                raise ValueError(msg)
        return
    root.mkdir(parents=True, exist_ok=True)
    write_whole(path=path, data=json.dumps(settings, indent=2).encode())


def check_counts(*, size: int, **counts: int) -> None:
    """Refuse sizes that no video file takes, and numbers below 1.

    Args:
        size: height and width of the video in pixels.
        counts: other numbers by name, each at least 1.

    Raises:
        ValueError: one is out of range.
    """
    if size < 16 or size % 2:
        msg = f"size is {size}; video files need an even number of pixels, at least 16."
        raise ValueError(msg)
    for name, count in counts.items():
        if count < 1:
            msg = f"{name} is {count}; it must be at least 1."
            raise ValueError(msg)


def check_shares(**shares: float) -> None:
    """Refuse shares outside 0 to 1, by name.

    Args:
        **shares: shares by name, each in [0, 1].

    Raises:
        ValueError: one lies outside.
    """
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            msg = f"{name} is {share}; a share lies between 0 and 1."
            raise ValueError(msg)
