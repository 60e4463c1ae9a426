"""What a clip cut from the middle of one causal encoding costs the DiT: `python benchmarks/cut_latents.py`.

A causal codec gives the first frame of whatever it encodes a latent of its own kind. The same clips of 37 frames are
learnt from three encodings: each clip by itself (`separate`); cut from one encoding of the whole video (`cut`); and cut
so, but with the first frame's own latent in front (`joined`). The draws, the noise and the first weights are the same.
Each network is scored on held-out levels by the loss per latent frame on clips of every kind; and the codec decodes
clips of every kind as if they were videos of their own, which is what it does with generated ones.
"""

import argparse
import json
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()

import torch
from torch import Tensor

from datamodules.tables import read_entries
from longtake.objectives import FlowPrediction, LinearPath, LogitNormal, NoWeight, Objective, Shifted
from longtake.video import read_frames
from networks.dit import VideoDiT
from networks.interfaces import Condition
from networks.saving import load_pretrained

KINDS = ("separate", "cut", "joined")
FRAMES, HOP = 37, 20


@torch.inference_mode()
def clips_of(codec: torch.nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    """All clips of a video, 3 f h w in [-1, 1], in each kind: k c f h w; and their pixels."""
    stream = codec.encode(pixels[None, :, : (pixels.shape[1] - 1) // 4 * 4 + 1])[0]
    starts = range(0, pixels.shape[1] - FRAMES + 1, HOP)
    own = torch.stack([pixels[:, start : start + FRAMES] for start in starts])
    separate = torch.cat([codec.encode(clip[None]) for clip in own])
    cut = torch.stack([stream[:, start // 4 : start // 4 + separate.shape[2]] for start in starts])
    joined = torch.cat([separate[:, :, :1], cut[:, :, 1:]], dim=2)
    places = torch.tensor([start / 4 for start in starts])
    return {"separate": separate, "cut": cut, "joined": joined, "pixels": own, "place": places}


def gather(codec: torch.nn.Module, root: str, split: str, most: int) -> dict[str, Tensor]:
    """Clips of a split's videos."""
    entries = [entry for entry in read_entries(root, "table.csv") if (entry.split == "test") == (split == "test")]
    found = []
    for entry in entries[:most]:
        frames = read_frames(entry.path, height=64, width=64, fps=0, crop_place=0.5)
        found.append(clips_of(codec, torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1))
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def condition(places: Tensor, frames: int) -> Condition:
    """A condition without text."""
    count = len(places)
    index = places[:, None] + torch.arange(frames)
    return Condition(index, torch.zeros(count, 1, 8), torch.zeros(count, 1, dtype=torch.bool))


def train(latents: Tensor, places: Tensor, objective: Objective, steps: int, seed: int) -> VideoDiT:
    """A small DiT after so many steps of 16 clips."""
    torch.manual_seed(seed)
    network = VideoDiT(
        channels=latents.shape[1], width=128, depth=4, num_heads=2, mlp_ratio=4.0, text_features=8, latent_fps=2.1875,
        rope_theta=256.0, checkpoint_activations=False,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        drawn = torch.randint(len(latents), (16,))
        clean = latents[drawn]
        sampled = objective.sample_time(16, clean.shape[2], device=torch.device("cpu"))
        noise = torch.randn_like(clean)
        noisy = objective.corrupt(clean, sampled.time, noise)
        prediction = network(noisy, sampled.time, condition(places[drawn], clean.shape[2]))
        objective.loss(prediction, clean, noise, sampled.time, sampled.frame_mask).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def score(network: VideoDiT, latents: Tensor, places: Tensor, objective: Objective) -> Tensor:
    """Loss of each latent frame over the same times and noise: clips f."""
    draw = torch.Generator().manual_seed(7)
    errors = []
    for time in (0.6, 0.8, 0.95):
        noise = torch.randn(latents.shape, generator=draw)
        times = torch.full((len(latents), latents.shape[2]), time)
        noisy = objective.corrupt(latents, times, noise)
        for rows in torch.arange(len(latents)).split(32):
            prediction = network(noisy[rows], times[rows], condition(places[rows], latents.shape[2]))
            errors.append(objective.frame_errors(prediction, latents[rows], noise[rows], times[rows]))
    return torch.cat(errors)


@torch.inference_mode()
def decoded_psnr(codec: torch.nn.Module, clips: dict[str, Tensor], kind: str) -> dict[str, float]:
    """PSNR in dB of the first frame, of frames 1 to 4 and of the rest, decoded as videos of their own."""
    made = torch.cat([codec.decode(rows) for rows in clips[kind].split(16)])
    squared = ((made - clips["pixels"]) / 2).square().mean(dim=(1, 3, 4))
    parts = {"first frame": squared[:, :1], "frames 1-4": squared[:, 1:5], "rest": squared[:, 5:]}
    return {name: round(float((-10 * part.mean(1).log10()).mean()), 2) for name, part in parts.items()}


def main() -> None:
    """Prints a table and writes results/cut_latents.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data/freedoom_64", help="a rendered corpus, with table.csv")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--videos", type=int, default=30)
    parser.add_argument("--output", default=str(Path(__file__).parent / "results" / "cut_latents.json"))
    options = parser.parse_args()
    codec = load_pretrained(folder="weights/codec_freedoom_64", channels=16).eval()
    training, held_out = (gather(codec, options.root, split, options.videos) for split in ("train", "test"))
    # A film's start is the same in every kind: only clips from the middle tell them apart.
    middle = held_out["place"] > 0
    objective = Objective(
        path=LinearPath(), prediction=FlowPrediction(), times=Shifted(law=LogitNormal(), shift=3.0), weight=NoWeight()
    )
    result: dict[str, object] = {"decoded, dB": {kind: decoded_psnr(codec, held_out, kind) for kind in KINDS}}
    rows = []
    for seed in range(options.seeds):
        for learnt in KINDS:
            network = train(training[learnt], training["place"], objective, options.steps, seed)
            for scored in KINDS:
                for where, chosen in (("middle", middle), ("start", ~middle)):
                    loss = score(network, held_out[scored][chosen], held_out["place"][chosen], objective)
                    row = {"seed": seed, "learnt": learnt, "scored": scored, "clips": where}
                    row |= {"first latent": round(float(loss[:, 0].mean()), 4)}
                    row |= {"others": round(float(loss[:, 1:].mean()), 4), "all": round(float(loss.mean()), 4)}
                    rows.append(row)
                    print(row, flush=True)
    result |= {"loss": rows, "clips": {"trained on": len(training["place"]), "held out": len(held_out["place"])}}
    result["cpu seconds"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
    Path(options.output).write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{json.dumps(result['decoded, dB'])}\n{result['cpu seconds']} CPU s\n")


if __name__ == "__main__":
    main()
