"""Training runs of seconds, through the real config: their settings, and what they leave."""

import os
import socket
from pathlib import Path
from typing import Any

import torch
from builders import tiny_codec
from composing import composed
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig
from torch import multiprocessing

from longtake.cli.training import train

TINY = [
    "text=null_text",
    f"codec.folder={tiny_codec()}",
    "codec.channels=4",
    "backbone.width=32",
    "backbone.depth=2",
    "backbone.num_heads=2",
    "interface.num_tokens=4",
    "interface.depth=1",
    "datamodule=folder",
    "datamodule.height=32",
    "datamodule.width=32",
    "datamodule.num_frames=[5,9,17]",
    "datamodule.hop_frames=4",
    "datamodule.num_validation_clips=4",
    "datamodule.validation_share=0.3",
    "global_batch_size=4",
    "clips_per_device=4",
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1",
    "lightning_module.validation_times=[0.5,0.9]",
    "callbacks.throughput.count_flops=false",  # which takes a fifth of such a run; golden ones count
    "callbacks.samples.num_frames=9",
    "callbacks.samples.num_videos=1",
    "sampler.num_inference_steps=2",
    "matmul_precision=highest",  # runs are compared with one another
    "~callbacks.progress",
    "~callbacks.pictures",  # an eighth of such a run; tests of their own draw them
    "logger=csv",
    "network.chunk_frames=2",
    "network.train_local_frames=1",
    "network.local_frames=1",
]
SEGMENTS = [
    "datamodule=folder_segments",
    "datamodule.num_frames=[25]",  # seven latents: a row of three segments of two
    "datamodule.segment_frames=2",
    "datamodule.segments_per_row=3",
    "compressor.encoder_depth=1",
    "compressor.decoder_depth=1",
    "lightning_module.rates.highest=8.0",
]
MEMORY = [
    "lightning_module.validation_times=[0.5,0.9]",
    "lightning_module.validation_rate=4.0",
    "lightning_module.tasks.window_frames=1",
    "lightning_module.tasks.max_context=2",
    "rollout.segment_frames=2",
    "rollout.window_frames=1",
    "rollout.compression_ratio=4.0",
    "rollout.max_context=2",
    "~pretrained.window",
]
OTHERS = ("network.", "interface.", "lightning_module.", "datamodule=", "datamodule.num_frames")
"""Beginnings of settings that runs on rows of segments do not share."""


def config(videos: Path, run: Path, *changes: str, drop: tuple[str, ...] = ()) -> DictConfig:
    """Of a run on clips: VIN, unless the changes say otherwise; drop: beginnings of keys that it does not have."""
    settings = [key for key in TINY if not key.startswith(drop)]
    data = (f"datamodule.root={videos}", f"datamodule.cache_dir={videos.parent / 'cache'}")
    return composed("train", *settings, *data, f"paths.run_dir={run}", *changes)


def memory_config(videos: Path, run: Path, *changes: str, drop: tuple[str, ...] = ()) -> DictConfig:
    """Of a run on rows of segments; drop: beginnings of keys that this experiment does not have."""
    settings = [key for key in TINY if not key.startswith((*OTHERS, *drop))]
    segments = [key for key in SEGMENTS if not key.startswith(drop)]
    data = (f"datamodule.root={videos}", f"datamodule.cache_dir={videos.parent / 'cache'}")
    cfg = composed("train", *settings, *segments, *data, f"paths.run_dir={run}", *changes)
    torch.manual_seed(0)  # an untrained codec must be the same one every time
    return cfg


def generate_config(weights: Path, output: Path, *changes: str) -> DictConfig:
    """Of a call of generate.py."""
    return composed("generate", f"weights={weights}", f"output={output}", *changes)


def weights(run: Path, key: str = "state_dict") -> dict[str, Any]:
    """A part of a run's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[key]


def run_together(world: int, videos: Path, run: Path, trainer: str, *changes: str, drop: tuple[str, ...] = ()) -> None:
    """A run on clips by several processes, which are forked: importing everything anew takes longer than the run."""
    assert exit_codes(world, videos, run, trainer, *changes, drop=drop) == [0] * world


def run_in_turn(world: int, *configs: DictConfig) -> None:
    """Runs by the same processes one after the other, of `together`: a process begins for longer than a run lasts."""
    assert _ends(world, configs) == [0] * world


def together(
    world: int, videos: Path, run: Path, trainer: str, *changes: str, drop: tuple[str, ...] = ()
) -> DictConfig:
    """Of a run on clips by several processes."""
    own = [x for x in TINY if x.startswith("trainer.")]  # that another trainer would leave out
    return config(videos, run, trainer, *own, f"trainer.devices={world}", *changes, drop=drop)


def exit_codes(
    world: int, videos: Path, run: Path, trainer: str, *changes: str, drop: tuple[str, ...] = ()
) -> list[int | None]:
    """With what each process of such a run ends; none is told of the others' ends."""
    return _ends(world, (together(world, videos, run, trainer, *changes, drop=drop),))


def _ends(world: int, configs: tuple[DictConfig, ...]) -> list[int | None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **{key: str(value) for key, value in told.items()}}  # the server keeps its own
    started = multiprocessing.start_processes(
        _member, args=(environment, configs), nprocs=world, start_method="forkserver", join=False
    )
    for process in started.processes:
        process.join(280)
        process.kill()
        process.join()
    return [process.exitcode for process in started.processes]


def _member(rank: int, environment: dict[str, str], configs: tuple[DictConfig, ...]) -> None:
    """One of them, as a launcher starts it, in the environment of the test that started it."""
    torch.set_num_threads(1)
    places = {"LOCAL_RANK": rank, "RANK": rank, "NODE_RANK": 0, "GROUP_RANK": 0}
    rank_zero_only.rank = rank
    for cfg in configs:
        os.environ.clear()  # Lightning takes some away when a run has ended
        os.environ.update({**environment, **{key: str(value) for key, value in places.items()}})
        train(cfg)


def losses(run: Path) -> dict[int, float]:
    """The training loss of each step, from all files of curves."""
    found: dict[int, float] = {}
    for file in sorted(run.glob("*/metrics*.csv")):
        head, *lines = (line.split(",") for line in file.read_text().splitlines())
        step, loss = head.index("step"), head.index("train/loss")
        found.update({int(x[step]): float(x[loss]) for x in lines if x[loss]})
    return found
