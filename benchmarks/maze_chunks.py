"""Do chunks that are made in parallel show one maze? VIN on mazes, its ablations, and windows one after another.

    python benchmarks/maze_chunks.py weights=weights/vin_mazes_64

Nothing is given but the poses of real walks through test mazes: no text, no frame. What rooms look like is drawn by the
noise, and every chunk has to draw the same. All methods have the same weights, poses, noise and steps.
- first-last: correlation over videos of the first and the last chunk's mean latents, averaged over channels; within /
  total: variance of a video's chunk means around its own mean, over that of all chunk means (see agreement.py).
- revisit: nearness, in dB, of two looks at one place, where the walk comes back (the report card's).
- seam: change of frames where chunks meet, over change around it; 1 is invisible.
And what the tokens are worth in loss, by time: of the whole walk in noise, and behind a clean first half.
Real walks go through the codec, so that their rows are what a perfect method would have. 95 % intervals from drawing
mazes again. Other keys: split, videos, frames, steps, seed, methods, output; the rest are overrides of train.py for the
walks. Writes benchmarks/results/maze_chunks.json and .md.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from torch import Tensor

from benchmarks.agreement import agreement, build_data, chunk_means
from benchmarks.report import Sheet
from benchmarks.revisits import read_poses
from benchmarks.trained import RESAMPLES, cell, interval, publish, read_request, real_pixels
from datamodules.clips import Clip
from datamodules.video_datamodule import VideoDataModule
from longtake.cli.user_errors import explain
from longtake.metrics.frame_difference import SeamScore
from longtake.metrics.revisit import RevisitPSNR
from longtake.pipeline import Pipeline
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.free_noise import FreeNoise
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers.guidance import NestedGuidance
from networks.control import NAME as CONTROL
from networks.control import to_latent_frames
from networks.interfaces import Condition
from networks.vin import VideoInterfaceNetwork

OWN = {
    "split": "test",
    "videos": "20",
    "frames": "157",
    "steps": "20",
    "seed": "0",
    "methods": "all",
    "output": str(Path(__file__).parent / "results"),
}
REAL, VIN, WITHOUT = "real walks", "VIN", "VIN without global tokens"
MEASURES = ("revisit", "seam")
TIMES = (0.3, 0.6, 0.8, 0.9, 0.95, 0.98)
GIVEN = {"nothing": 0.0, "half of the walk": 0.5}
Record = dict[float, tuple[float, float]]


class Made(NamedTuple):
    """Videos of one method: means of their chunks, n k c, and by measure a number for each, None where it has none."""

    chunks: Tensor
    measures: dict[str, list[float | None]]


class Setting:
    """A change of the network's settings for the length of one method."""

    def __init__(self, change: Callable[[VideoInterfaceNetwork], None]) -> None:
        """change: what is done to the network, before its attributes of before come back."""
        self.change = change

    def __call__(self, pipeline: Pipeline) -> Pipeline:
        """The same pipeline, whose network is changed."""
        self.change(pipeline.module.network)
        return pipeline


def methods_of() -> dict[str, Callable[[Pipeline], Pipeline]]:
    """By name, what is changed of the pipeline of weights; VIN is as the paper fuses, early."""

    def fused(part: Any) -> Setting:
        return Setting(lambda network: setattr(network, "fusion", part))

    def local(frames: int) -> Setting:
        return Setting(lambda network: setattr(network, "local_frames", frames))

    def keyframes(seconds: float) -> Setting:
        return Setting(lambda network: setattr(network.interface, "keyframe_seconds", seconds))

    def guided(scale: float) -> Callable[[Pipeline], Pipeline]:
        return lambda pipeline: pipeline.replace(guidance=NestedGuidance(scales={"global_tokens": scale}))

    found: dict[str, Callable[[Pipeline], Pipeline]] = {
        VIN: lambda pipeline: pipeline,
        WITHOUT: lambda pipeline: pipeline.replace(without=("global_tokens",)),
        "full attention, same DiT": lambda pipeline: pipeline.replace(rollout=SinglePass(network_part="backbone")),
        "autoregressive windows": lambda pipeline: pipeline.replace(
            rollout=Autoregressive(window_frames=10, context_frames=6)
        ),
        "FreeNoise": lambda pipeline: pipeline.replace(rollout=FreeNoise(window_frames=10, stride_frames=2)),
        "Gen-L-Video": lambda pipeline: pipeline.replace(
            rollout=GenLVideo(window_frames=10, overlap_frames=5, profile="uniform", windows_per_call=4)
        ),
    }
    found |= {f"tokens' guidance {scale:g}": guided(scale) for scale in (2.0, 2.5, 3.0, 4.0, 8.0)}
    found |= {f"fusion {part}": fused(part) for part in ("none", "mid", "late", "all")}
    found |= {f"F_local {frames}": local(frames) for frames in (0, 2, 4)}
    found |= {f"T_s {seconds:g} s": keyframes(seconds) for seconds in (0.5, 2.0, 4.0)}
    return found


