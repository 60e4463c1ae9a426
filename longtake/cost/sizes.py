"""Sizes of networks, as the formulas need them, read from resolved configs of conf/network.

Nothing is built: a config says enough. Widths in features, lengths in latent frames unless they say otherwise.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

log = logging.getLogger("longtake")

Node = Mapping[str, Any]
"""A resolved config node: `_target_` and arguments."""

PATCH = 2
"""Side of the square of latents that becomes one token."""


class DiTSize(NamedTuple):
    """A VideoDiT; hidden: width of its feed-forward layers."""

    channels: int
    width: int
    depth: int
    num_heads: int
    hidden: int
    text_features: int
    checkpointed: bool


class InterfaceSize(NamedTuple):
    """A Video Interface; keyframe_step: distance of its keyframes in latent frames."""

    num_tokens: int
    width: int
    depth: int
    keyframe_step: float


class ChunkSize(NamedTuple):
    """How VIN cuts a canvas; windows_per_call: windows denoised at once in sampling, 0 for all."""

    chunk_frames: int
    local_frames: int
    train_local_frames: int
    windows_per_call: int
    pooled: bool


class CompressorSize(NamedTuple):
    """A compressor's encoder. kind: flexformer | fixed_queries | mean_pool; grid: of fixed queries, else empty."""

    kind: str
    block: str
    width: int
    depth: int
    text_features: int
    grid: tuple[int, ...]
    strategy: str | Sequence[float]
    rule: str


class SlidingSize(NamedTuple):
    """Windows whose predictions a rollout merges at every step; windows_per_call: denoised at once, 0 for all."""

    window_frames: int
    overlap_frames: int
    windows_per_call: int


class MixingSize(NamedTuple):
    """Self-attention as a rollout has it, on canvases longer than a window.

    stride_frames: to the next of its windows; None for full attention and, beside it, that of a band of frames.
    """

    window_frames: int
    stride_frames: int | None

    @property
    def band_frames(self) -> int:
        """Frames that each frame sees where there is a band: as many on both sides, and itself."""
        return 2 * (self.window_frames // 2) + 1


class NetworkSize(NamedTuple):
    """A network: its DiT, VIN's two parts where it has them, and whether it has LoViC's memory and a compressor.

    low_resolution: LoViC's branch beside the compressor; sliding, mixing: what a rollout makes of the network.
    """

    dit: DiTSize
    interface: InterfaceSize | None
    chunks: ChunkSize | None
    remembers: bool
    compressor: CompressorSize | None
    low_resolution: bool = False
    sliding: SlidingSize | None = None
    mixing: MixingSize | None = None

    @property
    def backbone(self) -> "NetworkSize":
        """What rollouts that ask for the backbone get: VIN's DiT alone, any other network itself."""
        return self if self.remembers else self._replace(interface=None, chunks=None)


class VideoSize(NamedTuple):
    """What is made: latent frames, height and width of the latents, and tokens of its caption."""

    num_latents: int
    height: int
    width: int
    text_tokens: int

    @property
    def per_frame(self) -> int:
        """Tokens of a latent frame."""
        return (self.height // PATCH) * (self.width // PATCH)


def _kind(node: Node) -> str:
    return str(node["_target_"]).rpartition(".")[2]


def dit_size(node: Node) -> DiTSize:
    """Of a config of conf/backbone."""
    if _kind(node) != "VideoDiT":
        raise ValueError(f"cost=true knows no backbone {node['_target_']}: use networks.dit.VideoDiT")
    width = node["width"]
    return DiTSize(
        channels=node["channels"],
        width=width,
        depth=node["depth"],
        num_heads=node["num_heads"],
        hidden=int(width * node["mlp_ratio"]),
        text_features=node["text_features"],
        checkpointed=node["checkpoint_activations"],
    )


def compressor_size(node: Node) -> CompressorSize:
    """Of a config of conf/compressor.

    Raises:
        ValueError: for a compressor whose cost is not known.
    """
    kinds = {"FlexFormer": "flexformer", "FixedQueries": "fixed_queries", "MeanPool": "mean_pool"}
    if _kind(node) not in kinds:
        raise ValueError(f"cost=true knows no compressor {node['_target_']}: use {', '.join(kinds.values())}")
    return CompressorSize(
        kind=kinds[_kind(node)],
        block=node["block"],
        width=node["width"],
        depth=node.get("encoder_depth", 0),
        text_features=node["text_features"],
        grid=tuple(node.get("grid", ())),
        strategy=node.get("strategy", "uniform"),
        rule=node.get("rule", "centre"),
    )


def network_size(node: Node) -> NetworkSize:
    """Of a config of conf/network.

    Raises:
        ValueError: for a network whose cost is not known.
    """
    match _kind(node):
        case "full_attention":
            return NetworkSize(dit_size(node["backbone"]), None, None, remembers=False, compressor=None)
        case "VideoInterfaceNetwork":
            return _vin_size(node)
        case "LoViCNetwork":
            window = node["window"]
            inner = (
                _vin_size(window)
                if _kind(window) == "VideoInterfaceNetwork"
                else NetworkSize(dit_size(window), None, None, remembers=False, compressor=None)
            )
            compressor = None if node["compressor"] is None else compressor_size(node["compressor"])
            if compressor is None:
                log.info("no compressor: this is the cost of the window alone; compressor=flexformer adds the memory")
            low_resolution = compressor is not None and bool(node["low_resolution"])
            return inner._replace(remembers=True, compressor=compressor, low_resolution=low_resolution)
    raise ValueError(f"cost=true knows no network {node['_target_']}: use vin, vin_plan, dit, lovic or vin_lovic")


def dit_node(node: Node) -> Node:
    """The config of the DiT inside one of conf/network that `network_size` knows."""
    inner: Node = node.get("window", node)
    dit: Node = inner.get("backbone", inner)
    return dit


def _vin_size(node: Node) -> NetworkSize:
    interface = node["interface"]
    return NetworkSize(
        dit=dit_size(node["backbone"]),
        interface=InterfaceSize(
            num_tokens=interface["num_tokens"],
            width=interface["width"],
            depth=interface["depth"],
            keyframe_step=max(interface["keyframe_seconds"] * interface["latent_fps"], 1.0),
        ),
        chunks=ChunkSize(
            chunk_frames=node["chunk_frames"],
            local_frames=node["local_frames"],
            train_local_frames=node["train_local_frames"],
            windows_per_call=node["windows_per_call"],
            pooled=node["pooled_modulation"],
        ),
        remembers=False,
        compressor=None,
    )
