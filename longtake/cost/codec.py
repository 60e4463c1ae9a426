"""Codecs: their factors, and what decoding costs where that is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from longtake.cost.guests import BYTES, codec_parameters
from longtake.cost.sampling import FULL
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.pixels import PixelCodec
from networks.reading import read_json

FACTORS = {
    ("AutoencoderKLWan", 16): (4, 8),
    ("AutoencoderKLWan", 48): (4, 16),
    ("AutoencoderKLHunyuanVideo", 16): (4, 8),
    ("AutoencoderKLCogVideoX", 16): (4, 8),
    ("AutoencoderKLLTXVideo", 128): (8, 32),
}
"""Time and space factor of pretrained ones, by class and channels. Source: their papers; Wan 2.2's readme."""


GROUP = 16
"""Latent frames that decode_stream decodes at a time."""


class CodecSize(NamedTuple):
    """What the cost model knows of a codec; None stands for a number that it does not know.

    channels, time_factor, space_factor: of the latents. decode_flops: FLOPs of decoding one place of one latent frame.
    decode_values: numbers that are held for such a place at the fullest moment. parameters: of the whole codec.
    element: bytes of a weight.
    """

    channels: int
    time_factor: int
    space_factor: int
    decode_flops: int | None
    decode_values: int | None
    parameters: int | None
    element: int = FULL

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of the codec's weights, in their type."""
        return None if self.parameters is None else self.parameters * self.element

    def decode_bytes(self, num_latents: int, places: int) -> int | None:
        """Bytes of activations, in float32, at the fullest moment of streaming decode; places: of one latent frame.

        After the first piece, whoever writes the video still holds the pixels of the one before.
        """
        if self.decode_values is None:
            return None
        pixels = 3 * self.time_factor * self.space_factor**2 if num_latents > GROUP else 0
        return FULL * (self.decode_values + pixels) * min(GROUP, num_latents) * places


def codec_size(node: Mapping[str, Any]) -> CodecSize:
    """The size of the codec that a resolved config of conf/codec names; of a release folder only config.json is read.

    Args:
        node: the codec's node of a resolved config.

    Returns:
        Its channels and factors.

    Raises:
        ValueError: for a codec whose factors are not known, or a folder without a config.
    """
    kind = str(node["_target_"]).rpartition(".")[2]
    if kind == "load_pretrained":
        path = Path(node["folder"], "config.json")
        if not path.is_file():
            raise ValueError(f"codec.folder={node['folder']} holds no config.json: give another folder or codec=causal")
        saved = read_json(path)
        return codec_size({**saved, "_target_": saved["_class_name"]})
    if kind == "CausalVideoAutoencoder":
        codec = _causal(node)
        values, flops = _causal_values(node, codec), _causal_decoder(node, codec)
        parameters = sum(parameter.numel() for parameter in codec.parameters())
        return CodecSize(codec.channels, codec.time_factor, codec.space_factor, flops, values, parameters)
    if kind == "PixelCodec":
        return CodecSize(node["channels"], PixelCodec.time_factor, PixelCodec.space_factor, 0, 0, 0)
    if kind == "DiffusersCodec" and (node["class_name"], node["channels"]) in FACTORS:
        factors, element = FACTORS[node["class_name"], node["channels"]], BYTES[node.get("dtype", "float32")]
        return CodecSize(node["channels"], *factors, None, None, codec_parameters(node), element)
    raise ValueError(
        f"cost=true knows no codec {node['_target_']}: use freedoom, causal, pixels, wan, wan22, ltx, cogvideox or "
        "hunyuan"
    )


def _causal(node: Mapping[str, Any]) -> CausalVideoAutoencoder:
    """The codec without values."""
    names = ("channels", "fine_width", "coarse_width", "num_fine_blocks", "num_coarse_blocks", "patch")
    with torch.device("meta"):
        sizes = {name: int(node[name]) for name in names if name in node}
        return CausalVideoAutoencoder(**sizes, linear_path=bool(node.get("linear_path")))


def _causal_decoder(node: Mapping[str, Any], codec: CausalVideoAutoencoder) -> int:
    """Convolutions of the decoder at the coarse grid, and at the fine one with four times the places."""
    fine, coarse = int(node["fine_width"]), int(node["coarse_width"])
    folded = 3 * codec.time_factor * codec.patch**2
    blocks = int(node["num_coarse_blocks"]) * (3 + 2 * 9) * coarse**2
    at_coarse = 9 * codec.channels * coarse + blocks + coarse * 4 * fine
    at_fine = (int(node["num_fine_blocks"]) + 1) * 2 * 9 * fine**2 + 9 * fine * folded
    return 2 * (at_coarse + 4 * at_fine)


def _causal_values(node: Mapping[str, Any], codec: CausalVideoAutoencoder) -> int:
    """At the fine grid: three maps of a block and a coarse one, or folded pixels before and after they are in order."""
    folded = 3 * codec.time_factor * codec.patch**2
    block = 4 * 3 * int(node["fine_width"]) + int(node["coarse_width"])
    return codec.channels + max(block, 4 * 2 * folded)