def choose_walks(data: VideoDataModule, split: str, count: int) -> list[Clip]:
    """At most `count` walks that come back, of as many mazes as there are: a maze's second walk comes after all first.

    Raises:
        ValueError: the split holds none.
    """
    by_maze: dict[str, list[Clip]] = {}
    for clip in data.clips[split]:
        if clip.num_frames == data.num_frames[-1] and clip.start == 0:
            by_maze.setdefault(clip.entry.path.parent.name, []).append(clip)
    clips = [walks[turn] for turn in range(2) for walks in by_maze.values() if len(walks) > turn]
    if not clips:
        raise ValueError(f"split={split} holds no walk of {data.num_frames[-1]} frames from its beginning")
    return clips[:count]


def pose_table(clip: Clip, frames: int) -> Tensor:
    """x, y, height and angle of the first frames of a walk, as the revisits of the report card take them: f 4."""
    poses = read_poses(clip.entry.path)[:frames]
    return torch.cat([poses[:, :2], torch.zeros(len(poses), 1), poses[:, 2:]], dim=1)


def scored(video: Tensor, poses: Tensor, boundaries: Sequence[int]) -> dict[str, float | None]:
    """Both measures of pixels 3 f h w in [-1, 1]."""
    revisit = RevisitPSNR().measure(video, poses=poses).score
    return {"revisit": revisit, "seam": SeamScore().measure(video, boundaries=boundaries).score}


def measured(latents: Sequence[Tensor], pixels: Sequence[Tensor], poses: Sequence[Tensor], chunk: int) -> Made:
    """What is measured of videos: latents 1 c f h w and pixels 3 f h w of each."""
    time = (pixels[0].shape[1] - 1) // (latents[0].shape[2] - 1)
    boundaries = [1 + (start - 1) * time for start in range(chunk, latents[0].shape[2], chunk)]
    rows = [scored(*each, boundaries) for each in zip(pixels, poses, strict=True)]
    return Made(chunk_means(torch.cat(list(latents)), chunk), {key: [row[key] for row in rows] for key in MEASURES})


def resampled(made: Mapping[str, Made], groups: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Agreement of each method, and its difference from VIN's, with 95 % intervals from drawing mazes again."""
    names = sorted(set(groups))
    members = [torch.tensor([n for n, group in enumerate(groups) if group == name]) for name in names]
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(names), (len(names),), generator=generator).tolist() for _ in range(RESAMPLES)]

    def of(rows: Tensor) -> dict[str, dict[str, float]]:
        found = {name: agreement(each.chunks[rows]) for name, each in made.items()}
        for values in found.values():
            values["of_real"] = values["first_last"] / found[REAL]["first_last"]
            values["below_vin"] = found[VIN]["first_last"] - values["first_last"]
        return found

    whole, drawn = of(torch.arange(len(groups))), [of(torch.cat([members[n] for n in draw])) for draw in draws]
    bounds = torch.tensor([0.025, 0.975])
    return {
        name: {
            key: [value, *torch.tensor([each[name][key] for each in drawn]).quantile(bounds).tolist()]
            for key, value in values.items()
        }
        for name, values in whole.items()
    }


@torch.no_grad()
def losses(pipeline: Pipeline, walks: Sequence[Tensor], poses: Sequence[Tensor], given: int, seed: int) -> list[Record]:
    """Error of real walks in noise with the tokens, and how much more it is without them.

    Args:
        pipeline: pipeline of a VIN.
        walks: latents 1 c f h w of each walk.
        poses: poses of each, F 4.
        given: latent frames at the beginning that are clean, and not scored.
        seed: seed of the noise.

    Returns:
        By walk, for each of TIMES, the error with the tokens and what is more without them.
    """
    network, objective = pipeline.module.network, pipeline.module.objective
    text, _ = pipeline.text_encoder.encode([""])
    found = []
    for number, (clean, table) in enumerate(zip(walks, poses, strict=True)):
        count = clean.shape[2]
        control = to_latent_frames(table[:, [0, 1, 3]].float(), network.backbone.control.frames_per_latent)[None]
        index = torch.arange(count, dtype=torch.float32)[None]
        whole = Condition(index, text, None, per_frame={CONTROL: control})
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1000 * seed + number))
        record: Record = {}
        for level in TIMES:
            time = torch.full((1, count), level).masked_fill(torch.arange(count) < given, 0.0)
            noisy = objective.corrupt(clean, time, noise)
            both = [network(noisy, time, each) for each in (whole, whole.without("global_tokens"))]
            own, less = (float(objective.frame_errors(x, clean, noise, time)[:, given:].mean()) for x in both)
            record[level] = (own, less - own)
        found.append(record)
    return found


