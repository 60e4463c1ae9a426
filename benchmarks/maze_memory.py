"""What memory is worth on mazes: the way back, made from the window alone, from full context, from memory at each rate.

    python benchmarks/maze_memory.py weights=runs/lovic_mazes/…

Of every walk through a test maze the first half is known and the second half is made, segment by segment, from its
poses. Retrieval: the walk goes back the same way (kind backtrack), so all that comes has been seen. Reasoning: the walk
goes on (kind explore). Rows:
- codec: the real latents, decoded: no weights can do better;
- window: the two latent frames before a segment, without memory;
- full context: every segment known so far, one token for every patch (rate 1);
- rate R: the same, compressed;
- controls at rate 1, which must not rise above the window: the memory of another maze; the walk's own memory in another
  order, so that what is remembered stands at wrong places; the memory of another walk in the same maze.
Closed: the share of the span from window to full context.
Other keys: split, walks, rates, steps, guidance, output; the rest are overrides of train.py for the videos.
Writes benchmarks/results/maze_memory.json, .md and .png.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import csv

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.report import Sheet
from benchmarks.trained import cell, decode, interval, label, publish, read_request, real_pixels, rows_of, segment_data
from datamodules.clips import Clip
from longtake.cli.user_errors import explain
from longtake.generation import window_generator
from longtake.releases.reading import load_run
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from networks.interfaces import Condition, SegmentBatch

OWN = {
    "split": "test",
    "walks": "24",
    "rates": "4,8,16,32",
    "steps": "20",
    "output": str(Path(__file__).parent / "results"),
}
TASKS = {"retrieval": "backtrack", "reasoning": "explore"}
WINDOW, FULL, CODEC = "window", "full context", "codec"
SLOTS = 8
Variant = tuple[str, str, float]  # name, whose memory, rate


def variants(rates: Sequence[float]) -> list[Variant]:
    """What is compared."""
    found = [(WINDOW, "none", 1.0), (FULL, "own", 1.0), *((f"rate {rate:g}", "own", rate) for rate in rates)]
    return [*found, *((f"control: {kind}", kind, 1.0) for kind in ("another maze", "shuffled", "another walk"))]


def past_of(batch: SegmentBatch, slots: Sequence[int]) -> list[PastSegment]:
    """Segments of rows as what is remembered."""
    return [
        PastSegment(
            batch.video[:, slot],
            batch.text[:, slot],
            batch.text_mask[:, slot],
            {name: values[:, slot] for name, values in batch.per_frame.items()},
        )
        for slot in slots
    ]


def remembered(kind: str, known: list[PastSegment], others: SegmentBatch) -> list[PastSegment]:
    """The memory of a variant; known: the walk's own segments so far."""
    if kind == "none":
        return []
    if kind == "own":
        return known
    if kind == "shuffled":
        return [each._replace(video=other.video) for each, other in zip(known, [*known[1:], known[0]], strict=True)]
    if kind == "another maze":
        far = len(known[0].video) // 2
        turned = [[x.roll(far, dims=0) for x in (each.video, *each.per_frame.values())] for each in known]
        return [
            each._replace(video=video, per_frame=dict(zip(each.per_frame, rest, strict=True)))
            for each, (video, *rest) in zip(known, turned, strict=True)
        ]
    return past_of(others, range(SLOTS // 2))


@torch.inference_mode()
def make(module: Any, batch: SegmentBatch, others: SegmentBatch, variant: Variant, window_frames: int) -> Tensor:
    """The second half of rows, from the first: latents b c f h w."""
    _, kind, ratio = variant
    generate = window_generator(module, module.network, lambda without: without(), None, None)
    known = past_of(batch, range(SLOTS // 2))
    frames = batch.video.shape[3]
    for slot in range(SLOTS // 2, SLOTS):
        begin, end = slot * frames, (slot + 1) * frames
        past = remembered(kind, known, others)
        plan = CanvasPlan(
            consecutive(begin - window_frames, end + window_frames),
            known=consecutive(0, window_frames),
            empty=consecutive(window_frames + frames, 2 * window_frames + frames),  # as in training
            remembered=tuple(RememberedSegment(place * frames, frames, ratio) for place in range(len(past))),
        )
        whole = {name: values.flatten(1, 2) for name, values in batch.per_frame.items()}
        index = torch.arange(SLOTS * frames).expand(len(batch.video), -1)
        condition = Condition(index, batch.text[:, slot], batch.text_mask[:, slot], per_frame=whole)
        noise = torch.randn(batch.video[:, slot].shape, generator=torch.Generator().manual_seed(slot))
        before = known[-1].video[:, :, frames - window_frames :]
        opened = open_canvas(plan, noise=noise, condition=condition, known=before, past=past)
        made = denoise(generate, opened, plan)
        known.append(past_of(batch, [slot])[0]._replace(video=made))
    return torch.cat([each.video for each in known[SLOTS // 2 :]], dim=2)


def kinds_of(root: Path) -> dict[str, str]:
    """Kind of every walk, by its video's name."""
    with (root / "table.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).stem: row["kind"] for row in csv.DictReader(file)}


def chosen(clips: Sequence[Clip], kinds: dict[str, str], kind: str, count: int) -> list[tuple[Clip, Clip]]:
    """Walks of a kind, one a maze, each with another walk of its maze."""
    by_maze: dict[str, list[Clip]] = {}
    for clip in clips:
        by_maze.setdefault(clip.entry.path.parent.name, []).append(clip)
    pairs = []
    for maze in by_maze.values():
        for clip in maze:
            rest = [other for other in maze if other is not clip]
            if kinds[clip.entry.path.stem] == kind and rest:
                pairs.append((clip, rest[0]))
                break
    return pairs[:count]


def per_frame_psnr(made: Tensor, real: Tensor) -> Tensor:
    """b f of videos b 3 f h w in [-1, 1]."""
    return 10 * torch.log10(4 / (made - real).square().mean(dim=(1, 3, 4)).clamp_min(1e-8))


def sheet_of(rows: dict[str, Tensor], walk: int, every: int) -> np.ndarray[Any, Any]:
    """Frames of one walk, one line a variant."""
    lines = []
    for frames in rows.values():
        strip = torch.cat(list(frames[walk, :, ::every].unbind(1)), dim=2)
        lines.append(((strip.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy())
    return np.concatenate(lines)


def measure(module: Any, data: Any, task: str, options: dict[str, str], window_frames: int) -> dict[str, Any]:
    """PSNR of every variant of one task: per walk, and per frame."""
    kinds = kinds_of(data.root)
    pairs = chosen(data.clips[options["split"]], kinds, TASKS[task], int(options["walks"]))
    if not pairs:
        raise ValueError(f"split={options['split']} has no walk of the kind {TASKS[task]}: render more mazes")
    batch = rows_of(data, [clip for clip, _ in pairs], SLOTS, 0.0)
    others = rows_of(data, [other for _, other in pairs], SLOTS, 0.0)
    latents = batch.video.permute(0, 2, 1, 3, 4, 5).flatten(2, 3)  # b c f h w
    half = latents.shape[2] // 2
    first = 4 * (half - 1) + 1  # pixel frames of the first half
    real = torch.stack([real_pixels(data, clip)[:, first : 4 * (2 * half - 1) + 1] for clip, _ in pairs])
    shown = {"real": real}
    found: dict[str, Any] = {"mazes": [clip.entry.path.parent.name for clip, _ in pairs], "rows": {}}
    made_of: list[tuple[str, Callable[[], Tensor]]] = [(CODEC, lambda: latents[:, :, half:])]
    for variant in variants([float(rate) for rate in options["rates"].split(",")]):
        made_of.append((variant[0], lambda v=variant: make(module, batch, others, v, window_frames)))  # type: ignore[misc]
    for name, maker in made_of:
        whole = torch.cat([latents[:, :, :half], maker()], dim=2)
        pixels = decode(data.codec, whole)[:, :, first:]
        values = per_frame_psnr(pixels, real)
        found["rows"][name] = {"psnr": values.mean(dim=1).tolist(), "curve": values.mean(dim=0).tolist()}
        shown[name] = pixels
        print(f"{task} {name}: {values.mean():.2f} dB", flush=True)
    found["sheet"] = np.concatenate([sheet_of(shown, walk, 8) for walk in range(min(2, len(pairs)))])
    return found


def table(task: str, found: dict[str, Any]) -> Sheet:
    """Mean PSNR with its interval over mazes, by frames since the turn, and the share of the span that is closed."""
    rows = []
    low, high = (float(np.mean(found["rows"][name]["psnr"])) for name in (WINDOW, FULL))
    for name, row in found["rows"].items():
        curve = row["curve"]
        closed = (float(np.mean(row["psnr"])) - low) / (high - low) if high > low else float("nan")
        parts = [f"{np.mean(curve[a:b]):.2f}" for a, b in ((0, 20), (20, 60), (60, len(curve)))]
        rows.append([name, cell(interval(row["psnr"], found["mazes"]), 2), *parts, f"{closed:.0%}"])
    columns = ("", "PSNR in dB", "frames 1-20", "21-60", "61 on", "span closed")
    notes = ["Intervals are over mazes, 95 %. Span: from window to full context."]
    return Sheet(f"{task}, {len(found['mazes'])} unseen mazes", notes, columns, rows)


def main(arguments: Sequence[str]) -> None:
    """Runs one request."""
    request = read_request(arguments, OWN)
    (weights,) = request.weights
    config, loaded = load_run(weights)
    module: Any = loaded
    module.eval()
    module.sampler.num_inference_steps = int(request.options["steps"])
    data = segment_data(config, ["experiment=lovic_mazes", "datamodule=mazes_segments", *request.overrides])
    results: dict[str, Any] = {"request": {"weights": label(weights, config), "options": dict(request.options)}}
    sheets, pictures = [], []
    for task in TASKS:
        found = measure(module, data, task, request.options, module.tasks.window_frames)
        pictures.append(found.pop("sheet"))
        results[task] = found
        sheets.append(table(task, found))
    output = Path(request.options["output"])
    output.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(output / "maze_memory.png"), cv2.cvtColor(np.concatenate(pictures), cv2.COLOR_RGB2BGR))
    publish("maze_memory", results, sheets, output)


if __name__ == "__main__":
    with explain():
        main(sys.argv[1:])
