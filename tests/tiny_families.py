"""Every family of pretrained backbones at a tiny random size, for tests that all of them pass.

A family is a module tiny_*.py beside this one, and an entry here.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tiny_cogvideox
import tiny_hunyuan
import tiny_ltx
import tiny_wan
import torch
from builders import awake, example, remembering_example, tiny_lovic, tiny_vin

from networks.interfaces import TokenGrid
from networks.lovic import LoViCNetwork


class Tiny(NamedTuple):
    """A family.

    folder: of a pipeline with a tiny model; transformer, settings_of, backbone_of: see tiny_wan. loaded: what the class
    of diffusers makes of noisy, time b and a condition. side: of latents. frames, local_frames: of a canvas, and of the
    overlaps of VIN. adapters: tensors of LoRA.
    """

    folder: Callable[[], Path]
    transformer: Callable[..., Any]
    settings_of: Callable[..., dict[str, Any]]
    backbone_of: Callable[..., Any]
    loaded: Callable[..., torch.Tensor]
    adapters: int
    side: tuple[int, int] = (4, 6)
    frames: int = 7
    local_frames: int = 3

    @property
    def target(self) -> str:
        """Its class, as a config names it."""
        kind = type(self.backbone_of(self.folder()))
        return f"{kind.__module__}.{kind.__name__}"

    def network(self, name: str, backbone: Any) -> Any:
        """A network of these around a backbone: dit, vin, vin_plan, lovic, lovic_low_resolution, vin_lovic."""
        vin = partial(tiny_vin, backbone=backbone, local_frames=self.local_frames)
        made = {
            "dit": lambda: backbone,
            "vin": vin,
            "vin_plan": lambda: vin(plan=True),
            "lovic": lambda: tiny_lovic(backbone),
            "lovic_low_resolution": lambda: tiny_lovic(backbone, low_resolution=True),
            "vin_lovic": lambda: tiny_lovic(vin(plan=True), low_resolution=True),
        }
        return made[name]()

    def inputs(self, network: Any, frames: int | None = None) -> Any:
        """noisy, time and condition that a network takes."""
        make = remembering_example if isinstance(network, LoViCNetwork) else example
        return make(self.frames if frames is None else frames, side=self.side)


def _wan(noisy, time, condition):
    known = condition.text * condition.text_mask.unsqueeze(-1)
    padded = torch.nn.functional.pad(known, (0, 0, 0, 512 - known.shape[1]))
    return tiny_wan.tiny_transformer()(noisy, 1000 * time, padded).sample


def _ltx(noisy, time, condition):
    grid = TokenGrid(*noisy.shape[2:])
    made = tiny_ltx.tiny_transformer()(
        noisy.flatten(2).mT,
        condition.text,
        1000 * time,
        condition.text_mask.long(),
        *grid,
        rope_interpolation_scale=(1 / 3.125, 32, 32),
    ).sample
    return made.mT.unflatten(2, grid)


def _of(module: Any, folder: Any, loaded: Any, adapters: int, **changes: Any) -> Tiny:
    transformer = changes.pop("transformer", module.tiny_transformer)
    return Tiny(folder, transformer, module.settings_of, module.backbone_of, loaded, adapters, **changes)


def _cogvideox(kind: str, **changes: Any) -> Tiny:
    transformer, folder = (
        partial(each, kind) for each in (tiny_cogvideox.tiny_transformer, tiny_cogvideox.tiny_cogvideox)
    )
    loaded = partial(tiny_cogvideox.loaded, kind)
    return _of(tiny_cogvideox, folder, loaded, 2 * 4 * 2, transformer=transformer, **changes)


FAMILIES = {
    "wan": _of(tiny_wan, tiny_wan.tiny_wan, _wan, 2 * 2 * 4 * 2),
    "ltx": _of(tiny_ltx, tiny_ltx.tiny_ltx, _ltx, 2 * 2 * 4 * 2, side=(3, 5)),
    "cogvideox_2b": _cogvideox("2b"),
    "cogvideox_5b": _cogvideox("5b"),
    "cogvideox_15": _cogvideox("1.5", frames=8, local_frames=2),
    "hunyuan": _of(tiny_hunyuan, tiny_hunyuan.tiny_hunyuan, tiny_hunyuan.loaded, (4 + 3) * 2),
}

BESIDE = ("interface", "compressor", "adapter", "plan", "pool")


def wake_the_rest(network, parts=BESIDE):
    """All that is trained beside the backbone says something."""
    for part in parts:
        for place, module in network.named_modules():
            if place.rpartition(".")[2] == part and "model" not in place:
                awake(module)
    return network


def of_places_as_with_a_memory(base):
    """A family that counts places from a window's first frame does not where a memory has places too."""
    rotation = base._rotation
    base._rotation = lambda index, grid, relative: rotation(index, grid, False)
    base._index = lambda index, relative: index
    return base
