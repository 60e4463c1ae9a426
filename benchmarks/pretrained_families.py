"""The pretrained families at their real sizes, on the device meta: shallow models that stand for deep ones.

Of benchmarks/pretrained_cost.py and pretrained_recipes.py. Blocks of a kind cost alike, so that a model of one block of
each kind and models with one more are counted, and the rest follows exactly (`Depths`).
"""

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from longtake.cost.sampling import VideoSize

CONF = Path(__file__).parents[1] / "conf"
SIZES = {"480p": (480, 832), "720p": (704, 1280)}  # sides of multiples of 32, which all codecs and patches take
TEXT_TOKENS = 64


class Family(NamedTuple):
    """backbone, codec, text: configs. hub: whose sizes. depths: its names of numbers of blocks. passes: of guidance.

    factors: pixels of a latent in time and in space.
    """

    backbone: str
    codec: str
    text: str
    hub: str
    depths: tuple[str, ...] = ("num_layers",)
    passes: int = 2
    factors: tuple[int, int] = (4, 8)
    changes: tuple[str, ...] = ()


FAMILIES = {
    "wan_1_3b": Family("wan", "wan", "umt5", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    "wan_14b": Family(
        "wan",
        "wan",
        "umt5",
        "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        changes=("backbone.width=5120", "backbone.num_heads=40"),
    ),
    "wan22_ti2v_5b": Family("wan22_ti2v", "wan22", "umt5", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", factors=(4, 16)),
    "ltx_2b": Family("ltx", "ltx", "ltx", "Lightricks/LTX-Video", factors=(8, 32)),
    "cogvideox_2b": Family("cogvideox_2b", "cogvideox", "cogvideox", "THUDM/CogVideoX-2b"),
    "cogvideox_5b": Family("cogvideox_5b", "cogvideox", "cogvideox", "THUDM/CogVideoX-5b"),
    "cogvideox15_5b": Family("cogvideox15_5b", "cogvideox", "cogvideox", "THUDM/CogVideoX1.5-5B"),
    "hunyuan_13b": Family(
        "hunyuan",
        "hunyuan",
        "hunyuan",
        "hunyuanvideo-community/HunyuanVideo",
        depths=("num_layers", "num_single_layers"),
        passes=1,
    ),
}
Counts = dict[str, float]
"""Figures by name, all of which are sums over blocks, or of the same block whatever the depth."""


class Depths(NamedTuple):
    """Shallow models that stand for a deep one: one block of each kind, and one more of each in turn."""

    shallow: list[dict[str, int]]
    more: list[int]

    @classmethod
    def of(cls, real: Mapping[str, int]) -> "Depths":
        """real: number of blocks of each kind."""
        least = dict.fromkeys(real, 1)
        return cls([least, *({**least, name: 2} for name in real)], [count - 1 for count in real.values()])

    def whole(self, count: Callable[[dict[str, int]], Counts]) -> Counts:
        """What the deep model would count."""
        base, *others = (count(depths) for depths in self.shallow)
        made = dict(base)
        for other, more in zip(others, self.more, strict=True):
            made = {name: value + more * (other[name] - base[name]) for name, value in made.items()}
        return made


def real_depths(family: Family) -> dict[str, int]:
    """Numbers of blocks of the real model, by name."""
    kind, sizes = _sizes(family)
    defaults = signature(kind.__init__).parameters
    return {name: int(sizes.get(name, defaults[name].default)) for name in family.depths}


@cache
def _sizes(family: Family) -> tuple[Any, Mapping[str, Any]]:
    import diffusers

    from networks.pretrained import cogvideox, hunyuan, ltx, wan

    known = {name: each for part in (cogvideox, hunyuan, ltx, wan) for name, each in _known(part.FAMILY).items()}
    class_name, sizes = known[family.hub]
    return getattr(diffusers, class_name), sizes


def _known(family: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {name: (family.class_name, sizes) for name, sizes in family.known.items()}


@cache
def _composed(family: Family, changes: tuple[str, ...]) -> Any:
    groups = [f"backbone={family.backbone}", f"codec={family.codec}", f"text={family.text}", *family.changes]
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("evaluate", [*groups, *changes])


def build(family: Family, depths: Mapping[str, int], *changes: str) -> Any:
    """A network on meta, of a shallow model of the family's real widths."""
    kind, sizes = _sizes(family)
    with tempfile.TemporaryDirectory() as folder:
        with torch.device("meta"):
            kind(**{**sizes, **depths}).save_config(Path(folder, "transformer"))
        cfg = copy.deepcopy(_composed(family, changes))
        cfg.backbone.pretrained = folder
        with torch.device("meta"):
            network = instantiate(cfg.network)
    return network, cfg


def sized(name: str, size: str, latents: int = 0) -> VideoSize:
    """Of a family's latents at a size, in a video or clip of so many."""
    family, (height, width) = FAMILIES[name], SIZES[size]
    cfg, side = _composed(family, ("network=dit",)), family.factors[1]
    channels, features = int(cfg.codec.channels), int(cfg.text.features)
    return VideoSize(latents, channels, height // side, width // side, TEXT_TOKENS, features)


def latent_fps(name: str) -> float:
    """Latent frames a second."""
    return float(_composed(FAMILIES[name], ("network=dit",)).backbone.latent_fps)


def vin_of(chunk: int, overlap: int) -> tuple[str, ...]:
    """Settings of VIN with the narrow interface, one window a call."""
    sizes = (
        f"network.chunk_frames={chunk}",
        f"network.train_local_frames={overlap}",
        f"network.local_frames={overlap}",
    )
    return ("network=vin", "interface=narrow", *sizes, "network.windows_per_call=1")
