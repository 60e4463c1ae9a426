"""Pretrained models that weights were trained upon, under the name or in the folder where a user has them."""

from collections.abc import Iterator
from typing import Any


def rename_base(config: dict[str, Any], part: str, name: str) -> None:
    """Gives a part that loads a pretrained model another folder or hub name of it, wherever the config repeats it.

    Args:
        config: config of the weights; changed in place.
        part: text, codec or backbone; the last one is of the network.
        name: a folder, or a name on the hub.

    Raises:
        ValueError: if that part loads no pretrained model.
    """
    nodes = list(bases_in(config.get("network" if part == "backbone" else part)))
    if not nodes:
        raise ValueError(f"{part}.pretrained={name}: the {part} of these weights has no pretrained model: leave it out")
    # a sampler that reads its scheduler does so beside the backbone, and a run repeats both in its module
    beside = ["backbone", "sampler"] if part == "backbone" else [part]
    module = config.get("lightning_module") or {}
    again = [module.get(each) for each in (["network", "sampler"] if part == "backbone" else [part])]
    for place in [*(config.get(each) for each in beside), *again]:
        nodes += bases_in(place)
    for node in nodes:
        node["pretrained"] = name


def base_of(config: dict[str, Any], part: str) -> str | None:
    """The pretrained model that a part names, None where it has none; see `rename_base`."""
    return next((node["pretrained"] for node in bases_in(config.get("network" if part == "backbone" else part))), None)


def bases_in(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping at any depth that names a pretrained model."""
    if isinstance(node, dict):
        if "pretrained" in node:
            yield node
        for value in node.values():
            yield from bases_in(value)
