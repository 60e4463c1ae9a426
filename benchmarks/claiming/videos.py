"""Videos of one method and seed: made unless they are there, then scored. A row a video, for paired differences."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from benchmarks import ROOT
from benchmarks.claiming.methods import compose_here
from benchmarks.setups import TIME_FACTOR, compose_config
from datamodules.splits import share_out
from datamodules.tables import Entry, read_entries
from longtake.cli.request import requested
from longtake.cli.take import make_videos
from longtake.metrics.frechet import FrechetFrameDistance
from longtake.reports.beside import Beside, read_manifest
from longtake.reports.report_card import score_folder
from longtake.reports.scorer import Scorer
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.plan import chunk_boundaries
from longtake.video import read_frames, write_video

log = logging.getLogger("longtake")

ROWS = (
    "subject_consistency", "background_consistency", "motion_smoothness", "temporal_flicker", "motion_magnitude",
    "dynamic_degree", "mawe", "sharpness", "scene_cuts", "feature_drift", "colour_drift", "seam", "prompt_colour",
)  # fmt: skip
"""Of the report card: what needs nothing but a video, its prompt and where its pieces meet."""
SEED_STRIDE = 1000
"""Distance of the seeds of noise: video n of seed s is made from noise 1000 s + n."""
FRAMES, FRAME_STEP = "frames", 3
"""Name of the features of frames, and the distance of those frames."""
CHUNK = 10
"""Latent frames between the places at which real walks are looked at for seams: a chunk of the shipped VIN."""
Video = dict[str, Any]


class Walk(NamedTuple):
    """A real video of the split, and the group (level) that it is drawn with.

    other: a further walk of the same level; None where there is none.
    """

    entry: Entry
    group: str
    other: Entry | None = None


class Change(NamedTuple):
    """What is done to walks before they are written; name: "" for nothing."""

    name: str
    apply: Callable[[Tensor], Tensor]


AS_IS = Change("", lambda video: video)


def choose_walks(split: str, count: int, overrides: Sequence[str]) -> list[Walk]:
    """At most `count` videos of a split, evenly spread over it in its order, which is by levels.

    overrides: of train.py, for other videos than those of experiment=vin_freedoom.

    Raises:
        ValueError: if the split holds none.
    """
    chosen = [] if any(each.startswith(("datamodule=", "experiment=")) for each in overrides) else ["vin_freedoom"]
    experiment = [f"experiment={name}" for name in chosen]
    cfg = compose_config((*experiment, *overrides, f"paths.root_dir={ROOT}", "paths.run_dir=."))
    data = cfg.datamodule
    if data.make is not None:
        instantiate(data.make)()
    entries = share_out(read_entries(data.root, data.table), data.validation_share, 0)
    entries = [entry for entry in entries if entry.split == split and entry.caption]
    if not entries:
        raise ValueError(f"split={split} holds no video with a caption; use test, validation or train")
    step = max(len(entries) / count, 1.0)
    chosen_entries = [entries[int(number * step)] for number in range(min(count, len(entries)))]
    if len({entry.path.parent for entry in chosen_entries}) == 1:
        return [Walk(entry, entry.path.stem) for entry in chosen_entries]
    left = [entry for entry in entries if entry not in chosen_entries]
    return [Walk(entry, entry.path.parent.name, take_beside(entry, left)) for entry in chosen_entries]


def take_beside(entry: Entry, left: list[Entry]) -> Entry | None:
    """The first of `left` in the folder (level) of an entry, which is taken out; None if there is none."""
    found = next((other for other in left if other.path.parent == entry.path.parent), None)
    if found is not None:
        left.remove(found)
    return found


def make_once(cfg: DictConfig, folder: Path, request: dict[str, Any]) -> bool:
    """The videos of a config of generate.py in `folder`, unless those of the same request are there; says if made.

    Made beside and renamed: a folder that is there is a finished one.
    """
    kept = folder / "request.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == request:
        return False
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    cfg.output = str(part)
    make_videos(requested(cfg), write_video)
    _finish(part, folder, request)
    return True


def _finish(part: Path, folder: Path, request: dict[str, Any]) -> None:
    (part / "request.json").write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def keep_real(walks: Sequence[Walk], folder: Path, num_frames: int, change: Change = AS_IS) -> None:
    """The real walks' first frames, written as samples are written, so that coding costs both the same.

    A shorter walk is kept as far as it goes. change: of pixels c f h w in [-1, 1].
    """
    cfg = compose_config(("experiment=vin_freedoom", f"paths.root_dir={ROOT}", "paths.run_dir=."))
    size = {key: cfg.datamodule[key] for key in ("height", "width", "fps")}
    request = {"walks": [f"{walk.group}/{walk.entry.path.name}" for walk in walks], "num_frames": num_frames, **size}
    request |= {"change": change.name} if change.name else {}
    kept = folder / "request.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == request:
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    lines = []
    for number, walk in enumerate(walks):
        frames = read_frames(walk.entry.path, **size, crop_place=0.5)
        latents = (min(num_frames, len(frames)) - 1) // TIME_FACTOR + 1
        frames = frames[: 1 + (latents - 1) * TIME_FACTOR]
        if len(frames) < num_frames:
            log.warning(f"{walk.entry.path.name} is read as far as it goes: {len(frames)} frames of {num_frames}")
        video = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1
        write_video(part / f"{number:03d}.mp4", [change.apply(video)], fps=size["fps"])
        seams = [1 + (start - 1) * TIME_FACTOR for start in range(CHUNK, latents, CHUNK)]
        lines.append({"file": f"{number:03d}.mp4", "prompt": walk.entry.caption, "boundaries": seams})
    (part / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _finish(part, folder, request)


def boundaries_of(line: dict[str, Any]) -> list[int]:
    """Pixel frames at which pieces meet: the manifest's; for merged windows, on which older ones are silent, anew."""
    rollout = line.get("rollout", {})
    if "overlap_frames" not in rollout:
        return list(line["boundaries"])
    latents = (line["num_frames"] - 1) // TIME_FACTOR + 1
    sizes = {key: rollout[key] for key in ("window_frames", "overlap_frames")}
    made = GenLVideo(**sizes, profile="uniform", windows_per_call=0)
    return [1 + (start - 1) * TIME_FACTOR for start in chunk_boundaries(made.plan(latents), None)]


