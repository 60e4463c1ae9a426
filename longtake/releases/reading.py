"""From a run, checkpoint or release folder back to a trained network: configs are plain values, checked first."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longtake.releases.bases import rename_base
from longtake.releases.building import build
from longtake.releases.checkpoints import CONFIG_KEY, META, read_checkpoint
from longtake.releases.locating import NETWORK_FOLDER, codec_folder, locate
from longtake.releases.outside import PARTS, checked_config, read_config_file
from longtake.settings.check import Tree, check_groups, check_tree
from longtake.settings.kinds import Shown
from networks.pretrained.learnt import HASH, NOT_THEIRS, refuse_other_base
from networks.pretrained.loading import OtherSizeError
from networks.reading import check_finite, load_tensors, open_tensors, tensor_shapes
from networks.saving import WEIGHTS, load_weights, shapes_of, unfitting

RELEASE_CONFIG = "config.yaml"

Config = dict[str, Any]
"""Of weights: plain values, checked; see `checked_config`."""

State = dict[str, torch.Tensor] | Path
"""Tensors by name, of a checkpoint, or the folder of a release that holds them."""


def read_run(weights: str | Path, key: str = "weights", *, to_sample: bool = False) -> tuple[Config, State]:
    """The config of trained weights, checked, and their state.

    Args:
        weights: a .ckpt, a run folder, or a release folder, also hub:USER/REPO/FOLDER.
        key: what the setting is called that names it.
        to_sample: leaves out how they were trained, so that Lightning, whose import takes seconds, is not needed.

    Returns:
        The config, as plain values, and tensors by name or the folder of a release that holds them.

    Raises:
        ValueError: if it is none of these, is broken, or has a config that would run what is not of this project.
    """
    path = locate(weights, key)
    if path.is_dir() and not (path / META).is_file():
        config = trusted(read_config_file(path / RELEASE_CONFIG), f"{key}={weights}", to_sample=to_sample)
        if "folder" in config["codec"]:
            config["codec"]["folder"] = str(codec_folder(path, config["codec"]["folder"], weights, key))
        return config, path / NETWORK_FOLDER
    checkpoint = read_checkpoint(path)
    return trusted(checkpoint[CONFIG_KEY], f"{key}={weights}", to_sample=to_sample), state_of(checkpoint, path)


def trusted(tree: Mapping[str, Any], where: str, *, to_sample: bool = False) -> Config:
    """A config from outside, of which every name, type and range has been looked at.

    Args:
        tree: the config.
        where: the setting and the weights' name, for messages.
        to_sample: leaves out the part that is built to train.

    Returns:
        A copy of it, checked.

    Raises:
        ValueError: for the first that is not as it should be.
    """
    config = checked_config(tree, where)
    if to_sample:
        config.pop("lightning_module", None)
    try:
        check_groups(Tree(config), [part for part in PARTS if config.get(part) is not None])
        if config.get("sampler") is not None:
            check_tree(Tree({"video": config.get("video")}), Shown)
    except ValueError as error:
        raise ValueError(f"{where}: in its config, {error}") from error
    return config


def read_state(weights: str | Path, key: str) -> State:
    """The state (a checkpoint's) or folder (a release's) of trained weights, whose config is not read.

    Args:
        weights: as in `read_run`.
        key: what the setting is called that names them.

    Returns:
        Tensors by name, or the folder of a release that holds them.

    Raises:
        ValueError: if there is none, or it is broken.
    """
    path = locate(weights, key)
    is_release = (path / NETWORK_FOLDER).is_dir()
    return path / NETWORK_FOLDER if is_release else state_of(read_checkpoint(path), path)


def state_of(checkpoint: Mapping[str, Any], where: object) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint's module, by name.

    Args:
        checkpoint: what a file of train.py holds.
        where: the file or setting that the checkpoint comes from, for messages.

    Returns:
        Tensors of ordinary, finite numbers.

    Raises:
        ValueError: if it holds none, or something else, or a tensor that is no number.
    """
    state = checkpoint.get("state_dict")
    if state is None and isinstance(where, Path) and where.is_dir():
        from longtake.releases.pieces import join_pieces  # which loads more than all else here

        state = join_pieces(where)
    if not isinstance(state, dict) or not all(isinstance(name, str) and is_plain(x) for name, x in state.items()):
        raise ValueError(f"{where} holds no weights of a module: expected a .ckpt that train.py wrote")
    check_finite(state, where)
    return state


