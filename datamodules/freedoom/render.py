"""Render the corpus: many walks in several processes, resumable, then one table of all of them."""

import csv
import io
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.freedoom.levels import LEVELS, check_level
from datamodules.freedoom.plans import WalkPlan, plan_walk, write_whole
from datamodules.freedoom.walk_files import render_walk
from networks.ranges import Seed, Share, Size, Text

_RENDERING = threading.Lock()  # held while a process renders a walk
_LOG = logging.getLogger(__name__)
_SECONDS_TO_CLOSE = 5.0  # for a process to close its game; it takes a fraction of one
COLUMNS = (
    *("path", "text", "short_text", "level", "split", "fps", "num_frames", "height", "width"),
    *("view", "colour", "seed"),
)


def render_corpus(
    *,
    root: Text | Path,
    size: Size,
    levels: Sequence[Text] | None,
    walks_per_level: Size,
    frames_per_walk: Size,
    seed: Seed,
    num_workers: Size,
    third_person_share: Share = 0.5,
    monsters_share: Share = 0.0,
    tics_per_frame: Size = 4,
) -> Path:
    """Render what is missing of a corpus of walks through Freedoom and return the path of its table.

    A killed render continues where it was; more levels or walks may be added to a root later, other settings not.
    Under the root lie `videos/<level>/<walk>.mp4`, `poses/<level>/<walk>.csv.gz` (frame, x, y, z, angle, pitch, leg,
    visible objects), `rows/` (one file for each walk, behind the table) and `table.csv`.

    Args:
        root: folder of the corpus, made if absent.
        size: height and width of the video in pixels, even.
        levels: names such as "E1M3" or "map05"; None for all 68.
        walks_per_level: walks in each level.
        frames_per_walk: frames of each walk.
        seed: with level and walk number it determines every frame.
        num_workers: processes to render in.
        third_person_share: share of walks that show the marine from behind.
        monsters_share: share of walks with monsters.
        tics_per_frame: tics (1/35 s) between frames; 4 gives 8.75 frames a second.

    Raises:
        ValueError: a number out of range, an unknown level, or a root rendered with other settings.
        RuntimeError: not one walk could be rendered.
    """
    chosen = LEVELS if levels is None else tuple(levels)
    for level in chosen:
        check_level(level=level)
    _check_numbers(
        size=size,
        walks_per_level=walks_per_level,
        frames_per_walk=frames_per_walk,
        num_workers=num_workers,
        tics_per_frame=tics_per_frame,
    )
    for name, share in (("third_person_share", third_person_share), ("monsters_share", monsters_share)):
        if not 0.0 <= share <= 1.0:
            msg = f"{name} is {share}; a share lies between 0 and 1."
            raise ValueError(msg)
    folder = Path(root).resolve()
    settings: dict[str, int | float] = {
        "size": size,
        "frames_per_walk": frames_per_walk,
        "seed": seed,
        "third_person_share": third_person_share,
        "monsters_share": monsters_share,
        "tics_per_frame": tics_per_frame,
    }
    _check_settings(root=folder, settings=settings)
    plans = [
        plan_walk(
            root=str(folder),
            level=level,
            number=number,
            seed=seed,
            size=size,
            frames=frames_per_walk,
            tics_per_frame=tics_per_frame,
            third_person_share=third_person_share,
            monsters_share=monsters_share,
        )
        for number in range(walks_per_level)
        for level in chosen
    ]
    _render_missing(plans=[plan for plan in plans if not plan.is_done()], num_workers=num_workers)
    return _write_table(root=folder)


def _render_missing(*, plans: Sequence[WalkPlan], num_workers: int) -> None:
    if not plans:
        return
    # Spawned processes share nothing with this one, whatever threads it runs.
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("Freedoom"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failures = 0
    console = Console(stderr=True)
    _LOG.info("rendering %d walks into %s", len(plans), plans[0].root)
    with (
        _ended_by_sigterm(),
        tempfile.TemporaryDirectory() as scratch,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        # The game makes a folder where it is started, so the processes start it elsewhere.
        ProcessPoolExecutor(
            max_workers=min(num_workers, len(plans)),
            mp_context=context,
            initializer=_enter_process,
            initargs=(scratch,),
        ) as pool,
        _ended_with_their_games(pool),
    ):
        task = progress.add_task("walks", total=len(plans))
        futures = {pool.submit(_render_alone, plan): plan for plan in plans}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None:
                failures += 1
                _LOG.warning("Walk %s was skipped: %s: %s", futures[future].walk_id, type(error).__name__, error)
            progress.advance(task)
    if failures == len(plans):
        msg = f"not one of {failures} walks could be rendered; the reasons are in the warnings above."
        raise RuntimeError(msg)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
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
        for process in processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):  # the usual case: nothing is left of its group
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()  # one that had no group yet
        raise


def _enter_process(folder: str) -> None:
    # Its game joins its group, and can be ended with it. A signal to the group of this process, as `timeout` and Ctrl-C
    # send it, goes to the parent alone, which ends the others in order.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _leave)
    _enter_folder(folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _enter_folder(folder: str) -> None:
    # One each: two games that make theirs in one place at the same moment end one of the processes, and so the pool.
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


def _render_alone(plan: WalkPlan) -> None:
    with _RENDERING:
        try:
            render_walk(plan)
        except SystemExit:  # by SIGTERM; the pool would take it for a failed walk and give this process the next one
            os._exit(1)


def _write_table(*, root: Path) -> Path:
    rows = [json.loads(path.read_text()) for path in sorted((root / "rows").glob("*/*.json"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if (root / row["path"]).is_file())
    path = root / "table.csv"
    write_whole(path=path, data=text.getvalue().encode())
    return path


def _check_settings(*, root: Path, settings: dict[str, int | float]) -> None:
    path = root / "settings.json"
    if path.is_file():
        found = json.loads(path.read_text())
        for name, value in settings.items():
            if found.get(name) != value:
                msg = (
                    f"{root} was rendered with {name} = {found.get(name)}, now {name} is {value}; "
                    "choose another folder or the same setting (more levels or walks may be added)."
                )
                raise ValueError(msg)
        return
    root.mkdir(parents=True, exist_ok=True)
    write_whole(path=path, data=json.dumps(settings, indent=2).encode())


def _check_numbers(
    *, size: int, walks_per_level: int, frames_per_walk: int, num_workers: int, tics_per_frame: int
) -> None:
    if size < 16 or size % 2:
        msg = f"size is {size}; video files need an even number of pixels, at least 16."
        raise ValueError(msg)
    counts = {
        "walks_per_level": walks_per_level,
        "frames_per_walk": frames_per_walk,
        "num_workers": num_workers,
        "tics_per_frame": tics_per_frame,
    }
    for name, count in counts.items():
        if count < 1:
            msg = f"{name} is {count}; it must be at least 1."
            raise ValueError(msg)
