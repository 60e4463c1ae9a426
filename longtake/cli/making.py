"""Videos of prompts: a take and an order become mp4 files and their manifest. No config is read here."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import Progress

from longtake.cli.manifests import Manifest, Wanted
from longtake.cli.weights import Take
from longtake.generation import part_of
from longtake.parallel import Mesh, shared_out
from longtake.process import peak_resident_gib
from longtake.rollouts.plan import chunk_boundaries
from longtake.rollouts.window_cache import WindowCache
from networks.files import remove_unfinished

log = logging.getLogger("longtake")


class Order(NamedTuple):
    """What is to be made of a take.

    output: folder of the videos.
    wanted: file, prompt and seed of each video.
    told: settings of the call that every line of the manifest repeats.
    weights: name of the weights in the manifest, without the folders of this machine.
    """

    output: Path
    wanted: tuple[Wanted, ...]
    told: Mapping[str, Any]
    weights: str


def make(
    take: Take,
    order: Order,
    write_video: Callable[..., None],
    mesh: Mesh,
    on_step: Callable[[], None] | None = None,
) -> list[Path]:
    """Samples every video of the order that is not there, and writes output/*.mp4 and output/manifest.jsonl.

    Args:
        take: loaded weights with their settings, shared out over the mesh.
        order: what to make of them.
        write_video: writes a file.
        mesh: this process's place among several, whose teams share the videos out.
        on_step: called after every denoising step.

    Returns:
        The files, of all processes.
    """
    manifest = Manifest(order.output, order.wanted, take.settings)
    finished = mesh.world.agree(lambda: _begin(order, manifest))
    if finished:
        log.info(f"{len(finished)} of {len(order.wanted)} video(s) are in {order.output} already")
    missing = [each for each in order.wanted if each[0] not in finished]
    one_team = mesh.team.size == mesh.world.size
    own, common = dict(finished) if one_team else {}, _common_line(take, order)
    with Progress(disable=mesh.world.rank > 0) as progress:
        for each in shared_out(mesh, missing):
            began = time.perf_counter()
            bar = progress.add_task(f"video {order.wanted.index(each) + 1} of {len(order.wanted)}", total=None)
            windows = _make_one(take, order, each, write_video, mesh, _stepping(progress, bar, on_step))
            if mesh.team.rank:
                continue
            progress.update(bar, total=1, completed=1)
            own[each[0]] = _line(each, common, take, time.perf_counter() - began)
            manifest.write(own, None if one_team else mesh.world.rank)
            windows.forget()
    mesh.world.wait()
    if not one_team and mesh.world.rank == 0:
        manifest.join()
    log.info(_said(order, take.num_frames, take.fps))
    return [order.output / name for name, *_ in order.wanted]


def _said(order: Order, num_frames: int, fps: float) -> str:
    """What a finished call made, and where it lies."""
    length = f"{num_frames} frames ({num_frames / fps:.1f} s)"
    if len(order.wanted) > 1:
        return (
            f"{len(order.wanted)} videos of {length} are in {order.output}; manifest.jsonl has their prompts and seeds"
        )
    name, prompt, seed = order.wanted[0]
    return f"{order.output / name}: {length}, seed {seed}: {prompt or 'no prompt'}"


def _begin(order: Order, manifest: Manifest) -> dict[str, Any]:
    """Lines of the videos that are there; what a kill left half-written is removed."""
    order.output.mkdir(parents=True, exist_ok=True)
    remove_unfinished(order.output)
    return manifest.join()


def _stepping(progress: Progress, bar: Any, on_step: Callable[[], None] | None) -> Callable[..., None]:
    def stepped(*_: Any) -> None:
        progress.advance(bar)
        if on_step is not None:
            on_step()

    return stepped


def _make_one(
    take: Take,
    order: Order,
    wanted: Wanted,
    write_video: Callable[..., None],
    mesh: Mesh,
    stepped: Callable[..., None],
) -> WindowCache:
    """One video, which the first process of its team writes; its finished windows, which may go once it is noted."""
    name, prompt, seed = wanted
    windows = WindowCache(order.output / "windows" / take.fingerprint(take.settings, prompt, seed), mesh.team)
    latents = take.latents(prompt, seed, stepped, windows)
    if mesh.team.rank == 0:
        write_video(order.output / name, take.frames(latents), fps=take.fps)
    return windows


def _common_line(take: Take, order: Order) -> dict[str, Any]:
    """What every video's line of the manifest says."""
    factor = take.codec.time_factor
    chunk = part_of(take.network, take.rollout).chunk_frames
    starts = chunk_boundaries(take.rollout.plan(take.num_latents), chunk)
    sampler: Any = take.module.sampler
    return {
        "rollout": take.rollout_config,
        **order.told,
        "num_inference_steps": sampler.num_inference_steps,
        "guidance_scales": take.guidance.scales,
        "fps": take.fps,
        "num_frames": take.num_frames,
        "boundaries": [1 + (start - 1) * factor for start in starts],
        "weights": order.weights,
        "weights_hash": take.hash,
        "matmul_precision": take.matmul_precision,
        **take.running.changes,
        "settings": take.settings,
    }


def _line(wanted: Wanted, common: Mapping[str, Any], take: Take, seconds: float) -> dict[str, Any]:
    name, prompt, seed = wanted
    peak = torch.cuda.max_memory_allocated() / 2**30 if take.device.type == "cuda" else peak_resident_gib()
    measured = {"seconds": round(seconds, 2), "peak_gib": round(peak, 3)}
    return {"file": name, "prompt": prompt, "seed": seed, **common, **measured}
