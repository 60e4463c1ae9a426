"""Formats of a cache beside one another: `python benchmarks/formats.py`, a minute.

It needs `pip install webdataset litdata mosaicml-streaming`. The same films (float16, rows of 16 x 8 x 8) are written
by each library and by our shards, then read in two ways: stretches of ten rows from anywhere, as clips are drawn, and
whole films in order. CPU seconds of one process, and bytes on the disk; webdataset reads no member by its number, so
that only the second is measured of it. A library that cannot be used is named with its reason. Writes
results/formats.json.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()

import numpy as np
import torch

from datamodules.caching.shards import Shards, ShardWriter

ROWS, ROW, STRETCH = 80, (16, 8, 8), 10
Read = Callable[[int, int], Any]
Opened = tuple[Read | None, Callable[[], Iterator[Any]]]


def film(number: int) -> torch.Tensor:
    """Rows of one film."""
    return torch.randn(ROWS, *ROW, generator=torch.Generator().manual_seed(number)).half()


def key(number: int) -> str:
    """Of a film."""
    return f"{number:032x}"


def ours(folder: Path, films: int) -> Opened:
    """Tar with an index, read by ranges."""
    writer = ShardWriter(folder)
    for number in range(films):
        with writer.member(key(number)) as add:
            add(film(number))
    writer.close()
    shards = Shards(folder, kind="float16", row=ROW)
    shards.refresh()
    numbers = [shards.number(key(number)) or 0 for number in range(films)]
    return (lambda n, start: shards.read(numbers[n], start, STRETCH)), lambda: map(shards.read, numbers)


def webdataset(folder: Path, films: int) -> Opened:
    """The same shards, streamed by the library."""
    import webdataset
    from safetensors.torch import load

    ours(folder, films)
    found = [str(path) for path in folder.glob("*.tar")]

    def stream() -> Iterator[Any]:
        for sample in webdataset.WebDataset(found, shardshuffle=False):
            yield load(sample["safetensors"])["rows"]

    return None, stream


def litdata(folder: Path, films: int) -> Opened:
    """Chunks of 64 MiB."""
    import litdata

    writer = litdata.streaming.writer.BinaryWriter(str(folder), chunk_bytes="64MB")
    for number in range(films):
        writer[number] = {"rows": film(number)}
    writer.done()
    writer.merge()
    dataset = litdata.StreamingDataset(str(folder), shuffle=False)
    return (lambda n, start: dataset[n]["rows"][start : start + STRETCH]), lambda: (each["rows"] for each in dataset)


def mosaicml(folder: Path, films: int) -> Opened:
    """Shards of 64 MiB."""
    import streaming

    with streaming.MDSWriter(out=str(folder), columns={"rows": "ndarray:float16"}, size_limit=1 << 26) as writer:
        for number in range(films):
            writer.write({"rows": film(number).numpy()})
    dataset = streaming.LocalDataset(str(folder))
    return (
        lambda n, start: torch.from_numpy(np.array(dataset[n]["rows"][start : start + STRETCH])),
        lambda: (dataset[n]["rows"] for n in range(films)),
    )


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(make: Callable[[Path, int], Opened], films: int, reads: int) -> dict[str, Any]:
    """CPU seconds of writing and reading, and bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "films")
        folder.mkdir()
        before = time.process_time()
        stretch, whole = make(folder, films)
        found: dict[str, Any] = {"written, CPU s": time.process_time() - before}
        found["bytes over those of the numbers"] = sum(
            path.stat().st_size for path in folder.rglob("*") if path.is_file()
        ) / (films * ROWS * 2 * 16 * 8 * 8)
        draw = random.Random(0)
        if stretch is not None:
            drawn = [(draw.randrange(films), draw.randrange(ROWS - STRETCH)) for _ in range(reads)]
            found["a stretch from anywhere, CPU ms"] = 1000 * spent(lambda: [stretch(*each) for each in drawn]) / reads
        count = 0

        def read_all() -> None:
            nonlocal count
            count = sum(1 for _ in whole())

        found["a film in order, CPU ms"] = 1000 * spent(read_all) / films
        assert count == films
    return found


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--reads", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for make in (ours, webdataset, litdata, mosaicml):
        try:
            found = measure(make, options.films, options.reads)
            result[make.__name__] = {what: round(value, 3) for what, value in found.items()}
        except (ImportError, AttributeError, TypeError, ValueError, OSError, RuntimeError) as error:
            result[make.__name__] = f"{type(error).__name__}: {error}"
        sys.stdout.write(f"{make.__name__}: {json.dumps(result[make.__name__])}\n")
    (Path(__file__).parent / "results" / "formats.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
