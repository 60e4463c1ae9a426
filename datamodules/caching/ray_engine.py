"""Caching on a Ray cluster, by Ray Data: it places the workers, hands out films, and tries again where one is lost."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.caching.portions import Portion
from datamodules.caching.texts import AT_ONCE
from datamodules.caching.work import device, progress_bar, say_what_it_takes
from datamodules.tables import Entry

if TYPE_CHECKING:
    from datamodules.video_datamodule import VideoDataModule

log = logging.getLogger("longtake")


class Worker:
    """A process of the cluster that holds codec and text encoder, and adds films and texts to the one cache.

    A causal encoding is made from a film's first frame to its last, so one worker makes the whole of it: its CPUs
    decode ahead of the GPU that encodes.
    """

    def __init__(self, build: Callable[[], "VideoDataModule"]) -> None:
        """build: makes the data module, in this process."""
        self.data = build()
        self.data.to_device(device())
        self.data.cache.refresh()
        self.encoder = self.data.cache.encoder()

    def film(self, row: dict[str, Any]) -> dict[str, Any]:
        """Adds one film."""
        self.data.cache.films.refresh()
        self.data.cache.add(Entry(Path(row["item"]), "", ""), self.encoder)
        return row

    def texts(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Adds some captions."""
        self.data.texts.fill([str(text) for text in batch["item"]], self.data.text_encoder.encode)
        return batch


class Films(Worker):
    """What Ray Data calls with one film after the other."""

    __call__ = Worker.film


class Texts(Worker):
    """What Ray Data calls with captions."""

    __call__ = Worker.texts


def cache_on_ray(
    build: Callable[[], "VideoDataModule"],
    *,
    address: str | None,
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float,
) -> None:
    """Caches all films and texts that are missing.

    build: makes the data module, here and in every worker; address: of a cluster, None: $RAY_ADDRESS or a new one on
    this machine.

    Raises:
        ValueError: if Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError('engine=ray needs Ray: pip install "longtake[ray]"; engine=plain needs nothing') from error
    data = build()
    if data.make is not None:
        data.make()
    entries = data.entries()
    films, texts = data.cache.missing_by_name(entries), data.texts.missing(data.texts_of(entries))
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
    placed = {"concurrency": workers, "num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
    placed["fn_constructor_args"] = (build,)
    if films:
        say_what_it_takes(data.cache, films, Portion())
        # One film a block: a long one holds up nothing but its worker.
        rows = ray.data.from_items([{"item": str(e.path)} for e in films], override_num_blocks=min(len(films), 10_000))
        _follow("caching films", rows.map(Films, **placed).iter_rows(), len(films))
    if texts:
        rows = ray.data.from_items([{"item": text} for text in texts])
        _follow("encoding captions", rows.map_batches(Texts, batch_size=AT_ONCE, **placed).iter_rows(), len(texts))
    data.cache.refresh()
    data.cache.report(entries)


def _follow(what: str, rows: Iterable[Any], total: int) -> None:
    with progress_bar(what, total) as show:
        for number, _ in enumerate(rows, start=1):
            show(number)
