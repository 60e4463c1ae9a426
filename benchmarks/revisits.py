"""Where a walk comes back to what it has seen, read off its poses, and what a network makes of it.

Axes: b walks, s slots of a row, c channels, f frames, h height, w width (latents).
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.trained import decode, frames_of_latents, num_slots, psnr, real_pixels, rows_of
from datamodules.clips import Clip
from datamodules.segments import SegmentDataModule
from lightning_modules.memory import MemoryModule
from lightning_modules.tasks import Choice, SegmentTask, build_task
from longtake.generation import window_generator
from longtake.releases.building import build
from longtake.rollouts.interfaces import Given
from longtake.samplers.guidance import Guidance
from networks.interfaces import Condition

Record = dict[str, Any]


class Near(NamedTuple):
    """What counts as the same view: at most so many map units apart, and so many degrees."""

    distance: float
    angle: float


class Target(NamedTuple):
    """A segment of one walk to be generated, and what is known: choice; last_seen: of each of its frames, or -1."""

    choice: Choice
    last_seen: list[int]
    first: int


def read_poses(video: Path) -> Tensor:
    """x, y and angle of every frame of a rendered walk, f 3; poses lie beside `videos`, under `poses`.

    Raises:
        ValueError: if the video has no poses.
    """
    path = video.parents[2] / "poses" / video.parent.name / f"{video.stem}.csv.gz"
    if not path.is_file():
        raise ValueError(f"{video} has no poses in {path}: revisits are read off walks that render_corpus has made")
    with gzip.open(path, "rt", newline="") as file:
        rows = [[float(row[key]) for key in ("x", "y", "angle")] for row in csv.DictReader(file)]
    return torch.tensor(rows, dtype=torch.float64)


def views_alike(poses: Tensor, near: Near) -> Tensor:
    """Which frames show the same view: f f."""
    apart = torch.cdist(poses[:, :2], poses[:, :2])
    turned = (poses[:, None, 2] - poses[None, :, 2] + 180) % 360 - 180
    return (apart <= near.distance) & (turned.abs() <= near.angle)


def last_seen(alike: Tensor, frames: range, known: Sequence[range]) -> list[int]:
    """For each frame the latest known earlier frame of the same view, or -1; alike: f f."""
    may = torch.zeros(len(alike), dtype=torch.bool)
    for part in known:
        may[part.start : part.stop] = True
    may[frames.start :] = False
    place = torch.where(alike[frames.start : frames.stop] & may, torch.arange(len(alike)), -1)
    return place.max(dim=1).values.tolist()


def choose_target(
    alike: Tensor, slots: int, segment_frames: int, time_factor: int, *, least_age: int, most: int, ends: bool
) -> Target:
    """The segment of a walk that shows most of what was last seen at least `least_age` frames before it.

    Known are the segments that adjoin it (with `ends` the one after it, too) and, up to `most`, the earlier ones that
    hold what it returns to, then the nearest.
    """
    spans = [frames_of_latents(k * segment_frames, (k + 1) * segment_frames, time_factor) for k in range(slots)]

    def ages(target: int, seen: list[int]) -> list[int]:
        return [frame - s for frame, s in zip(spans[target], seen, strict=True) if s >= 0]

    whole = {k: last_seen(alike, spans[k], spans[:k]) for k in range(1, slots - ends)}
    target = max(whole, key=lambda k: (sum(age >= least_age for age in ages(k, whole[k])), -k))
    held = {k: sum(seen in spans[k] for seen in whole[target]) for k in range(target - 1)}
    others = sorted(held, key=lambda k: (-held[k], target - k))[: most - 1 - ends]
    known = sorted([*others, target - 1, *([target + 1] if ends else [])])
    seen = last_seen(alike, spans[target], [spans[k] for k in known])
    return Target(Choice(target, known), seen, spans[target].start)


@torch.no_grad()
def generate_target(
    module: MemoryModule, guidance: Guidance, task: SegmentTask, noise: Tensor, *, level: float, rate: float | None
) -> Tensor:
    """The task's own latents b c f h w; rate: of the memory, or None to withhold it; noise: b c f h w of the canvas."""
    torch.manual_seed(0)  # of the noise on the memory
    levels = torch.full((len(noise),), level)
    condition: Condition = module.condition(task, levels, 1.0 if rate is None else rate)
    if rate is None:
        condition = condition._replace(context=())
    network: Any = module.network
    known = task.frame_mask & ~task.own
    given = Given(known, task.video) if bool(known.any()) else None
    made = window_generator(module, network, guidance, None, None)(noise, condition, given)
    return made[:, :, task.own]


