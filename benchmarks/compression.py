"""What compressors keep of a segment, by rate.

    python benchmarks/compression.py weights=weights/flexformer_freedoom_64 weights=runs/mean_pool/…,runs/mean_pool/…

For each weights (a compressor's, or a network's with memory) and rate, on test levels: error of the latents over their
variance, PSNR of the decoded segments against the real frames, cosine of the text features; beside it cell means, the
same number of tokens without anything learned (each the mean of the patches around it, spread out again), and the
codec alone. Weights joined by a comma are one model trained with several seeds: their mean, and each of them. Other
keys: split, walks, slots (segments of each walk), decoded (walks whose PSNR is taken), rates and output; the rest are
overrides of train.py for the videos. Writes benchmarks/results/compression.json and .md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from benchmarks.report import Sheet
from benchmarks.restored import Made, cell_means, compress, compressor_of, kind_of
from benchmarks.trained import (
    cell,
    choose_walks,
    compressor_config,
    decode,
    frames_of_latents,
    groups_of,
    interval,
    label,
    num_slots,
    psnr,
    publish,
    read_request,
    real_pixels,
    rows_of,
    segment_data,
    trained_rates,
)
from lightning_modules.reconstruction import reconstruction_errors
from longtake.cli.user_errors import explain
from longtake.releases.checkpoints import CONFIG_KEY, read_checkpoint
from longtake.releases.locating import locate
from longtake.releases.reading import load_run
from networks.interfaces import VideoBatch
from networks.video_network import PATCH

OWN = {
    "split": "test",
    "walks": "48",
    "slots": "6",
    "decoded": "8",
    "rates": "2,3,4,6,8,12,16,24,32,64",
    "output": str(Path(__file__).parent / "results"),
}
MEASURES = ("nmse", "psnr", "text_cosine")
Record = dict[str, Any]


class Walks(NamedTuple):
    """segments: n of all walks, and which exist; groups: of each walk; real: b 3 f h w, frames of the decoded ones."""

    segments: VideoBatch
    valid: Tensor
    groups: list[str]
    real: Tensor
    codec: Any

    def errors(self, made: Made) -> dict[str, list[float]]:
        """Of every walk, the mean of its segments: `nmse` and `text_cosine`, which is no number without text."""
        found = reconstruction_errors(made.back, self.segments.map(lambda x: x[self.valid]))
        has_text = bool(made.back.text.any())
        count = len(self.groups)
        of_walk = torch.arange(len(self.valid)).div(len(self.valid) // count, rounding_mode="floor")[self.valid]
        kept = {"nmse": found.video, "text_cosine": found.text_cosine if has_text else found.video * torch.nan}
        return {key: [float(x[of_walk == walk].mean()) for walk in range(count)] for key, x in kept.items()}

    def decoded(self, video: Tensor) -> list[float]:
        """PSNR of segments n c f h w of all walks, where these are decoded: each walk as one causal whole."""
        rows = rearrange(video, "(b s) c f h w -> b c (s f) h w", b=len(self.groups))[self.shown]
        return psnr(decode(self.codec, rows), self.real)

    @property
    def shown(self) -> list[int]:
        """Which walks are decoded."""
        return [int(number * len(self.groups) / len(self.real)) for number in range(len(self.real))]

    def interval(self, key: str, values: Sequence[float]) -> tuple[float, float, float]:
        """Mean and interval over levels of values of each walk, or for `psnr` of each decoded one."""
        groups = [self.groups[walk] for walk in self.shown] if key == "psnr" else self.groups
        return interval(values, groups)


def read_walks(config: Any, overrides: list[str], options: dict[str, str]) -> Walks:
    """The walks from their start on, as a causal codec decodes nothing else."""
    data = segment_data(config, overrides)
    clips = choose_walks(data, options["split"], int(options["walks"]))
    slots = min(int(options["slots"]), num_slots(data, clips[0]))
    rows = rows_of(data, clips, slots, 0.0)
    segments, valid = rows.fold(), rows.valid.flatten()
    count = min(int(options["decoded"]), len(clips))
    shown = [clips[int(number * len(clips) / count)] for number in range(count)]
    end = frames_of_latents(0, slots * data.rule.segment_frames, data.codec.time_factor).stop
    real = torch.stack([real_pixels(data, clip)[:, :end] for clip in shown])
    return Walks(segments, valid, groups_of(clips), real, data.codec)


def measure(name: str, compressors: Sequence[nn.Module | None], walks: Walks, rates: list[float]) -> list[Record]:
    """One record a rate, of one model's seeds; rates that give the same tokens are decoded once. None: cell means."""
    records: list[Record] = []
    decoded: dict[tuple[float, ...], list[float]] = {}
    for rate in rates:
        seeds: list[dict[str, list[float]]] = []
        for compressor in compressors:
            made = (
                cell_means(walks.segments, rate) if compressor is None else compress(compressor, walks.segments, rate)
            )
            errors = walks.errors(made)
            same = (made.tokens, *errors["nmse"])
            if same not in decoded:
                decoded[same] = walks.decoded(made.back.video)
            seeds.append({**errors, "psnr": decoded[same]})
        record: Record = {"model": name, "rate": rate, "tokens": made.tokens, "numbers": made.tokens * made.width}
        record["effective_rate"] = walks.segments.video[0, 0].numel() / PATCH**2 / made.tokens
        for key in MEASURES:
            record[key] = walks.interval(key, np.mean([seed[key] for seed in seeds], axis=0).tolist())
        record["seeds"] = {key: [walks.interval(key, seed[key])[0] for seed in seeds] for key in MEASURES}
        records.append(record)
    return records


