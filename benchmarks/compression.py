"""What compressors keep of a segment, by rate.

    python benchmarks/compression.py weights=weights/flexformer_freedoom_64 weights=runs/mean_pool/…

For each weights (a compressor's, or a network's with memory) and rate, on test levels: error of the latents over their
variance, PSNR of the decoded segments against the real frames, cosine of the text features; beside it cell means, the
same number of tokens without anything learned (each the mean of the patches around it, spread out again), and the
codec alone. Other keys: split, walks, slots (segments of each walk), decoded (walks whose PSNR is taken), rates and
output; the rest are overrides of train.py for the videos. Writes benchmarks/results/compression.json and .md.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # before torch loads; see README, "CPU threads"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from einops import rearrange
from torch import Tensor, nn

from benchmarks.report import Sheet
from benchmarks.restored import Made, cell_means, compress, compressor_of, kind_of
from benchmarks.trained import (
    cell,
    choose_walks,
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
)
from lightning_modules.reconstruction import fold, reconstruction_errors
from lightning_modules.runs import load_run
from lightning_modules.user_errors import explain
from networks.interfaces import VideoBatch
from networks.sequence import PATCH

OWN = {
    "split": "test",
    "walks": "48",
    "slots": "6",
    "decoded": "8",
    "rates": "2,3,4,6,8,12,16,24,32,64",
    "output": str(Path(__file__).parent / "results"),
}
Record = dict[str, Any]


def score(made: Made, segments: VideoBatch, valid: Tensor, groups: list[str]) -> Record:
    """Errors of each walk, averaged over its segments; their means and intervals over levels."""
    errors = reconstruction_errors(made.back, VideoBatch(*(x[valid] for x in segments[:4])))
    has_text = bool(made.back.text.any())
    of_walk = torch.arange(len(valid)).div(len(valid) // len(groups), rounding_mode="floor")[valid]
    num_tokens = segments.video[0, 0].numel() // PATCH**2

    def by_walk(values: Tensor) -> list[float]:
        return [float(values[of_walk == walk].mean()) for walk in range(len(groups))]

    return {
        "tokens": made.tokens,
        "effective_rate": num_tokens / made.tokens,
        "numbers": made.tokens * made.width,
        "nmse": interval(by_walk(errors.video), groups),
        "text_cosine": interval(by_walk(errors.text_cosine if has_text else errors.video * torch.nan), groups),
    }


class Walks(NamedTuple):
    """segments: n of all walks, and which exist; groups: of each walk; real: b 3 f h w, frames of the decoded ones."""

    segments: VideoBatch
    valid: Tensor
    groups: list[str]
    real: Tensor
    codec: Any

    def decoded(self, video: Tensor) -> tuple[float, float, float]:
        """PSNR of segments n c f h w of all walks, where these are decoded: each walk as one causal whole."""
        step = len(self.groups) / len(self.real)
        chosen = [int(number * step) for number in range(len(self.real))]
        rows = rearrange(video, "(b s) c f h w -> b c (s f) h w", b=len(self.groups))[chosen]
        return interval(psnr(decode(self.codec, rows), self.real), [self.groups[walk] for walk in chosen])


def read_walks(config: Any, overrides: list[str], options: dict[str, str]) -> Walks:
    """The walks from their start on, as a causal codec decodes nothing else."""
    data = segment_data(config, overrides)
    clips = choose_walks(data, options["split"], int(options["walks"]))
    slots = min(int(options["slots"]), num_slots(data, clips[0]))
    segments, valid = fold(rows_of(data, clips, slots, 0.0))
    count = min(int(options["decoded"]), len(clips))
    shown = [clips[int(number * len(clips) / count)] for number in range(count)]
    end = frames_of_latents(0, slots * data.rule.segment_frames, data.codec.time_factor).stop
    real = torch.stack([real_pixels(data, clip)[:, :end] for clip in shown])
    return Walks(segments, valid, groups_of(clips), real, data.codec)


def measure(name: str, compressor: nn.Module | None, walks: Walks, rates: list[float]) -> list[Record]:
    """One record a rate; rates that give the same tokens at the same places are measured once. None: cell means."""
    records: list[Record] = []
    for rate in rates:
        made = cell_means(walks.segments, rate) if compressor is None else compress(compressor, walks.segments, rate)
        record = score(made, walks.segments, walks.valid, walks.groups)
        same = [r for r in records if (r["tokens"], r["nmse"]) == (record["tokens"], record["nmse"])]
        record["psnr"] = same[0]["psnr"] if same else walks.decoded(made.back.video)
        records.append({"model": name, "rate": rate, **record})
    return records


def sheet_of(records: list[Record], codec: tuple[float, float, float], size: str) -> Sheet:
    """One row for each model and rate."""
    rows = [
        [
            record["model"],
            f"{record['rate']:g}" + ("" if record["trained"] else " *"),
            str(record["tokens"]),
            f"{record['effective_rate']:.2f}",
            f"{record['numbers']:,}",
            cell(record["nmse"], 3),
            cell(record["psnr"], 2),
            cell(record["text_cosine"], 3),
        ]
        for record in records
    ]
    heads = ["model", "rate", "tokens", "effective rate", "numbers", "latent NMSE", "PSNR, dB", "text cosine"]
    notes = [
        f"{size}; 95 % intervals over levels. * outside the rates of training.",
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
        config, module = load_run(weights)
        compressor = compressor_of(module)
        walks = read_walks(config, request.overrides, request.options) if walks is None else walks
        law = config.lightning_module.rates
        for record in measure(f"{label(weights, config)}, {kind_of(config)}", compressor, walks, rates):
            records.append({**record, "trained": law.lowest <= record["rate"] <= law.highest})
    assert walks is not None
    records += [{**record, "trained": True} for record in measure("cell means", None, walks, rates)]
    codec = walks.decoded(walks.segments.video)
    size = f"{int(walks.valid.sum())} segments of {len(walks.groups)} walks, PSNR on {len(walks.real)} of these"
    results = {"request": request._asdict(), "size": size, "codec_psnr": codec, "records": records}
    folder = Path(request.options["output"])
    publish("compression", results, [sheet_of(records, codec, size)], folder)


if __name__ == "__main__":
    with explain():
        main()