def choose_revisits(
    data: SegmentDataModule, clips: Sequence[Clip], options: dict[str, str], *, most: int, ends: bool
) -> list[tuple[Clip, Target]]:
    """The walks that return most, and of each the segment to generate."""
    near, least = Near(float(options["distance"]), float(options["angle"])), int(options["least_age"])
    slots, frames = num_slots(data, clips[0]), data.rule.segment_frames
    found = []
    for clip in clips:
        alike = views_alike(read_poses(clip.entry.path)[: clip.num_frames], near)
        factor = data.codec.time_factor
        found.append((clip, choose_target(alike, slots, frames, factor, least_age=least, most=most, ends=ends)))
    old = [sum(0 <= s <= t.first + i - least for i, s in enumerate(t.last_seen)) for _, t in found]
    order = sorted(range(len(found)), key=lambda i: -old[i])[: int(options["walks"])]
    return [found[i] for i in order]


def measure_revisits(
    module: MemoryModule,
    config: Any,
    data: SegmentDataModule,
    clips: Sequence[Clip],
    options: dict[str, str],
    ends: bool,
) -> list[Record]:
    """A record for each frame of the generated segments: its walk, age, and PSNR of each way, over seeds."""
    chosen = choose_revisits(data, clips, options, most=config["rollout"]["max_context"], ends=ends)
    slots, frames = num_slots(data, clips[0]), data.rule.segment_frames
    batch = rows_of(data, [clip for clip, _ in chosen], slots, 0.0)
    most = config["rollout"]["max_context"]
    task = build_task(batch, [t.choice for _, t in chosen], most, module.tasks.window_frames)
    guidance, level = build(config["guidance"]), config["rollout"]["memory_level"]
    made: dict[str, list[Tensor]] = {"memory": [], "window only": []}
    for seed in range(int(options["seeds"])):
        noise = torch.randn(task.video.shape, generator=torch.Generator().manual_seed(seed))
        for way, rate in (("memory", float(options["rate"])), ("window only", None)):
            made[way].append(generate_target(module, guidance, task, noise, level=level, rate=rate))
    records = []
    for row, (clip, target) in enumerate(chosen):
        real, first = real_pixels(data, clip), target.choice.target * frames
        past = batch.video[row, : target.choice.target].transpose(0, 1).flatten(1, 2)
        span = frames_of_latents(first, first + frames, data.codec.time_factor)
        shown = real[:, span.start : span.stop].transpose(0, 1)

        def scored(own: Tensor, past: Tensor = past, span: range = span, shown: Tensor = shown) -> list[float]:
            pixels = decode(data.codec, torch.cat([past, own], dim=1).unsqueeze(0))[0]
            return psnr(pixels[:, span.start : span.stop].transpose(0, 1), shown)

        values = {
            way: torch.tensor([scored(each[row]) for each in some]).mean(0).tolist() for way, some in made.items()
        }
        values["codec"] = scored(batch.video[row, target.choice.target])
        values["last frame held"] = psnr(real[:, span.start - 1 : span.start].transpose(0, 1).expand_as(shown), shown)
        earlier = psnr(real[:, [max(s, 0) for s in target.last_seen]].transpose(0, 1), shown)
        for number, seen in enumerate(target.last_seen):
            record: Record = {
                "walk": clip.entry.path.stem,
                "frame": span[number],
                "age": span[number] - seen if seen >= 0 else 0,
            }
            record.update({way: values[way][number] for way in values})
            records.append({**record, "earlier frame": earlier[number] if seen >= 0 else float("nan")})
    return records
