"""Reconstruction by the codec on videos it was not trained on: `python benchmarks/codec_quality.py`.

PSNR in dB on the scale of 8-bit pictures, per video over clips of 65 frames (mean square over all pixels of a clip),
and the share of a clip's sharpness that is left. With --enlarged 2 the codec is given pictures of half the size, and
what it makes is enlarged by bicubic interpolation: what a codec of the larger picture has to be better than.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import peak_signal_noise_ratio

from datamodules.tables import read_entries
from longtake.metrics.sharpness import Sharpness
from longtake.video import read_frames
from networks.saving import load_pretrained, read_config


def enlarged(codec: Any, clip: Tensor, factor: int) -> Tensor:
    """A clip 1 c f h w in [-1, 1] through a codec of pictures that are so many times smaller."""
    if factor == 1:
        return torch.as_tensor(codec.decode(codec.encode(clip)))
    small = functional.avg_pool3d(clip, (1, factor, factor))
    frames = codec.decode(codec.encode(small))[0].movedim(1, 0)
    large = functional.interpolate(frames, scale_factor=factor, mode="bicubic", antialias=False)
    return large.clamp(-1, 1).movedim(0, 1)[None]


def main() -> None:
    """Prints a line per level or maze and the mean with its spread over them; writes results/codec_quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="weights/codec_freedoom_64")
    parser.add_argument("--root", default="data/freedoom_64_long", help="a rendered corpus, with table.csv")
    parser.add_argument("--split", default="test")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=65)
    parser.add_argument("--enlarged", type=int, default=1, help="factor from the codec's pictures to those compared")
    parser.add_argument("--report", default="codec_quality", help="name of the file under results")
    options = parser.parse_args()
    channels = read_config(Path(options.weights))["channels"]
    codec = load_pretrained(folder=options.weights, channels=channels)
    levels: dict[str, list[float]] = {}
    kept: dict[str, list[float]] = {}
    sharpness = Sharpness()
    for entry in read_entries(options.root, "table.csv"):
        if entry.split != options.split:
            continue
        frames = read_frames(entry.path, height=options.size, width=options.size, fps=0, crop_place=0.5)
        clips = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1
        for start in range(0, clips.shape[1] - options.frames + 1, options.frames):
            clip = clips[None, :, start : start + options.frames]
            with torch.inference_mode():
                decoded = enlarged(codec, clip, options.enlarged)
            value = float(peak_signal_noise_ratio(decoded, clip, data_range=(-1.0, 1.0)))
            levels.setdefault(entry.path.parent.name, []).append(value)
            made, real = (sharpness.measure(video[0]).score or 0.0 for video in (decoded, clip))
            kept.setdefault(entry.path.parent.name, []).append(made / max(real, 1e-6))
    means = {level: sum(values) / len(values) for level, values in levels.items()}
    for level, mean in sorted(means.items()):
        sys.stdout.write(f"{level:8s} {mean:6.2f} dB over {len(levels[level])} clips\n")
    over = torch.tensor(list(means.values()))
    sharp = torch.tensor([sum(values) / len(values) for values in kept.values()])
    sys.stdout.write(f"mean over {len(over)} levels {over.mean():.2f} dB, spread {over.std():.2f}\n")
    sys.stdout.write(f"sharpness kept {sharp.mean():.3f}, spread over levels {sharp.std():.3f}\n")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    report = {"psnr_by_level": means, "mean": float(over.mean()), "std_over_levels": float(over.std())}
    report |= {"sharpness_kept": float(sharp.mean()), "sharpness_kept_std_over_levels": float(sharp.std())}
    (results / f"{options.report}.json").write_text(json.dumps({**vars(options), **report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
