"""Networks in and out of diffusers-style folders: config.json and diffusion_pytorch_model.safetensors.

config.json holds the constructor's arguments under `_class_name`, nested where a network is built of networks.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from networks.files import remove_unfinished, whole
from networks.reading import UNREADABLE, check_finite, load_tensors, read_json, reason_of, tensor_shapes

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"


MOST_NUMBER, MOST_LAYERS = 1 << 31, 1000


def most_of(key: str) -> int:
    """The largest number that an argument of a network may have in a file; layers are built one by one."""
    return MOST_LAYERS if key.endswith(("depth", "blocks")) else MOST_NUMBER


_IDENTITIES = ("networks.dit.full_attention", "networks.lovic.compressor_alone")
"""Functions that a config may name beside classes: each returns the network that it is given."""


def own_network(name: str) -> Callable[..., Any] | None:
    """The network class that a dotted name stands for, None for any other name.

    Only a subclass of nn.Module counts, by the name of the module in `networks` that defines it: what a module of ours
    has imported, such as a function that writes files, cannot be reached by a name in a file.
    """
    module_name, _, class_name = name.rpartition(".")
    parts = module_name.split(".")
    if parts[0] != "networks" or not all(part.isidentifier() for part in (*parts, class_name)):
        return None
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError:
        return None
    if name in _IDENTITIES:
        return found if callable(found) else None
    is_network = inspect.isclass(found) and issubclass(found, nn.Module) and found.__module__ == module_name
    return found if is_network else None


def build(config: Any) -> Any:
    """Builds what a config.json describes: every mapping with `_class_name` becomes a network, innermost first.

    Args:
        config: mappings, lists, numbers and texts.

    Returns:
        The network, or what is no mapping with `_class_name` as it is.

    Raises:
        ValueError: if a name is not one of this project's networks, since a file must not run anything else, or the
            class does not take the arguments.
    """
    if isinstance(config, list):
        return [build(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    arguments = {key: build(value) for key, value in config.items() if not key.startswith("_")}
    if "_class_name" not in config:
        return arguments
    name = str(config["_class_name"])
    network = own_network(name)
    if network is None:
        raise ValueError(f"config.json names {name!r}, which is no network class of this project: take another folder")
    for key, value in arguments.items():
        if isinstance(value, int | float) and not abs(value) <= most_of(key):  # NaN too
            raise ValueError(f"config.json: {key}={value} must be a number up to {most_of(key):,}")
    try:
        inspect.signature(network).bind(**arguments)
        return network(**arguments)
    except ValueError:
        raise
    except UNREADABLE as error:
        reason = reason_of(error)
        raise ValueError(f"config.json does not fit {name} ({reason}); take the folder as it was released") from error


def save_pretrained(network: nn.Module, config: Mapping[str, Any], folder: str | Path) -> None:
    """Writes a network and the config that `build` makes it from; those of an existing folder are replaced together."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    check_finite(state, "the network")
    with whole(folder / CONFIG) as written, whole(folder / WEIGHTS) as part:  # weights keep their config on a full disk
        written.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(state, part, metadata={"format": "pt"})


def load_pretrained(*, folder: str | Path, channels: int) -> nn.Module:
    """A frozen network from its folder, in evaluation mode.

    Args:
        folder: folder with config.json and weights.
        channels: latent channels that the rest of the configuration counts on; a codec with another number is refused.

    Returns:
        The network.

    Raises:
        ValueError: if the folder is not there, is not a network's, or has another number of channels.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.get("channels", channels) != channels:
        raise ValueError(
            f"{folder} has {config['channels']} latent channels, but {channels} are configured: "
            f"set codec.channels={config['channels']}"
        )
    if "pretrained" not in config:  # one that loads a base has the base's sizes
        with torch.device("meta"):  # where sizes cost nothing: wrong ones would fill the memory
            check_fits(build(config), folder)
    network: nn.Module = build(config)
    load_weights(network, folder)
    return network.eval().requires_grad_(False)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a network's folder.

    Args:
        folder: folder of the network.

    Returns:
        Plain values.

    Raises:
        ValueError: if there is none, or it is broken.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} holds no {CONFIG}, as there is no such folder: a release's codec lies beside it, take both"
        )
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} holds no {CONFIG}: expected a folder with {CONFIG} and {WEIGHTS}, "
            "as `python export.py` writes it"
        )
    return read_json(folder / CONFIG)


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def differing(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of tensors that one side lacks or has in another shape, sorted."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def unfitting(network: nn.Module, found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of tensors that differ from a network's in a file; what a file may leave out may be there and fit."""
    expected = shapes_of(network.state_dict())
    for place, module in network.named_modules():
        for name, shape in getattr(module, "optional_tensors", {}).items():
            full = f"{place}.{name}" if place else name
            expected.pop(full, None)
            if full in found:
                expected[full] = shape
    return differing(expected, found)


def load_weights(network: nn.Module, folder: Path) -> None:
    """Copies a folder's weights into a network, in the network's own precision.

    Args:
        network: network of the folder's sizes.
        folder: folder with the weights.

    Raises:
        ValueError: if names or shapes differ, the file is broken, or a weight is no number.
    """
    check_fits(network, folder)
    network.load_state_dict(load_tensors(folder / WEIGHTS))


def check_fits(network: nn.Module, folder: Path) -> None:
    """Refuses a folder whose tensors have other names or shapes than a network's.

    Args:
        network: network in any state.
        folder: folder with the weights.

    Raises:
        ValueError: if they differ, or there is no whole file.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{folder} holds no {WEIGHTS}: give the whole folder that export.py wrote")
    found = tensor_shapes(path)
    wrong = unfitting(network, found)
    if wrong:
        advice = "use the network that the weights were trained with"
        if all(name.startswith("compressor.decoder.") and name not in found for name in wrong):
            advice = (
                "they were released without the decoder, so add compressor.decoder_depth=0 and "
                "lightning_module.reconstruction_weight=0, or give pretrained part by part"
            )
        raise ValueError(
            f"{path} does not fit {type(network).__name__}: {len(wrong)} tensors differ in name or shape, "
            f"the first is {wrong[0]!r}; {advice}"
        )