def by_time(records: Sequence[Record], groups: Sequence[str]) -> dict[str, list[float]]:
    """Gain of the tokens at each time, with its interval."""
    return {f"{level:g}": list(interval([each[level][1] for each in records], groups)) for level in TIMES}


def loss_sheet(found: dict[str, dict[str, list[float]]], notes: list[str]) -> Sheet:
    """A row for each share of the walk that is given."""
    rows = [[name, *(cell(row[f"{level:g}"], 4) for level in TIMES)] for name, row in found.items()]
    return Sheet("What global tokens gain in loss", notes, ["given", *(f"time {level:g}" for level in TIMES)], rows)


def sheet_of(found: dict[str, dict[str, list[float]]], notes: list[str]) -> Sheet:
    """One row a method."""
    heads = ["", "first-last ↑", "of real walks", "VIN ahead by", "within / total ↓", "revisit, dB ↑", "seam ↓"]
    keys = ("first_last", "of_real", "below_vin", "within_over_total", *MEASURES)
    digits = (3, 2, 3, 3, 2, 2)
    rows = [[name, *(cell(row[key], n) for key, n in zip(keys, digits, strict=True))] for name, row in found.items()]
    return Sheet("Chunks of mazes from poses alone", notes, heads, rows)


def main() -> None:
    """Makes, measures, shows and saves.

    Raises:
        ValueError: there is no such method.
    """
    request = read_request(sys.argv[1:], OWN)
    options = request.options
    methods = methods_of()
    if options["methods"] != "all":
        wanted = options["methods"].split(",")
        if unknown := [name for name in wanted if name not in methods]:
            raise ValueError(f"methods: there is no {', '.join(unknown)} among {', '.join(methods)}")
        methods = {name: methods[name] for name in dict.fromkeys((VIN, *wanted))}
    data = build_data(["experiment=vin_mazes", *request.overrides], 1)
    clips = choose_walks(data, options["split"], int(options["videos"]))
    frames, seed = int(options["frames"]), int(options["seed"])
    poses = [pose_table(clip, frames) for clip in clips]
    groups = [clip.entry.path.parent.name for clip in clips]
    made: dict[str, Made] = {}
    gains: dict[str, dict[str, list[float]]] = {}
    for name, change in {REAL: None, **methods}.items():
        pipeline = Pipeline.from_pretrained(request.weights[0], num_inference_steps=int(options["steps"]))
        pipeline = pipeline.replace(guidance=NestedGuidance(scales={}))  # but where a method has its own
        network = pipeline.module.network
        network.fusion = "early"
        chunk = network.chunk_frames
        pipeline = pipeline if change is None else change(pipeline)
        latents = []
        for number, (clip, table) in enumerate(zip(clips, poses, strict=True)):
            if change is None:
                latents.append(pipeline.codec.encode(real_pixels(data, clip)[None, :, :frames]))
            else:
                control = table[:, [0, 1, 3]].float()
                latents.append(pipeline.latents([""], num_frames=frames, seed=1000 * seed + number, control=control))
        pixels = [torch.cat(list(pipeline.frames(each)), dim=2)[0] for each in latents]
        made[name] = measured(latents, pixels, poses, chunk)
        if change is None:
            gains = {
                words: by_time(losses(pipeline, latents, poses, int(share * latents[0].shape[2]), seed), groups)
                for words, share in GIVEN.items()
            }
        sys.stderr.write(f"{name}: {len(latents)} videos\n")
    found = resampled(made, groups)
    for name, each in made.items():
        for key, values in each.measures.items():
            kept = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
            found[name][key] = list(interval([value for value, _ in kept], [group for _, group in kept]))
    notes = [f"{len(clips)} walks of {frames} frames, split {options['split']}; {options['steps']} steps."]
    results = {"request": request._asdict(), "videos": len(clips), "methods": found, "gain": gains}
    publish("maze_chunks", results, [sheet_of(found, notes), loss_sheet(gains, notes)], Path(options["output"]))


if __name__ == "__main__":
    with explain():
        main()
