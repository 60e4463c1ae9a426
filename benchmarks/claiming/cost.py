"""FLOPs of one video by each method, with what it goes without left out."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from longtake.cli.changes import changes_of, with_changes
from longtake.cost.codec import codec_size
from longtake.cost.sampling import VideoSize, sampling_cost
from longtake.releases.reading import read_run

TEXT_TOKENS = 20
"""Of a caption. Source: as in conf/evaluate.yaml."""


def video_tflop(cfg: DictConfig) -> float:
    """10¹² FLOP of one video, decoding included, by a config of generate.py; the network is built without weights."""
    nodes: Any = with_changes(read_run(cfg.weights)[0], changes_of(cfg))
    codec = codec_size(nodes["codec"])
    height, width = (nodes["video"][side] if cfg[side] is None else cfg[side] for side in ("height", "width"))
    video = VideoSize(
        num_latents=(cfg.num_frames - 1) // codec.time_factor + 1,
        channels=codec.channels,
        height=height // codec.space_factor,
        width=width // codec.space_factor,
        text_tokens=TEXT_TOKENS,
        text_features=nodes["text"]["features"],
    )
    with torch.device("meta"):
        network = instantiate(nodes["network"]).requires_grad_(False)
    cost = sampling_cost(
        network,
        instantiate(nodes["rollout"]),
        video,
        calls_per_canvas=nodes["sampler"]["num_inference_steps"] * (1 if nodes["guidance"]["scale"] == 1 else 2),
        dtype=torch.float32,
        without=() if cfg.without is None else (cfg.without,),
        texts_per_canvas=1 if nodes["guidance"]["scale"] == 1 else 2,
    )
    return (cost.network + (codec.decode_flops or 0) * video.num_latents * video.height * video.width) / 1e12
