"""A trained run as a release folder, which others can load."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from longtake.releases.bases import base_of, rename_base
from longtake.releases.disclosure import refuse_paths, refuse_secrets
from longtake.releases.locating import NETWORK_FOLDER
from longtake.releases.plain_yaml import dumped
from longtake.releases.reading import RELEASE_CONFIG, load_run, read_run
from networks.files import remove_unfinished, whole
from networks.saving import read_config, save_pretrained

RELEASED = (
    "name", "seed", "codec", "text", "compressor", "network", "objective", "sampler", "guidance", "rollout", "rates",
    "video", "prompts",
)  # fmt: skip
"""What a release's config says: all that makes videos, and nothing of the training that led there."""


def network_config(node: Any) -> Any:
    """A config's node as a config.json: `_target_` becomes `_class_name`."""
    if isinstance(node, list):
        return [network_config(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {("_class_name" if key == "_target_" else key): network_config(value) for key, value in node.items()}


def _gone(weights: str | Path, bases: Mapping[str, str]) -> dict[str, str]:
    """Those of the bases whose folder a run names, but is no longer there."""
    config = read_run(weights, "run")[0] if bases else {}
    named = {part: base_of(config, part) for part in bases}
    return {part: bases[part] for part, place in named.items() if place is None or not Path(place).exists()}


def release(
    weights: str | Path,
    folder: str | Path,
    dtype: torch.dtype,
    *,
    decoder: bool = True,
    bases: Mapping[str, str] | None = None,
) -> None:
    """Writes a run as a release folder: the network in the diffusers format and the config that rebuilds its module.

    Args:
        weights: a run folder or a .ckpt.
        folder: folder of the release; the files of an earlier one are replaced together, or stay.
        dtype: type of the stored weights.
        decoder: whether the compressor inside a network with memory keeps its decoder, which generation does not need.
        bases: hub name of a pretrained model by part (text, codec, backbone), which the release names where the run
            loaded the model from a folder of this machine. It is loaded from there too where that folder has gone.

    Raises:
        ValueError: if there is no such compressor to leave the decoder out of, or the config would carry a path or a
            secret of this machine.
    """
    bases = bases or {}
    refuse_paths({part: {"pretrained": name} for part, name in bases.items()}, "the release's config")
    resolved, module = load_run(weights, key="run", bases=_gone(weights, bases))
    for part, name in bases.items():
        rename_base(resolved, part, name)
    if not decoder:
        compressor: Any = getattr(getattr(module, "network", None), "compressor", None)
        if compressor is None:
            raise ValueError(f"decoder=false: {weights} has no network with a compressor: leave decoder=false out")
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
    trained_at = resolved.get("lightning_module", {}).get("rates")  # what a compressor can be asked for
    if trained_at is not None:
        resolved["rates"] = [trained_at["lowest"], trained_at["highest"]]
    kept = {key: resolved[key] for key in RELEASED if key in resolved}
    if "folder" in kept["codec"]:  # relative, so that a release can be moved together with its codec
        kept["codec"]["folder"] = os.path.relpath(kept["codec"]["folder"], folder.resolve())
    refuse_secrets(kept, "the release's config")
    named = {part: {"pretrained": base_of(kept, part)} for part in ("backbone", "codec", "text")}
    refuse_paths(named, "the release's config")  # by the settings of export.py, all at once
    refuse_paths({key: value for key, value in kept.items() if key != "prompts"}, "the release's config")
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    with whole(folder / RELEASE_CONFIG) as unfinished:  # all are written before the first takes its name
        unfinished.write_text(dumped(kept), encoding="utf-8")
        save_pretrained(network, network_config(resolved["network"]), folder / NETWORK_FOLDER)
