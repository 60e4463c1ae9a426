"""A million films: listing, set-up and the first batch of a training, by an index that is made up.

`python benchmarks/million.py`, about two minutes. The films are names alone, and the cache is an index with files of
zeros without blocks on the disk: what is measured is what a start costs where everything is cached. A process of its
own starts a training as its first process does (listing the table, looking for what is missing, splits, clips), and
reads one batch. Up to 20,000 films would be looked at, and not be there. Writes results/million.json.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import peak_resident_gib, settle

settle()

import torch

from benchmarks.data import data_of
from datamodules.caching.texts import text_key

FRAMES = 40
"""Latent frames of each film."""


def make_up(root: Path, cache: Path, films: int) -> None:
    """A table of so many films, and the index of a cache that has them all."""
    data = data_of(root, cache, table="table.csv")
    root.mkdir(parents=True)
    folders = [Path(f"{data.cache.root}/films"), data.cache.folder, Path(data.texts.folder)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    sizes = FRAMES * data.cache.films.row_bytes, data.texts.shards.row_bytes
    with (
        (root / "table.csv").open("w") as table,
        (folders[0] / "a.jsonl").open("w") as names,
        (folders[1] / "a.jsonl").open("w") as clips,
        (folders[2] / "a.jsonl").open("w") as texts,
    ):
        table.write("path,text\n")
        for number in range(films):
            name, caption = f"{number // 1000:04d}/{number:07d}.mp4", f"A caption of some words, number {number}"
            key = hashlib.sha256(name.encode()).hexdigest()[:32]
            table.write(f'{name},"{caption}"\n')
            known = {"path": f"{root}/{name}", "when": 1.0, "size": 1_000_000, "changed": number, "key": key}
            names.write(json.dumps(known) + "\n")
            for index, kept, size, rows in ((clips, key, sizes[0], FRAMES), (texts, text_key(caption), sizes[1], 1)):
                at = 1024 + number * (1024 + size)
                index.write(json.dumps({"key": kept, "at": at, "rows": rows, "bytes": size}) + "\n")
    for folder, size in zip(folders[1:], sizes, strict=True):
        with (folder / "a.tar").open("wb") as tar:
            tar.truncate(1024 + films * (1024 + size))


def start(root: Path, cache: Path) -> dict[str, float]:
    """Seconds, CPU seconds and GiB of a start up to its first batch, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_start, root, cache).result()


def _start(root: Path, cache: Path) -> dict[str, float]:
    torch.set_num_threads(1)
    found, before = {"GiB before": peak_resident_gib()}, time.perf_counter()

    def passed(what: str) -> None:
        found[f"{what}, s so far"], found[f"{what}, GiB so far"] = time.perf_counter() - before, peak_resident_gib()

    data = data_of(root, cache, table="table.csv")
    data.prepare_data()
    passed("listed and looked for what is missing")
    data.setup("fit")
    passed("set up")
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, global_rank=0, world_size=1)  # type: ignore
    batch = next(iter(data.train_dataloader()))
    assert batch.video.shape[0] == data.batch_size
    passed("first batch")
    return {**found, "CPU s": time.process_time(), "clips": float(len(data.clips["train"]))}


def main() -> None:
    """Prints the figures and writes results/million.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root, cache = Path(name, "films"), Path(name, "cache")
        make_up(root, cache, options.films)
        found = {"films": float(options.films), **start(root, cache)}
    for what, value in found.items():
        sys.stdout.write(f"{what:52s} {value:12.2f}\n")
    result = {key: round(value, 2) for key, value in found.items()}
    (Path(__file__).parent / "results" / "million.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