def make_scorer(kept: Path) -> Scorer:
    """The report card's metrics with features that need no download, as evaluate.py has them."""
    from longtake.cli.videos import read_clip

    cfg = compose_here("evaluate", [])
    metrics = {name: instantiate(cfg.metrics[name]) for name in ROWS}
    read = partial(read_clip, short_side=cfg.short_side)
    return Scorer(metrics=metrics, read_video=read, kept=kept, settings={"short_side": cfg.short_side})


def make_sampler(kept: Path, num_frames: int) -> Scorer:
    """Keeps features of every third frame (so that all four frames of a latent are met), which need no download."""
    from longtake.cli.videos import read_clip

    cfg = compose_here("evaluate", [])
    number = (num_frames - 1) // FRAME_STEP + 1
    metric = FrechetFrameDistance(features=instantiate(cfg.features), frames_per_video=number)
    settings = {"short_side": cfg.short_side, "frames_per_video": number}
    read = partial(read_clip, short_side=cfg.short_side)
    return Scorer(metrics={FRAMES: metric}, read_video=read, kept=kept, settings=settings)


def protocol(sampler: Scorer) -> dict[str, str | int]:
    """What features are of, as results name it: their model, their number, how frames are taken."""
    described = sampler.distances[FRAMES].describe()
    return {key: described[key] for key in ("features", "dimensions", "sampling")}


def features_of(sampler: Scorer, folder: Path) -> dict[int, Tensor]:
    """Features n d of frames of each video of a folder, by the number of its prompt."""
    found = {}
    for file in sorted(folder.glob("*.mp4")):
        try:
            found[int(file.stem)] = sampler.samples(file).samples[FRAMES]
        except ValueError as error:
            log.warning(f"no features of {folder.name}/{file.name}: {error}")
    return found


def score(scorer: Scorer, folder: Path, walks: Sequence[Walk], seed: int) -> list[Video]:
    """One record a video: its seed, the number of its prompt, its group, and its values; None where it has none."""
    manifest = read_manifest(folder)
    files = {
        name: Beside(boundaries=tuple(boundaries_of(line)), prompt=line["prompt"]) for name, line in manifest.items()
    }
    card = score_folder(scorer, folder, files, [])
    for fault in card.skipped:
        log.warning(f"not scored: {folder.name}/{fault.file} ({fault.metric}): {fault.reason}")
    records = []
    for row in card.rows:
        number = int(Path(str(row["file"])).stem)
        values = {name: row[name] for name in ROWS}
        seconds = manifest[str(row["file"])].get("seconds")
        values |= {} if seconds is None else {"seconds": seconds}
        records.append({"seed": seed, "prompt": number, "group": walks[number].group, "values": values})
    return records
