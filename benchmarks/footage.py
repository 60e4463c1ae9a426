"""Large and interrupted work, shown: `python benchmarks/footage.py`, six minutes of two cores; or only some parts.

- `long`: ten minutes of film at 480 x 832 and 16 a second, read whole and cached as pixels at two a second: the memory
  that a process of its own needs at most, its seconds, and the memory for one minute.
- `ray`: a folder of 1,000 short films on two local Ray workers: seconds, films by each worker, and whether each film
  was made once (`pip install -e ".[ray]"`).
- `killed`: a cache whose process is killed in the middle, then made on: whether it is equal, bit for bit, to one that
  nobody killed, and how many films were kept.

Writes what was measured into results/footage.json.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import peak_resident_gib, settle

settle()

import av
import numpy as np
import torch

from benchmarks.data import data_of, make_films
from datamodules.caching.portions import Portion

Found = dict[str, float | bool | list[int]]
HEIGHT, WIDTH, FPS, MINUTES = 480, 832, 16, 10


def make_long(path: Path, minutes: int) -> None:
    """One minute is coded; its packets are written as often as is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path.with_suffix(".part.mp4")), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "28", "g": str(60 * FPS), "bf": "0"}
        wall = np.random.default_rng(0).integers(0, 255, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
        wall = wall.repeat(16, 0).repeat(16, 1)
        for number in range(60 * FPS):
            picture = np.ascontiguousarray(np.roll(wall, number, 1))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    with av.open(str(path.with_suffix(".part.mp4"))) as source, av.open(str(path), "w") as film:
        video = source.streams.video[0]
        stream, step = film.add_stream_from_template(video), round(60 / (video.time_base or 1))
        packets = [packet for packet in source.demux(video) if packet.dts is not None]
        for number in range(minutes):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = (packet.pts or 0) + number * step, (packet.dts or 0) + number * step
                again.duration, again.time_base, again.stream = packet.duration, video.time_base, stream
                again.is_keyframe = packet.is_keyframe
                film.mux(again)
    path.with_suffix(".part.mp4").unlink()


def _filled(root: Path, cache: Path) -> Found:
    torch.set_num_threads(1)
    begun = time.perf_counter()
    data = data_of(root, cache, pixels=True, cache_dtype="uint8", height=HEIGHT, width=WIDTH, fps=2.0)
    data.fill(Portion())
    frames = sum(data.cache.films.length(number) for number in range(len(data.cache.films)))
    return {
        "frames": frames,
        "seconds": time.perf_counter() - begun,
        "CPU s": time.process_time(),
        "peak, MiB": 1024 * peak_resident_gib(),
    }


def alone(work: Callable[[], Found]) -> Found:
    """What work gives, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def long(place: Path) -> Found:
    """One minute beside ten."""
    found: Found = {}
    for minutes in (1, MINUTES):
        make_long(place / f"{minutes}" / "film.mp4", minutes)
        told = alone(partial(_filled, place / f"{minutes}", place / f"cache {minutes}"))
        found |= {f"{minutes} min: {what}": value for what, value in told.items()}
    return found


def ray(place: Path) -> Found:
    """Films of nine frames, of 64 x 64."""
    from datamodules.caching.ray_engine import cache_on_ray

    make_films(place / "films", 1000, 9)
    build = partial(data_of, place / "films", place / "cache", num_frames=[5], hop_frames=4)
    begun = time.perf_counter()
    cache_on_ray(build, address=None, workers=2, cpus_per_worker=1, gpus_per_worker=0)
    seconds, cache = time.perf_counter() - begun, build().cache
    keys = [json.loads(line)["key"] for path in cache.folder.glob("*.jsonl") for line in path.open()]
    return {
        "seconds": seconds,
        "films by each worker": sorted(len(path.read_text().splitlines()) for path in cache.folder.glob("*.jsonl")),
        "films": len(set(keys)),
        "each once": len(keys) == len(set(keys)),
    }


def _fill(root: Path, cache: Path) -> None:
    torch.set_num_threads(1)
    data_of(root, cache).fill(Portion())


def killed(place: Path) -> Found:
    """Killed as soon as a third of the films are there."""
    make_films(place / "films", 12, 200)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_fill, args=(place / "films", place / "killed"))
    process.start()
    cache = data_of(place / "films", place / "killed").cache
    while process.is_alive() and len(cache.films) < 4:
        time.sleep(0.02)
        cache.refresh()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    cache.refresh()
    kept = len(cache.films)
    for name in ("killed", "whole"):
        _fill(place / "films", place / name)
    one, other = (data_of(place / "films", place / name) for name in ("killed", "whole"))
    for each in (one, other):
        each.cache.refresh()
    pairs = zip(one.cache.clips(one.listed()), other.cache.clips(other.listed()), strict=True)
    equal = all(
        torch.equal(one.cache.films.read(mine.film), other.cache.films.read(theirs.film)) for mine, theirs in pairs
    )
    return {"films": len(other.cache.films), "kept when it was killed": kept, "equal to one that was not": equal}


PARTS: dict[str, Callable[[Path], Found]] = {"long": long, "ray": ray, "killed": killed}


def main() -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    asked = parser.parse_args().parts or list(PARTS)
    path = Path(__file__).parent / "results" / "footage.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    for part in asked:
        with tempfile.TemporaryDirectory() as name:
            found = PARTS[part](Path(name))
        result[part] = {what: round(value, 1) if isinstance(value, float) else value for what, value in found.items()}
        sys.stdout.write(f"{part}: {json.dumps(result[part])}\n")
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
