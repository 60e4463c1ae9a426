"""Networks in and out of diffusers-style folders: config.json and diffusion_pytorch_model.safetensors.

config.json holds the constructor's arguments under `_class_name`, nested where a network is built of networks.
"""

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"


def build(config: Any) -> Any:
    """Builds what a config.json describes: every mapping with `_class_name` becomes an object, innermost first.

    Raises:
        ValueError: if a class is not one of this project's networks; a file must not run anything else.
    """
    if isinstance(config, list):
        return [build(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    arguments = {key: build(value) for key, value in config.items() if not key.startswith("_")}
    if "_class_name" not in config:
        return arguments
    module_name, _, class_name = str(config["_class_name"]).rpartition(".")
    if module_name.split(".")[0] != "networks":
        raise ValueError(f"config.json names {config['_class_name']!r}, which is not a class of the package networks")
    return getattr(importlib.import_module(module_name), class_name)(**arguments)


def save_pretrained(network: nn.Module, config: Mapping[str, Any], folder: str | Path) -> None:
    """Writes a network and the config that `build` makes it from; an existing folder is replaced file by file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    part = folder / (WEIGHTS + ".part")
    save_file(state, part, metadata={"format": "pt"})
    os.replace(part, folder / WEIGHTS)
    part = folder / (CONFIG + ".part")
    part.write_text(json.dumps(config, indent=2) + "\n")
    os.replace(part, folder / CONFIG)


def load_pretrained(*, folder: str | Path, channels: int) -> nn.Module:
    """A frozen network from its folder, in evaluation mode.

    channels: what the rest of the configuration counts on; a codec with other latents is refused.

    Raises:
        ValueError: if the folder is not there, is not a network's, or has another number of channels.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.get("channels", channels) != channels:
        raise ValueError(f"{folder} has {config['channels']} latent channels, but {channels} are configured")
    network: nn.Module = build(config)
    load_weights(network, folder)
    return network.eval().requires_grad_(False)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a network's folder.

    Raises:
        ValueError: if there is none.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} holds no {CONFIG}: expected a folder with {CONFIG} and {WEIGHTS}, "
            "as `python export.py` writes it"
        )
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    return config


def load_weights(network: nn.Module, folder: Path) -> None:
    """Copies a folder's weights into a network, in the network's own precision.

    Raises:
        ValueError: if names or shapes differ.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{folder} holds no {WEIGHTS}")
    expected = network.state_dict()
    with safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    wrong = sorted(
        name
        for name in expected.keys() | found
        if tuple(expected[name].shape if name in expected else ()) != found.get(name)
    )
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
    network.load_state_dict(load_file(path))
