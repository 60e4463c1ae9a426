"""Caching on a Ray cluster, by Ray Data: it places the workers, hands out films, and tries again where one is lost."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from datamodules.caching.portions import Portion
from datamodules.caching.texts import AT_ONCE
from datamodules.caching.work import own_device, progress_bar, say_what_it_takes, texts_of, to_device
from datamodules.tables import Entry
from networks.visits import visit

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
        self.parts = build().parts
        for part in self.parts:
            to_device(part)
            part.cache.refresh()
        self.encoders = [part.cache.encoder() for part in self.parts]

    def film(self, row: dict[str, Any]) -> dict[str, Any]:
        """Adds one film."""
        cache = self.parts[row["part"]].cache
        cache.films.refresh()
        cache.add(Entry(row["item"], "", ""), self.encoders[row["part"]])
        return row

    def texts(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Adds some captions; all sets have the same cache of texts."""
        part = self.parts[0]
        part.texts.fill([str(text) for text in batch["item"]], part.text_encoder.encode)
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

    Args:
        build: makes the data module, here and in every worker.
        address: address of a cluster; None: $RAY_ADDRESS, or a new cluster on this machine.
        workers: number of workers.
        cpus_per_worker: CPU cores that Ray sets aside for each worker.
        gpus_per_worker: GPUs that Ray sets aside for each worker; may be below 1.

    Raises:
        ValueError: if Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            'engine=ray needs Ray: pip install "longtake[ray]"; engine=plain needs no other package'
        ) from error
    data = build()
    if data.make is not None:
        data.make()
    parts = [(part, part.entries()) for part in data.parts]
    films = [
        (number, entry) for number, (part, entries) in enumerate(parts) for entry in part.cache.missing_by_name(entries)
    ]
    texts = parts[0][0].texts.missing([text for _, entries in parts for text in texts_of(entries)])
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    films_of, texts_by = cast(Any, Films), cast(Any, Texts)  # Ray's own hints know functions alone
    placed: dict[str, Any] = {"concurrency": workers, "num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
    placed |= {"fn_constructor_args": (build,)}
    if films:
        for number, (part, _) in enumerate(parts):
            mine = [entry for of, entry in films if of == number]
            if mine:
                with visit(part.codec, own_device()):
                    say_what_it_takes(part.cache, mine, Portion())
        # One film a block: a long one holds up nothing but its worker.
        items = [{"part": number, "item": entry.where} for number, entry in films]
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), 10_000))
        _follow("caching films", rows.map(films_of, **placed).iter_rows(), len(items))
    if texts:
        rows = ray.data.from_items([{"item": text} for text in texts])
        _follow("encoding captions", rows.map_batches(texts_by, batch_size=AT_ONCE, **placed).iter_rows(), len(texts))
    for part, entries in parts:
        part.cache.refresh()
        part.cache.report(entries)


def _follow(what: str, rows: Iterable[Any], total: int) -> None:
    with progress_bar(what, total) as show:
        for number, _ in enumerate(rows, start=1):
            show(number)
