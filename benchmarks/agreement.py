"""Do the chunks of one sample belong to one video? `python benchmarks/agreement.py weights=weights/vin_freedoom_64`.

Samples the same noise and captions with global tokens and without them (the same weights), and measures beside real
videos of the split, in latents averaged over a chunk and over the picture:
- within / total: variance of a video's chunk means around the video's own mean, over the variance of all chunk means
  around the mean of all; lower is more consistent. - first-last: correlation over videos of the first and the last
  chunk's means, averaged over channels. Source: our choice. 95 % intervals from drawing levels again.
Also the validation loss per time of VIN, of the same weights without tokens, and of full attention with its backbone.
Overrides are those of train.py, e.g. experiment=vin_freedoom; keys of its own: weights, split, videos, seed, steps,
captions: full, short (silent about colour, light and things) or none (the null text for all, so that nothing but tokens
can tell a chunk whose it is).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from einops import rearrange
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from benchmarks.trained import RESAMPLES, cell, groups_of, interval
from datamodules.video_datamodule import VideoDataModule
from longtake.generation import generate
from longtake.releases.reading import load_run
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers.guidance import ClassifierFreeGuidance
from networks.interfaces import Condition, VideoBatch

OWN = {
    "weights": "weights/vin_freedoom_64",
    "split": "test",
    "videos": "64",
    "seed": "0",
    "steps": "30",
    "batch": "16",
    "captions": "full",
}
NAMES = {"full": "", "short": "_short_captions", "none": "_without_captions"}
"""What is added to the result's name."""


def chunk_means(latents: Tensor, chunk_frames: int) -> Tensor:
    """Latents b c f h w, f a multiple of chunk_frames, to b k c."""
    return rearrange(latents.float(), "b c (k f) h w -> b k c (f h w)", f=chunk_frames).mean(-1)


def agreement(chunks: Tensor) -> dict[str, float]:
    """chunks: means of chunks, b k c."""
    total = (chunks - chunks.mean((0, 1), keepdim=True)).square().mean((0, 1))
    within = (chunks - chunks.mean(1, keepdim=True)).square().mean((0, 1))
    first, last = chunks[:, 0] - chunks[:, 0].mean(0), chunks[:, -1] - chunks[:, -1].mean(0)
    correlation = (first * last).mean(0) / (first.square().mean(0) * last.square().mean(0)).sqrt()
    return {"within_over_total": float((within / total).mean()), "first_last": float(correlation.mean())}


