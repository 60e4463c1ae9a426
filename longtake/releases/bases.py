"""Pretrained models that weights were trained upon, under the name or in the folder where a user has them."""

from collections.abc import Iterator, Mapping
from typing import Any

from networks.model_folder import check_pretrained


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


def look_at_bases(config: Mapping[str, Any]) -> None:
    """Looks at the files of every pretrained model of a config, before the first of them is read.

    Args:
        config: config of weights or of a training; a name on the hub is not looked at.

    Raises:
        WrongFileError: for a folder that is not there or a broken file; see `check_pretrained`.
    """
    for part in ("backbone", "codec", "text"):
        for node in bases_in(config.get("network" if part == "backbone" else part)):
            for key in ("subfolder", "tokenizer_subfolder"):
                if key in node:
                    check_pretrained(str(node["pretrained"]), str(node[key]), f"{part}.pretrained")


def bases_in(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping at any depth that names a pretrained model."""
    if isinstance(node, dict):
        if "pretrained" in node:
            yield node
        for value in node.values():
            yield from bases_in(value)
