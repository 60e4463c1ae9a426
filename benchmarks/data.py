"""The cache step and the loader beside what they cannot do without: `python benchmarks/data.py`, three minutes.

One run: CPU seconds of bare decoding and the bare codec on the same films, then of the cache step; seconds of one
process and of two that share the work, which needs two idle cores; peak memory on a film and on one ten times as long;
how long a training of 200 ms a step waits for its batches, from this machine's disk and from a server that answers
after 50 ms.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import peak_resident_gib, settle

settle()

import torch

from datamodules.caching.portions import Portion
from datamodules.video_datamodule import VideoDataModule
from longtake.video import stream_frames, write_video
from networks.codecs.causal import CausalVideoAutoencoder
from networks.saving import load_pretrained
from networks.text import NullText

SIDE, LATENCY, STEP, STEPS = 64, 0.05, 0.2, 40


def codec_of() -> CausalVideoAutoencoder:
    """The shipped codec."""
    return load_pretrained(folder="weights/codec_freedoom_64", channels=16).eval()


def data_of(root: Path, cache: str | Path, **changes: Any) -> VideoDataModule:
    """The default settings for a folder of films, with changes."""
    settings: dict[str, Any] = {
        "codec": codec_of(), "text_encoder": NullText(), "global_batch_size": 8, "batch_size": 8, "seed": 0,
        "make": None, "root": str(root), "table": None, "height": SIDE, "width": SIDE, "fps": 8.75,
        "frame_stride": None, "num_frames": [37, 77, 157], "hop_frames": 80, "cut_frames": None, "crop": "centre",
        "pixels": False, "cache_dir": str(cache), "cache_dtype": "float16", "validation_share": 0.1,
        "num_validation_clips": 4, "num_workers": 0, "short_caption_share": 0.0,
    }  # fmt: skip
    return VideoDataModule(**{**settings, **changes})


def make_films(root: Path, count: int, frames: int) -> None:
    """Films of noise that moves."""
    for number in range(count):
        wall = torch.rand(3, 8, 16, generator=torch.Generator().manual_seed(number)) * 2 - 1
        wall = wall.repeat_interleave(8, 1).repeat_interleave(8, 2)
        pieces = (wall.roll(f, 2)[:, None, :, :SIDE] for f in range(frames))
        write_video(root / f"{number}.mp4", pieces, fps=8.75)


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def bare(root: Path) -> float:
    """Decoding all films and encoding them, with nothing else."""
    codec, films = codec_of(), []

    def decode() -> None:
        films.extend(list(stream_frames(path, height=SIDE, width=SIDE, fps=8.75)) for path in root.glob("*.mp4"))

    decoding = spent(decode)
    videos = [torch.cat([torch.from_numpy(block) for block in film]) for film in films]

    @torch.inference_mode()
    def encode() -> None:
        for video in videos:
            whole = video[: (len(video) - 1) // 4 * 4 + 1].permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            pieces = itertools.chain([whole[:, :, :161]], whole[:, :, 161:].split(160, dim=2))
            list(codec.encode_stream(piece for piece in pieces if piece.shape[2]))

    return decoding + spent(encode)


def fill(root: Path, cache: Path, portion: Portion) -> None:
    """One process's work, on one thread."""
    torch.set_num_threads(1)
    data_of(root, cache).fill(portion)


def in_processes(root: Path, cache: Path, world: int) -> float:
    """Seconds where `world` processes share the work, from when all of them have loaded their libraries."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(world + 1)
    all_of_them = [
        context.Process(target=_filled, args=(root, cache, Portion(rank, world), ready)) for rank in range(world)
    ]
    for process in all_of_them:
        process.start()
    ready.wait()
    begun = time.perf_counter()
    ready.wait()
    return time.perf_counter() - begun


def _filled(root: Path, cache: Path, portion: Portion, ready: Any) -> None:
    ready.wait()
    fill(root, cache, portion)
    ready.wait()


def peak(root: Path, cache: Path) -> float:
    """MiB that a process of its own needs at most."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peaked, args=(root, cache, queue))
    process.start()
    most = queue.get()
    process.join()
    return float(most)


def _peaked(root: Path, cache: Path, queue: Any) -> None:
    fill(root, cache, Portion())
    queue.put(1024 * peak_resident_gib())


def waited(root: Path, cache: str | Path) -> float:
    """The share of a training's time that it waits for batches; a step is sleep, as on a GPU."""
    data = data_of(root, cache)
    data.prepare_data()
    data.setup("fit")
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, global_rank=0, world_size=1)  # type: ignore
    batches, waits = iter(data.train_dataloader()), 0.0
    next(batches)
    begun = time.perf_counter()
    for _ in range(STEPS):
        asked = time.perf_counter()
        next(batches)
        waits += time.perf_counter() - asked
        time.sleep(STEP)
    return waits / (time.perf_counter() - begun)


class Slow(SimpleHTTPRequestHandler):
    """Answers after a while, and with ranges, as object stores do."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and content in one packet
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """A file, or a part of one."""
        time.sleep(LATENCY)
        asked, path = self.headers.get("Range"), Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            super().do_GET()
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        with path.open("rb") as file:
            file.seek(int(first))
            content = file.read(int(last) + 1 - int(first) if last else -1)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Takes many connections at once, as object stores do."""

    request_queue_size = 256


def waited_for_a_server(place: Path) -> float:
    """The same from a server, which is a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    server = context.Process(target=_serve, args=(place / "cache", queue), daemon=True)
    server.start()
    try:
        return waited(place / "films", f"http://127.0.0.1:{queue.get()}")
    finally:
        server.terminate()


def _serve(folder: Path, queue: Any) -> None:
    server = Server(("127.0.0.1", 0), functools.partial(Slow, directory=str(folder)))
    queue.put(server.server_port)
    server.serve_forever()


def main() -> None:
    """Prints the ratios and writes results/data.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=32)
    parser.add_argument("--frames", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for folder, count, frames in (("films", options.films, options.frames), ("short", 1, 600), ("long", 1, 6000)):
            make_films(place / folder, count, frames)
        fill(place / "short", place / "warm", Portion())
        needed = bare(place / "films")
        step = spent(lambda: fill(place / "films", place / "cache", Portion()))
        found |= {"bare decode and codec, CPU s": needed, "cache step, CPU s": step}
        found["bare over cache step"] = needed / step
        alone, together = (in_processes(place / "films", place / f"of {n}", n) for n in (1, 2))
        found |= {"1 process, s": alone, "2 processes, s": together, "1 process over 2": alone / together}
        found["600 frames, MiB"] = peak(place / "short", place / "a")
        found["6000 frames, MiB"] = peak(place / "long", place / "b")
        found["waits, disk"] = waited(place / "films", place / "cache")
        found["waits, server of 50 ms"] = waited_for_a_server(place)
    for what, value in found.items():
        sys.stdout.write(f"{what:32s} {value:8.3f}\n")
    result = {key: round(value, 3) for key, value in found.items()}
    (Path(__file__).parent / "results" / "data.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