def agreements(chunks: Mapping[str, Tensor], groups: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Both measures of each set of videos, and what tokens add to them, with 95 % intervals from drawing levels again.

    chunks: means of chunks b k c, by name; groups: of each video the level.
    """
    names = sorted(set(groups))
    members = [torch.tensor([n for n, group in enumerate(groups) if group == name]) for name in names]
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(names), (len(names),), generator=generator).tolist() for _ in range(RESAMPLES)]

    def measured(rows: Tensor) -> dict[str, dict[str, float]]:
        found = {name: agreement(means[rows]) for name, means in chunks.items()}
        gain = {key: found["tokens"][key] - found["without"][key] for key in found["tokens"]}
        return {**found, "difference": gain}

    whole = measured(torch.arange(len(groups)))
    drawn = [measured(torch.cat([members[place] for place in draw])) for draw in draws]
    report: dict[str, dict[str, list[float]]] = {}
    for name, values in whole.items():
        report[name] = {}
        for key, value in values.items():
            spread = torch.tensor([each[name][key] for each in drawn]).quantile(torch.tensor([0.025, 0.975]))
            report[name][key] = [value, *spread.tolist()]
    return report


def read_options() -> tuple[dict[str, str], list[str]]:
    """Our own key=value arguments, and the rest for Hydra."""
    options, rest = dict(OWN), []
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key in OWN:
            options[key] = value
        else:
            rest.append(argument)
    return options, rest


def build_data(overrides: list[str], num_clips: int) -> VideoDataModule:
    """The data module of the experiment, its caches filled."""
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        cfg = compose("train", overrides=[*overrides, f"paths.root_dir={ROOT}", "paths.run_dir=."])
    data: VideoDataModule = instantiate(
        cfg.datamodule,
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        global_batch_size=1,
        batch_size=1,
        seed=0,
        num_validation_clips=num_clips,
    )
    data.prepare_data()
    data.setup("test")
    return data


def sample(module: Any, batch: VideoBatch, noise: Tensor, ablation: str | None) -> Tensor:
    """Latents from the captions of real videos."""
    condition = Condition(batch.frame_index - batch.frame_index[:, :1], batch.text, batch.text_mask)
    settings = {"rollout": SinglePass(network_part=""), "guidance": ClassifierFreeGuidance(scale=1.0)}
    return generate(module, noise, condition, **settings, without=() if ablation is None else (ablation,))


@torch.no_grad()
def losses(module: Any, batch: VideoBatch, noise: Tensor, times: list[float]) -> dict[str, Tensor]:
    """Error by time, b t: VIN, without its tokens, and full attention with its backbone."""
    condition = Condition(batch.frame_index, batch.text, batch.text_mask)
    found: dict[str, list[Tensor]] = {"tokens": [], "without": [], "full": []}
    for level in times:
        time = torch.full(batch.frame_index.shape, level)
        noisy = module.objective.corrupt(batch.video, time, noise)
        predictions = {
            "tokens": module.network(noisy, time, condition),
            "without": module.network(noisy, time, condition.without("global_tokens")),
            "full": module.network.backbone(noisy, time, condition),
        }
        for name, prediction in predictions.items():
            errors = module.objective.frame_errors(prediction, batch.video, noise, time)
            found[name].append(errors.mean(1))
    return {name: torch.stack(values, dim=1) for name, values in found.items()}


def main() -> None:
    """Prints both tables and writes results/agreement.json.

    Raises:
        ValueError: for captions that there are not.
    """
    options, overrides = read_options()
    if options["captions"] not in NAMES:
        raise ValueError(f"captions={options['captions']} is unknown: use {', '.join(NAMES)}")
    data = build_data(overrides, int(options["videos"]))
    _, module = load_run(options["weights"])
    module.sampler.num_inference_steps = int(options["steps"])  # type: ignore[union-attr]
    chunk = int(module.get_submodule("network").chunk_frames)  # type: ignore[arg-type]
    clips = [clip for clip in data.clips[options["split"]] if clip.num_frames == data.num_frames[-1]]
    step = max(len(clips) // int(options["videos"]), 1)
    clips = clips[::step][: int(options["videos"])]
    made: dict[str, list[Tensor]] = {"real": [], "tokens": [], "without": []}
    scored: dict[str, list[Tensor]] = {"tokens": [], "without": [], "full": []}
    times = [0.3, 0.6, 0.8, 0.9, 0.95, 0.98]
    for begin in range(0, len(clips), int(options["batch"])):
        chosen = clips[begin : begin + int(options["batch"])]
        short = [options["captions"] == "short"] * len(chosen)
        batch = data.batch(chosen, data.num_frames[-1], [0] * len(chosen), short)
        if options["captions"] == "none":
            batch = batch._replace(text_mask=torch.zeros(batch.text.shape[:2], dtype=torch.bool))
        generator = torch.Generator().manual_seed(int(options["seed"]) * 1000 + begin)
        noise = torch.randn(batch.video.shape, generator=generator)
        made["real"].append(batch.video)
        made["tokens"].append(sample(module, batch, noise, None))
        made["without"].append(sample(module, batch, noise, "global_tokens"))
        for name, values in losses(module, batch, noise, times).items():
            scored[name].append(values)
    report: dict[str, Any] = {"options": options, "overrides": overrides, "videos": len(clips)}
    groups = groups_of(clips)
    report |= agreements({name: chunk_means(torch.cat(latents), chunk) for name, latents in made.items()}, groups)
    for name in (*made, "difference"):
        sys.stdout.write(f"{name:10s} {'; '.join(f'{key} {cell(v, 3)}' for key, v in report[name].items())}\n")
    gain = torch.cat(scored["without"]) - torch.cat(scored["tokens"])
    for place, level in enumerate(times):
        row: dict[str, Any] = {name: float(torch.cat(values)[:, place].mean()) for name, values in scored.items()}
        row["gain"] = interval(gain[:, place].tolist(), groups)
        report[f"time_{level:g}"] = row
        means = "; ".join(f"{name} {row[name]:.4f}" for name in scored)
        sys.stdout.write(f"time {level:<5g} {means}; gain {cell(row['gain'], 4)}\n")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"agreement{NAMES[options['captions']]}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
