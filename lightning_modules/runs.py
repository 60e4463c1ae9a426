"""From a config to objects, and from a run, checkpoint or release folder back to a trained network."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from lightning import LightningModule
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import nn

from lightning_modules.checkpoints import CONFIG_KEY, last_checkpoint, read_checkpoint
from lightning_modules.hub import PREFIX, on_disk
from networks.saving import WEIGHTS, load_weights, read_config, save_pretrained

log = logging.getLogger("longtake")

RELEASE_CONFIG = "config.yaml"
NETWORK_FOLDER = "network"
RELEASED = (
    "name", "seed", "codec", "text", "backbone", "interface", "compressor", "network", "objective", "sampler",
    "guidance", "rollout", "optimizer", "scheduler", "lightning_module", "video", "prompts",
)  # fmt: skip


CALLABLE = ("networks.", "lightning_modules.", "torch.optim.", "timm.optim.")
"""What the config of downloaded weights may call; Hydra would call nearly anything."""


def network_config(node: Any) -> Any:
    """A resolved Hydra node as a config.json: `_target_` becomes `_class_name`."""
    if isinstance(node, list):
        return [network_config(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {("_class_name" if key == "_target_" else key): network_config(value) for key, value in node.items()}


def read_run(weights: str | Path, key: str = "weights") -> tuple[DictConfig, dict[str, torch.Tensor] | Path]:
    """The resolved config of trained weights, and their state (a checkpoint's) or folder (a release's).

    weights: a .ckpt, a run folder, or a release folder, also hub:USER/REPO/FOLDER; key: what the setting is called
    that names it.

    Raises:
        ValueError: if it is none of these.
    """
    path = on_disk(weights, key)
    if (path / NETWORK_FOLDER / WEIGHTS).is_file():
        config = OmegaConf.load(path / RELEASE_CONFIG)
        assert isinstance(config, DictConfig)
        if "folder" in config.codec:
            config.codec.folder = str((path / config.codec.folder).resolve())
        _refuse_foreign(config, weights, key)
        return config, path / NETWORK_FOLDER
    if path.is_dir():
        path = last_checkpoint(path)
    if not path.is_file():
        raise ValueError(f"{key}={weights}: no such file or folder; give a .ckpt, a run folder or a release folder")
    checkpoint = read_checkpoint(path)
    config = OmegaConf.create(checkpoint[CONFIG_KEY])
    _refuse_foreign(config, weights, key)
    return config, checkpoint["state_dict"]


def _refuse_foreign(config: DictConfig, weights: str | Path, key: str) -> None:
    """Refuses weights of the hub whose config would run what is not of this project, as a stranger's could."""
    if not str(weights).startswith(PREFIX):
        return
    tree: Any = OmegaConf.to_container(config, resolve=True)
    for target in _targets([tree[name] for name in RELEASED if name in tree]):
        # A name of ours may lead out of the project: what it stands for says where it is from.
        if not target.startswith(CALLABLE) or not str(get_object(target).__module__).startswith(CALLABLE):
            raise ValueError(f"{key}={weights}: not loaded, since its config would call {target}, not of this project")


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` within a node."""
    if isinstance(node, dict):
        yield from [str(node["_target_"])] if "_target_" in node else []
        node = list(node.values())
    for inner in node if isinstance(node, list) else []:
        yield from _targets(inner)


def load_state(module: LightningModule, state: dict[str, torch.Tensor] | Path) -> None:
    """Puts trained weights into a freshly built module (averaged ones, where the run kept an average).

    Raises:
        ValueError: if they do not fit.
    """
    if isinstance(state, Path):
        load_weights(module.get_submodule("network"), state)
        return
    expected = module.state_dict()
    wrong = sorted(
        k
        for k in expected.keys() | state.keys()
        if k not in expected or k not in state or expected[k].shape != state[k].shape
    )
    if wrong:
        raise ValueError(
            f"the checkpoint does not fit {type(module).__name__}: {len(wrong)} tensors differ, "
            f"the first is {wrong[0]!r}; "
            "use the network and sizes that it was trained with"
        )
    module.load_state_dict(state)


def load_parts(module: LightningModule, parts: Mapping[str, str | Sequence[str]]) -> None:
    """Puts trained weights into parts of a module's network; parts that it goes without are left out.

    parts: name of a part, such as "compressor" or "window", to weights, such as "weights/NAME", or
    "weights/NAME#backbone" for a part of theirs, or to several, of which a later one replaces what it has.

    Raises:
        ValueError: if a part is unknown or does not fit.
    """
    for name, sources in parts.items():
        if _goes_without(module.get_submodule("network"), name):
            log.info(f"pretrained.{name}: left out, since this network goes without one")
            continue
        state: dict[str, torch.Tensor] = {}
        for source in [sources] if isinstance(sources, str) else sources:
            state.update(_part_state(source, f"pretrained.{name}"))
        try:
            part = module.get_submodule(f"network.{name}")
        except AttributeError as error:
            known = ", ".join(key for key, _ in module.get_submodule("network").named_children())
            raise ValueError(f"pretrained.{name}: the network has no such part; it has {known}") from error
        expected = part.state_dict()
        wrong = sorted(
            key
            for key in expected.keys() | state.keys()
            if key not in expected or key not in state or expected[key].shape != state[key].shape
        )
        if wrong:
            raise ValueError(
                f"pretrained.{name}={sources} does not fit {type(part).__name__}: {len(wrong)} tensors differ, "
                f"the first is {wrong[0]!r}; name a part of those weights after #, give weights that have the rest "
                "before them in a list, or use the sizes of their training"
            )
        part.load_state_dict(state)


def _part_state(source: str, key: str) -> dict[str, torch.Tensor]:
    """The tensors of weights, or of the part of them that is named after #."""
    weights, _, inner = source.partition("#")
    state = network_state(weights, key)
    if not inner:
        return state
    return {name.removeprefix(f"{inner}."): x for name, x in state.items() if name.startswith(f"{inner}.")}


def _goes_without(network: nn.Module, name: str) -> bool:
    """Whether a part, or what it lies in, is None in this network, such as the compressor of compressor=none."""
    part: object = network
    for key in name.split("."):
        part = getattr(part, key, network)
        if part is None:
            return True
    return False


def network_state(weights: str | Path, key: str) -> dict[str, torch.Tensor]:
    """The tensors of trained weights' network, by name."""
    state = read_run(weights, key)[1]
    if isinstance(state, Path):
        return load_file(state / WEIGHTS)
    return {key.removeprefix("network."): x for key, x in state.items() if key.startswith("network.")}


def override(config: DictConfig, overrides: DictConfig) -> DictConfig:
    """A resolved config with some keys of its groups changed; a group that brings its own `_target_` is replaced."""
    replaced = [key for key in overrides if "_target_" in overrides[key]]
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in replaced])
    merged = OmegaConf.merge(kept, overrides)
    assert isinstance(merged, DictConfig)
    for key in merged.lightning_module:  # resolved configs repeat each group where it is used
        if key in merged and isinstance(merged[key], DictConfig):
            merged.lightning_module[key] = merged[key]
    return merged


def load_run(
    weights: str | Path, overrides: DictConfig | None = None, *, key: str = "weights"
) -> tuple[DictConfig, LightningModule]:
    """The module of a run or release, rebuilt and ready to generate; overrides are merged into its config first."""
    config, state = read_run(weights, key)
    if overrides is not None:
        config = override(config, overrides)
    module: LightningModule = instantiate(config.lightning_module)
    load_state(module, state)
    return config, module.eval()


def weights_hash(module: nn.Module) -> str:
    """Short hash of a module's weights, for manifests."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def release(weights: str | Path, folder: str | Path, dtype: torch.dtype, *, decoder: bool = True) -> None:
    """Writes a run as a release folder: the network in the diffusers format and the config that rebuilds its module.

    decoder: whether the compressor inside a network with memory keeps its decoder, which generation does not need.

    Raises:
        ValueError: if there is no such compressor to leave the decoder out of.
    """
    config, module = load_run(weights, key="run")
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    if not decoder:
        compressor: Any = getattr(getattr(module, "network", None), "compressor", None)
        if compressor is None:
            raise ValueError(f"decoder=false: {weights} has no compressor inside a network, whose decoder to leave out")
        compressor.decoder = None
        resolved["compressor"]["decoder_depth"] = resolved["network"]["compressor"]["decoder_depth"] = 0
    folder = Path(folder)
    trained = "codec" if resolved.get("network") is None else "network"
    network = module.get_submodule(trained).to(dtype)
    if trained == "codec":
        begun = resolved["codec"].get("folder")  # codec=freedoom: a release names no other one
        made_of = network_config(resolved["codec"]) if begun is None else read_config(Path(begun))
        save_pretrained(network, made_of, folder)
        return
    save_pretrained(network, network_config(resolved["network"]), folder / NETWORK_FOLDER)
    kept = {key: resolved[key] for key in RELEASED if key in resolved}
    for key in kept["lightning_module"]:  # said once: the module refers to the groups
        if isinstance(kept.get(key), dict):
            kept["lightning_module"][key] = f"${{{key}}}"
    if "folder" in kept["codec"]:  # relative, so that a release can be moved together with its codec
        kept["codec"]["folder"] = os.path.relpath(kept["codec"]["folder"], folder)
    (folder / RELEASE_CONFIG).write_text(OmegaConf.to_yaml(kept))
