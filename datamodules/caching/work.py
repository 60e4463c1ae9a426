"""The work of caching: what is left to do and what it will take, one progress bar, and who waits for whom."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.caching.portions import Portion
from datamodules.caching.words import in_bytes, in_time
from datamodules.tables import Entry
from longtake.video import probe
from longtake.video.places import is_remote
from networks.visits import visit

if TYPE_CHECKING:
    from datamodules.cache import ClipCache
    from datamodules.video_datamodule import VideoDataModule

log = logging.getLogger("longtake")

SAMPLED = 8
"""Films that are looked at to say how large and long the work will be."""


class MissingCache(ValueError):
    """Films or texts are missing that several machines would wait for."""


class Estimate(NamedTuple):
    """Bytes, and seconds of one process, that some films will take."""

    size: float
    seconds: float


def estimate(cache: "ClipCache", films: Sequence[Entry]) -> Estimate:
    """From the lengths of a few films, and the time that the first pieces of one of them take."""
    sampled = films[:: max(len(films) // SAMPLED, 1)][:SAMPLED]
    lengths, seconds_a_frame = [], 0.0
    for entry in sampled:
        try:
            film = probe(entry.path)
            stride = cache.settings.frame_stride
            lengths.append(film.count(cache.settings.fps) if stride is None else film.num_frames // stride)
            seconds_a_frame = seconds_a_frame or _timed(cache, entry)
        except ValueError:  # is skipped when its turn comes
            continue
    frames = sum(lengths) / max(len(sampled), 1) * len(films)
    return Estimate(frames / cache.factor * cache.films.row_bytes, frames * seconds_a_frame)


def _timed(cache: "ClipCache", entry: Entry) -> float:
    """Seconds a frame of a film's beginning takes; the second piece's where there is one: the first warms up."""
    encoder = cache.encoder()
    encoder.piece_frames = min(encoder.piece_frames, 4 * cache.factor)
    with torch.inference_mode():
        begun = time.perf_counter()
        made = encoder.encoded(encoder.pieces(entry.path, 0.5))
        piece = next(made)
        warm = time.perf_counter()
        if (second := next(made, None)) is not None:
            piece, begun = second, warm
        return (time.perf_counter() - begun) / (len(piece) * cache.factor)


def say_what_it_takes(cache: "ClipCache", films: Sequence[Entry], portion: Portion) -> None:
    """Logs size and time before the work begins, and warns where the disk will not hold it; films: of this share."""
    size, seconds = estimate(cache, films)
    of = f", the share of process {portion.rank} of {portion.world}" if portion.world > 1 else ""
    log.info(f"caching {len(films):,} films{of}: about {in_bytes(size)} in {cache.place} and {in_time(seconds)}")
    size *= portion.world
    folder = next(place for place in (Path(cache.place), *Path(cache.place).parents) if place.is_dir())
    if (free := shutil.disk_usage(folder).free) < size:
        log.warning(f"{cache.place} has room for {in_bytes(free)} only, of about {in_bytes(size)} that are needed")


@contextmanager
def progress_bar(what: str, total: int, show: bool = True) -> Iterator[Callable[[int], None]]:
    """One bar on the terminal; gives a function that says how many are done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def cache_all(data: "VideoDataModule", entries: Sequence[Entry], portion: Portion) -> None:
    """Caches a share of the films and texts; the first process shows how far all are."""
    cache, texts = data.cache, texts_of(entries)
    films = cache.missing(portion.of(entries))
    if films:
        with visit(data.codec, own_device()):
            say_what_it_takes(cache, films, portion)
            before = len(cache.films)
            with progress_bar("caching films", len(films) * portion.world, show=portion.rank == 0) as show:
                cache.fill(films, on_film=lambda: show(len(cache.films) - before))
    if portion.rank == 0:
        cache.report(portion.of(entries))
    cache.names.forget()  # before the captions, which take as much memory: of a million films 300 MB each
    if left := data.texts.missing(portion.of(texts)):
        log.info(f"encoding {len(left):,} captions into {data.texts.folder}")
        with visit(data.text_encoder, own_device()):
            data.texts.fill(left, data.text_encoder.encode)


def texts_of(entries: Sequence[Entry]) -> list[str]:
    """All captions, once each and in order."""
    texts = [entry.caption for entry in entries] + [entry.short_caption for entry in entries if entry.short_caption]
    return list(dict.fromkeys(texts))


def own_device() -> torch.device:
    """The GPU of this process among those of its machine, where there is one."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % gpus) if gpus else torch.device("cpu")


def to_device(data: "VideoDataModule") -> None:
    """Moves codec and text encoder to the GPU of this process, where there is one, to stay there."""
    for part in (data.codec, data.text_encoder):
        if isinstance(part, torch.nn.Module):
            part.to(own_device())


def lacking(data: "VideoDataModule", entries: Sequence[Entry]) -> tuple[int, int]:
    """How many films and texts are missing, as far as is known without looking into any film.

    A film whose file is not there is not waited for: it is skipped.
    """
    films = [entry for entry in data.cache.missing_by_name(entries) if is_remote(entry.where) or _is_there(entry)]
    return len(films), len(data.texts.missing(texts_of(entries)))


def _is_there(entry: Entry) -> bool:
    return os.path.isfile(entry.where) and os.access(entry.where, os.R_OK)


def refuse_missing(data: "VideoDataModule", num_nodes: int) -> None:
    """Raises where a training on several machines would have to wait for its cache.

    Args:
        data: data module of the training.
        num_nodes: number of machines.

    Raises:
        MissingCache: naming what makes it.
    """
    entries = data.entries()
    films, texts = lacking(data, entries)
    if films or texts:
        raise MissingCache(
            f"{films:,} of {len(entries):,} films and {texts:,} captions are not cached yet, and {num_nodes} machines "
            f"would wait for them in {data.cache.place}"
        )
