"""What VIN's global tokens are worth: validation loss with them and without, by time and by how much the text says.

    python benchmarks/token_gain.py weights=weights/vin_freedoom_64 experiment=vin_freedoom

On test levels, with the same noise for every condition, each video four chunks long, under its full caption, its short
one (silent about colour, light and things) and no text at all: the less the text says, the more has to come from the
rest of the video. Several weights stand in one table, for the options that were trained with or without.
Other keys: split, videos, seeds, times, output; the rest are overrides of train.py for the videos.
Writes benchmarks/results/token_gain.json and .md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from torch import Tensor

from benchmarks.agreement import build_data
from benchmarks.report import Sheet
from benchmarks.trained import cell, groups_of, interval, publish, read_request
from datamodules.clips import Clip
from datamodules.video_datamodule import VideoDataModule
from longtake.cli.user_errors import explain
from longtake.releases.reading import load_run
from networks.interfaces import Condition, VideoBatch

TEXTS = ("full", "short", "none")
OWN = {
    "split": "test",
    "videos": "48",
    "seeds": "1",
    "times": "0.3,0.6,0.8,0.9,0.95,0.98",
    "output": str(Path(__file__).parent / "results"),
}
BATCH = 8
Record = dict[str, Any]


def choose_clips(data: VideoDataModule, split: str, count: int) -> list[Clip]:
    """At most `count` of a split's longest clips that have a short caption, evenly spread.

    Raises:
        ValueError: if there are none.
    """
    clips = [clip for clip in data.clips[split] if clip.num_frames == data.num_frames[-1] and clip.entry.short_caption]
    if not clips:
        raise ValueError(f"split={split} holds no video of {data.num_frames[-1]} frames with a short_text")
    step = max(len(clips) / count, 1.0)
    return [clips[int(number * step)] for number in range(min(count, len(clips)))]


def batch_of(data: VideoDataModule, clips: Sequence[Clip], text: str) -> VideoBatch:
    """The clips with one of TEXTS."""
    batch = data.batch(clips, data.num_frames[-1], [0] * len(clips), [text == "short"] * len(clips))
    return batch._replace(text_mask=torch.zeros(batch.text.shape[:2], dtype=torch.bool)) if text == "none" else batch


@torch.no_grad()
def gains(module: Any, batch: VideoBatch, noise: Tensor, times: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Loss with the tokens, and what it is more without them: b t each; noise: b c f h w."""
    condition = Condition(batch.frame_index - batch.frame_index[:, :1], batch.text, batch.text_mask)
    losses, more = [], []
    for level in times:
        time = torch.full(batch.frame_index.shape, level)
        noisy = module.objective.corrupt(batch.video, time, noise)
        found = [module.network(noisy, time, each) for each in (condition, condition.without("global_tokens"))]
        with_tokens, without = (module.objective.frame_errors(x, batch.video, noise, time).mean(1) for x in found)
        losses.append(with_tokens)
        more.append(without - with_tokens)
    return torch.stack(losses, dim=1), torch.stack(more, dim=1)


def measure(
    module: Any, data: VideoDataModule, clips: Sequence[Clip], times: Sequence[float], seeds: int
) -> list[Record]:
    """A record for each text, with intervals over levels."""
    groups, records = groups_of(clips), []
    for text in TEXTS:
        parts = []
        for begin in range(0, len(clips), BATCH):
            batch = batch_of(data, clips[begin : begin + BATCH], text)
            made = []
            for seed in range(seeds):
                generator = torch.Generator().manual_seed(1000 * seed + begin)
                made.append(gains(module, batch, torch.randn(batch.video.shape, generator=generator), times))
            parts.append([torch.stack(x).mean(dim=0) for x in zip(*made, strict=True)])
        losses, more = (torch.cat(x) for x in zip(*parts, strict=True))
        records.append(
            {
                "text": text,
                "loss": interval(losses.mean(dim=1).tolist(), groups),
                "gain": interval(more.mean(dim=1).tolist(), groups),
                "loss_by_time": {f"{t:g}": float(losses[:, i].mean()) for i, t in enumerate(times)},
                "gain_by_time": {f"{t:g}": interval(more[:, i].tolist(), groups) for i, t in enumerate(times)},
            }
        )
    return records


def sheet_of(found: dict[str, list[Record]], times: Sequence[float], notes: list[str]) -> Sheet:
    """One row for each weights and text."""
    rows = [
        [
            name,
            record["text"],
            f"{record['loss'][0]:.4f}",
            *(cell(x, 4) for x in record["gain_by_time"].values()),
            cell(record["gain"], 4),
        ]
        for name, records in found.items()
        for record in records
    ]
    heads = ["weights", "text", "loss", *(f"gain, time {t:g}" for t in times), "mean gain"]
    return Sheet("What the global tokens gain", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    request = read_request(sys.argv[1:], OWN)
    options = request.options
    times, seeds = [float(t) for t in options["times"].split(",")], int(options["seeds"])
    data = build_data(request.overrides, 1)
    clips = choose_clips(data, options["split"], int(options["videos"]))
    found: dict[str, list[Record]] = {}
    for weights in request.weights:
        _, module = load_run(weights)
        network: Any = module.network
        if "global_tokens" not in network.ablations:
            raise ValueError(f"weights={weights} have no global tokens: give those of vin or vin_plan")
        found[Path(weights).name] = measure(module, data, clips, times, seeds)
    size = f"{len(clips)} videos of {data.num_frames[-1]} frames, split {options['split']}, {seeds} seed(s) of noise"
    notes = [f"{size}; 95 % intervals over levels; gain: loss without the tokens minus loss, same noise and weights."]
    publish("token_gain", {"request": request._asdict(), "records": found}, [sheet_of(found, times, notes)],
            Path(options["output"]))  # fmt: skip


if __name__ == "__main__":
    with explain():
        main()
