"""Global tokens in an attention of their own behind a gate, or in one softmax with the video, after equal training.

    python benchmarks/context_attention.py          a minute or two of one core

A small LTX-Video transformer of diffusers' class is trained on windows of a made-up world, saved, and loaded as a base;
VIN with LoRA is then trained upon it on whole videos, with backbone.context_attention=gated and joined, from the same
seeds, batches and learning rate. In that world every video has a pattern of its own under noise, of which a window
shows little at high noise and the whole video much: global tokens have something to say. Scored on videos and noise
that no training sees. Writes benchmarks/results/context_attention.json and .md.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import ROOT
from benchmarks.report import Sheet, save, show
from networks.interfaces import Condition
from networks.pretrained.ltx import LtxBackbone
from networks.video_interface import VideoInterface
from networks.vin import VideoInterfaceNetwork

RESULTS = ROOT / "benchmarks" / "results"
CHANNELS, SIDE, TEXT, HEADS, WIDTH, DEPTH = 4, 2, 8, 4, 48, 4
FRAMES, CHUNK, LOCAL = 16, 4, 2
"""Latent frames of a video, of a chunk, and of an overlap."""
TIMES = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Diffusion times at which is scored."""
KINDS = ("gated", "joined")
FPS = 4.0


class Plan(NamedTuple):
    """How much is trained and scored: steps of the base and of VIN, videos of a batch and held out, and seeds."""

    base_steps: int = 300
    steps: int = 150
    scored_at: tuple[int, ...] = (0, 25, 50, 100, 150)
    videos: int = 4
    held_out: int = 32
    seeds: int = 3