def is_plain(value: Any) -> bool:
    """Whether a value is a tensor of ordinary numbers in memory: not sparse, quantized, or without data."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not value.is_meta
        and not value.is_quantized
    )


def load_state(module: nn.Module, state: State) -> None:
    """Puts trained weights into a freshly built module (averaged ones, where the run kept an average).

    Args:
        module: module with a `network`, or a `codec`.
        state: tensors by name, or the folder of a release that holds them.

    Raises:
        ValueError: if they do not fit.
    """
    if isinstance(state, Path):
        load_weights(module.get_submodule("network"), state)
        return
    wrong = unfitting(module, shapes_of(state))
    if wrong:
        raise ValueError(
            f"the checkpoint does not fit {type(module).__name__}: {len(wrong)} tensors differ, "
            f"the first is {wrong[0]!r}; "
            "use the network and sizes that it was trained with"
        )
    module.load_state_dict(state)


def network_state(weights: str | Path, key: str) -> dict[str, torch.Tensor]:
    """The tensors of trained weights' network, by name."""
    state = read_state(weights, key)
    if isinstance(state, Path):
        return load_tensors(state / WEIGHTS)
    return {key.removeprefix("network."): x for key, x in state.items() if key.startswith("network.")}


def load_run(
    weights: str | Path, *, key: str = "weights", bases: Mapping[str, str] | None = None
) -> tuple[Config, nn.Module]:
    """The module that trained these weights, with them, in evaluation mode; of a release, which names none, `Trained`.

    Args:
        weights: a .ckpt, a run folder, a release folder, or hub:USER/REPO/FOLDER.
        key: what the setting is called that names the weights.
        bases: folder or hub name of a pretrained model that the weights look for elsewhere, by part (text, codec,
            backbone).

    Returns:
        The config of the weights, and the module.

    Raises:
        ValueError: if they do not fit together, or cannot be trusted; see `read_run`.
    """
    config, state = read_run(weights, key)
    for part, name in (bases or {}).items():
        rename_base(config, part, name)
    check_size(config, state, f"{key}={weights}")
    if "lightning_module" in config:
        module: nn.Module = build({**config["lightning_module"], "optimizer": None, "scheduler": None})
    else:
        module = Trained(config)
    load_state(module, state)
    return config, module.eval()


class Trained(nn.Module):
    """What weights are sampled with: their network, objective and sampler; the last two are None for a compressor."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: of weights with a network, checked; parts in it may be built already."""
        super().__init__()
        self.network: Any = build(config["network"])
        self.objective: Any = build(config.get("objective"))
        self.sampler: Any = build(config.get("sampler"))


def check_size(config: Mapping[str, Any], state: State, where: str) -> None:
    """Builds the network on the device `meta`, where sizes cost nothing, before a wrong size fills the memory.

    Of a network that loads a pretrained base, whose sizes are the base's, the base is looked at, before it is read.

    Args:
        config: config of the weights.
        state: tensors of the weights by name, or the folder that holds them.
        where: the setting and the weights' name, for messages.

    Raises:
        ValueError: if the config asks for far more weights than there are, or they were trained upon another base.
    """
    part = config["codec" if config.get("network") is None else "network"]
    if "folder" in part or ("'pretrained'" in str(part) and config.get("network") is None):
        return
    try:
        with torch.device("meta"):
            network: nn.Module = build(part)
    except OtherSizeError as error:  # sizes of weights are not to be set
        raise ValueError(f"{error.found}, so that {NOT_THEIRS}") from error
    if "'pretrained'" in str(part):
        refuse_other_base(network, _hashes(state))
        return
    asked = sum(value.numel() for value in network.state_dict().values())
    shapes = tensor_shapes(state / WEIGHTS) if isinstance(state, Path) else shapes_of(state)
    there = sum(math.prod(shape) for shape in shapes.values())
    if asked > 2 * there + 1_000_000:
        raise ValueError(
            f"{where}: its config asks for {asked:,} weights, but its file holds {there:,}: take both from one release"
        )


def _hashes(state: State) -> dict[str, torch.Tensor]:
    """The hash of each base that a network's weights were trained upon, by the name of its tensor."""
    if isinstance(state, Path):
        with open_tensors(state / WEIGHTS) as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.endswith(HASH)}  # noqa: SIM118
    return {name.removeprefix("network."): x for name, x in state.items() if name.endswith(HASH)}


def weights_hash(module: nn.Module) -> str:
    """Short hash of a module's weights, for manifests."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy())  # as it lies: no copy of each tensor
    return digest.hexdigest()[:12]