def model_name(weights: str, config: Any) -> str:
    """A release's or run's name, its compressor, and how long a run was."""
    released = label(weights, config) != config["name"]
    checkpoint = {} if released else read_checkpoint(locate(weights, "weights"))
    more = " more" if checkpoint.get(CONFIG_KEY, {}).get("pretrained") else ""
    steps = "" if released else f", {checkpoint['global_step']:,} steps{more}"
    return f"{label(weights, config)}, {kind_of(config)}{steps}"


def with_seeds(record: Record, key: str, digits: int) -> str:
    """Mean and interval, and what each seed has where there are several."""
    values = record["seeds"][key]
    each = f"; seeds {', '.join(f'{value:.{digits}f}' for value in values)}" if len(values) > 1 else ""
    return cell(record[key], digits) + each


def sheet_of(records: list[Record], codec: tuple[float, float, float], size: str) -> Sheet:
    """One row for each model and rate."""
    rows = [
        [
            record["model"],
            f"{record['rate']:g}" + ("" if record["trained"] else " *"),
            str(record["tokens"]),
            f"{record['effective_rate']:.2f}",
            f"{record['numbers']:,}",
            with_seeds(record, "nmse", 3),
            with_seeds(record, "psnr", 2),
            with_seeds(record, "text_cosine", 3),
        ]
        for record in records
    ]
    heads = ["model", "rate", "tokens", "effective rate", "numbers", "latent NMSE", "PSNR, dB", "text cosine"]
    notes = [
        f"{size}; 95 % intervals over levels, of the mean of the training seeds. * outside the rates of training.",
        "Numbers: tokens times their width; a token of cell means holds four latents only.",
        f"The codec alone, without compression: {cell(codec, 2)} dB.",
    ]
    return Sheet("What a compressor keeps of a segment", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    request = read_request(sys.argv[1:], OWN)
    rates = [float(rate) for rate in request.options["rates"].split(",")]
    walks: Walks | None = None
    records: list[Record] = []
    for weights in request.weights:
        seeds = weights.split(",")
        loaded = [load_run(each) for each in seeds]
        config = loaded[0][0]
        name = model_name(seeds[0], config)
        for each, (other, _) in zip(seeds, loaded, strict=True):
            if (compressor_config(other), trained_rates(other)) != (compressor_config(config), trained_rates(config)):
                raise ValueError(
                    f"weights={weights}: {each} is another model than {seeds[0]}: give it a weights= of its own"
                )
        compressors = [compressor_of(module) for _, module in loaded]
        walks = read_walks(config, request.overrides, request.options) if walks is None else walks
        lowest, highest = trained_rates(config)
        for record in measure(name, compressors, walks, rates):
            records.append({**record, "trained": lowest <= record["rate"] <= highest})
    assert walks is not None
    records += [{**record, "trained": True} for record in measure("cell means", [None], walks, rates)]
    codec = walks.interval("psnr", walks.decoded(walks.segments.video))
    size = f"{int(walks.valid.sum())} segments of {len(walks.groups)} walks, PSNR on {len(walks.real)} of these"
    results = {"request": request._asdict(), "size": size, "codec_psnr": codec, "records": records}
    folder = Path(request.options["output"])
    publish("compression", results, [sheet_of(records, codec, size)], folder)


if __name__ == "__main__":
    with explain():
        main()