def videos_of(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Latents b c f h w of about unit variance: a pattern of each video's own, a spot that wanders, grain."""
    pattern = torch.randn(count, CHANNELS, 1, SIDE, SIDE, generator=generator)
    start, speed = (torch.rand(count, 1, generator=generator) * scale for scale in (6.283, 0.8))
    angle = start + speed * torch.arange(float(frames))
    axis = torch.linspace(-1, 1, SIDE)
    spot = torch.exp(
        -2 * ((axis - angle.cos()[..., None]) ** 2)[:, :, None, :]
        - 2 * ((axis - angle.sin()[..., None]) ** 2)[..., None]
    )
    grain = torch.randn(count, CHANNELS, frames, SIDE, SIDE, generator=generator)
    return 0.8 * pattern + spot[:, None] + 0.3 * grain


def condition_of(video: Tensor) -> Condition:
    """Of a text that says nothing."""
    index = torch.arange(float(video.shape[2])).expand(len(video), -1)
    return Condition(index, torch.zeros(len(video), 1, TEXT), torch.ones(len(video), 1, dtype=torch.bool))


def error(network: nn.Module, video: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of what rectified flow asks for; time: b."""
    level = time.view(-1, 1, 1, 1, 1)
    noisy = (1 - level) * video + level * noise
    made = network(noisy, time[:, None].expand(-1, video.shape[2]), condition_of(video))
    return (made - (noise - video)).square().mean()


def backbone_of(folder: Path, **changes: Any) -> LtxBackbone:
    """The small base behind the contract."""
    settings: dict[str, Any] = {
        "pretrained": str(folder),
        "subfolder": "transformer",
        "dtype": "float32",
        "channels": CHANNELS,
        "width": WIDTH,
        "num_heads": HEADS,
        "text_features": TEXT,
        "latent_fps": FPS,
        "space_factor": 32,
        "rope_theta": 10000.0,
        "lora_rank": 8,
        "lora_alpha": 8,
        "checkpoint_activations": False,
        "control": None,
        "context_attention": "gated",
        "patch": 1,
    }
    return LtxBackbone(**{**settings, **changes})


def trained(network: nn.Module, frames: int, steps: int, videos: int, lr: float, seed: int) -> Iterator[int]:
    """Trains a network on made-up videos; yields the number of steps that are done, from 0 on."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([x for x in network.parameters() if x.requires_grad], lr=lr, weight_decay=0.0)
    for step in range(steps):
        yield step
        network.train()
        video = videos_of(videos, frames, generator)
        time = 1 - 0.9 * torch.rand(videos, generator=generator) ** 2  # most where there is much noise
        loss = error(network, video, time, torch.randn(video.shape, generator=generator))
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    yield steps


def write_base(folder: Path, plan: Plan) -> None:
    """Trains a transformer of diffusers' class on windows, and saves it as a pipeline's folder has it."""
    from diffusers import LTXVideoTransformer3DModel

    torch.manual_seed(0)
    model = LTXVideoTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        cross_attention_dim=WIDTH,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        caption_channels=TEXT,
        num_layers=DEPTH,
    )
    model.save_pretrained(folder / "transformer")
    backbone = backbone_of(folder, lora_rank=0)
    for _ in trained(backbone, CHUNK + LOCAL, plan.base_steps, 3 * plan.videos, 2e-3, seed=1):
        pass
    backbone.model.save_pretrained(folder / "transformer")


def network_of(folder: Path, kind: str, seed: int) -> VideoInterfaceNetwork:
    """VIN upon the base."""
    torch.manual_seed(seed)
    interface = VideoInterface(
        num_tokens=8,
        width=WIDTH,
        depth=2,
        num_heads=HEADS,
        backbone_width=WIDTH,
        text_features=TEXT,
        keyframe_seconds=0.5,
        latent_fps=FPS,
    )
    return VideoInterfaceNetwork(
        backbone=backbone_of(folder, context_attention=kind),
        interface=interface,
        plan=None,
        chunk_frames=CHUNK,
        train_local_frames=LOCAL,
        local_frames=LOCAL,
        fusion="none",
        fusion_times={},
        token_dropout=0.0,
        pooled_modulation=False,
        context_loss_rate=0.0,
        windows_per_call=0,
    )


@torch.no_grad()
def scored(network: nn.Module, video: Tensor, noise: Tensor) -> float:
    """Mean over TIMES of the error on held-out videos."""
    network.eval()
    times = (torch.full((len(video),), time) for time in TIMES)
    return statistics.mean(float(error(network, video, time, noise)) for time in times)


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Losses by kind, seed and step, and that of the base window by window.

    Args:
        plan: how much.
        folder: an empty one.

    Returns:
        The record.
    """
    write_base(folder, plan)
    held = torch.Generator().manual_seed(12345)
    video = videos_of(plan.held_out, FRAMES, held)
    noise = torch.randn(video.shape, generator=held)
    found: dict[str, list[dict[int, float]]] = {kind: [] for kind in KINDS}
    for seed in range(plan.seeds):
        for kind in KINDS:
            network, losses = network_of(folder, kind, seed), {}
            for step in trained(network, FRAMES, plan.steps, plan.videos, 2e-3, seed=100 + seed):
                if step in plan.scored_at:
                    losses[step] = scored(network, video, noise)
            found[kind].append(losses)
    whole = network_of(folder, "gated", 0)  # whose windows are the base's
    return {"plan": plan._asdict(), "base": scored(whole, video, noise), "losses": found}


def sheet_of(record: dict[str, Any]) -> Sheet:
    """Means and ranges over seeds, step by step."""
    rows = []
    for step in record["plan"]["scored_at"]:
        cells = [str(step)]
        for kind in KINDS:
            values = [losses[step] for losses in record["losses"][kind]]
            cells.append(f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")
        rows.append(cells)
    note = (
        f"Loss of rectified flow on {record['plan']['held_out']} held-out videos: mean and range of "
        f"{record['plan']['seeds']} seeds; the base's windows alone: {record['base']:.4f}. A made-up world; 4 blocks."
    )
    return Sheet("Gated and joined attention to global tokens, after equal training", [note], ["steps", *KINDS], rows)


def main() -> None:
    """Trains, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a rehearsal of seconds, whose figures mean nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of context_attention.json and .md")
    asked = parser.parse_args()
    plan = Plan(base_steps=2, steps=2, scored_at=(0, 2), videos=2, held_out=2, seeds=2) if asked.quick else Plan()
    with tempfile.TemporaryDirectory() as folder:
        record = measure(plan, Path(folder))
    sheet = sheet_of(record)
    show(sheet, Console())
    save(asked.output, "context_attention", record, [sheet])


if __name__ == "__main__":
    main()
