"""FLOPs of one video by each method: the cost model, and the rollouts and ablations that it leaves out."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_modules.cost.codec import codec_size
from lightning_modules.cost.flops import chunk_calls, dit_flops
from lightning_modules.cost.rollouts import Canvas, Plan, plan, sampling_cost, window_lengths
from lightning_modules.cost.sizes import NetworkSize, VideoSize, network_size
from lightning_modules.rollouts.merging import SlidingWindows
from lightning_modules.runs import override, read_run
from lightning_modules.take import overrides, rollout_of

TEXT_TOKENS = 20
"""Of a caption. Source: as in conf/evaluate.yaml."""
BYTES = 4


def windows_of(rollout: Mapping[str, Any], num_latents: int) -> list[int]:
    """First latent frame of each window of a rollout that merges windows; all are of the same size."""
    windows = SlidingWindows(
        window_frames=rollout["window_frames"],
        overlap_frames=rollout["overlap_frames"],
        profile="uniform",
        windows_per_call=0,
    )
    starts: list[int] = windows.plan(num_latents, torch.device("cpu"))[0][:, 0].tolist()
    return starts


def plan_of(network: NetworkSize, rollout: Mapping[str, Any], num_latents: int) -> Plan:
    """The canvases of any rollout of conf/rollout; windows that are merged at every step count as canvases.

    Raises:
        ValueError: for a rollout whose cost is not known.
    """
    kind = str(rollout["_target_"]).rpartition(".")[2]
    if kind == "Anchored":
        window, anchor = rollout["window_frames"], rollout["anchor_frames"]
        first = min(window, num_latents)
        # Later windows hold the anchor as well, and so much fewer new frames.
        later = window_lengths(num_latents - first + window - anchor, window - anchor, rollout["context_frames"])[1:]
        return Plan(network.backbone, tuple(Canvas(length, ()) for length in (first, *(x + anchor for x in later))))
    if kind in ("GenLVideo", "FreeNoise", "SpectralBlending"):
        size = min(rollout["window_frames"], num_latents)
        parts = [Canvas(size, ())] * len(windows_of(rollout, num_latents))
        if kind == "SpectralBlending" and num_latents > size:
            parts.append(Canvas(num_latents, ()))
        return Plan(network.backbone, tuple(parts))
    return plan(network, rollout, num_latents)


def sampling_flops(
    network: NetworkSize, rollout: Mapping[str, Any], video: VideoSize, *, calls: int, without: str | None
) -> int:
    """Of all calls of the network for one video; calls: steps times passes of guidance."""
    if without == "global_tokens":
        assert network.chunks is not None
        parts = chunk_calls(network.chunks, video.num_latents, 0, 0, training=False)
        return calls * sum(dit_flops(network.dit, part, video) for part in parts)
    if without == "memory":
        network = network._replace(compressor=None)
    made = plan_of(network, rollout, video.num_latents)
    return sampling_cost(made, video, calls_per_canvas=calls, element=BYTES).network


def video_tflop(cfg: DictConfig) -> float:
    """10¹² FLOP of one video, decoding included, by a config of generate.py; no network is built."""
    config = override(read_run(cfg.weights)[0], overrides(cfg))
    nodes: Any = OmegaConf.to_container(config, resolve=True)
    codec = codec_size(nodes["codec"])
    height, width = (nodes["video"][side] if cfg[side] is None else cfg[side] for side in ("height", "width"))
    video = VideoSize(
        num_latents=(cfg.num_frames - 1) // codec.time_factor + 1,
        height=height // codec.space_factor,
        width=width // codec.space_factor,
        text_tokens=TEXT_TOKENS,
    )
    rollout: Any = OmegaConf.to_container(rollout_of(cfg, config), resolve=True)
    calls = nodes["sampler"]["num_inference_steps"] * (1 if nodes["guidance"]["scale"] == 1 else 2)
    flops = sampling_flops(network_size(nodes["network"]), rollout, video, calls=calls, without=cfg.without)
    decode = (codec.decode_flops or 0) * video.num_latents * video.height * video.width
    return (flops + decode) / 1e12
