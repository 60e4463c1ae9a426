"""FLOPs of one video by each method: the cost model, and the ablations that it leaves out."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from longtake.cli.changes import with_changes
from longtake.cost.codec import codec_size
from longtake.cost.flops import chunk_calls, dit_flops
from longtake.cost.rollouts import plan, sampling_cost
from longtake.cost.sizes import NetworkSize, VideoSize, network_size
from longtake.releases.reading import read_run

TEXT_TOKENS = 20
"""Of a caption. Source: as in conf/evaluate.yaml."""
BYTES = 4


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
    return sampling_cost(
        plan(network, rollout, video.num_latents), video, calls_per_canvas=calls, element=BYTES
    ).network


def video_tflop(cfg: DictConfig) -> float:
    """10¹² FLOP of one video, decoding included, by a config of generate.py; no network is built."""
    nodes = with_changes(read_run(cfg.weights)[0], cfg)
    codec = codec_size(nodes["codec"])
    height, width = (nodes["video"][side] if cfg[side] is None else cfg[side] for side in ("height", "width"))
    video = VideoSize(
        num_latents=(cfg.num_frames - 1) // codec.time_factor + 1,
        height=height // codec.space_factor,
        width=width // codec.space_factor,
        text_tokens=TEXT_TOKENS,
    )
    calls = nodes["sampler"]["num_inference_steps"] * (1 if nodes["guidance"]["scale"] == 1 else 2)
    flops = sampling_flops(network_size(nodes["network"]), nodes["rollout"], video, calls=calls, without=cfg.without)
    decode = (codec.decode_flops or 0) * video.num_latents * video.height * video.width
    return (flops + decode) / 1e12
