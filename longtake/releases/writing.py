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
from longtake.releases.reading import RELEASE_CONFIG, load_run, network_state, read_run
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


def _ratios(config: Mapping[str, Any]) -> list[float]:
    """The lowest and highest compression ratio that a compressor was trained at, and so can be asked for."""
    trained_at = config.get("lightning_module", {}).get("rates")
    return list(config.get("rates") or []) if trained_at is None else [trained_at["lowest"], trained_at["highest"]]


@torch.no_grad()
def average_with(network: torch.nn.Module, weights: str | Path, share: float) -> None:
    """Averages a network with other weights of it, tensor by tensor.

    What both have learned is mostly kept where one was trained on from the other. Source: arXiv 2109.01903.

    Args:
        network: is changed in place.
        weights: a .ckpt, a run folder or a release with a network.
        share: of the other weights in the average, in [0, 1].

    Raises:
        ValueError: if they are not of the same network.
    """
    other = network_state(weights, "average.weights")
    own = network.state_dict()
    wrong = [name for name, x in own.items() if name not in other or other[name].shape != x.shape]
    if wrong:
        raise ValueError(
            f"average.weights={weights}: {len(wrong)} of {len(own)} tensors are missing or of other sizes, first "
            f"{wrong[0]!r}: give weights of the same network"
        )
    for name, value in own.items():
        if value.is_floating_point():
            value.lerp_(other[name].to(value), share)


def release(
    weights: str | Path,
    folder: str | Path,
    dtype: torch.dtype,
    *,
    decoder: bool = True,
    bases: Mapping[str, str] | None = None,
    average: tuple[str, float] | None = None,
) -> None:
    """Writes a run as a release folder: the network in the diffusers format and the config that rebuilds its module.

    Args:
        weights: a run folder or a .ckpt.
        folder: folder of the release; the files of an earlier one are replaced together, or stay.
        dtype: type of the stored weights.
        decoder: whether the compressor inside a network with memory keeps its decoder, which generation does not need.
        bases: hub name of a pretrained model by part (text, codec, backbone), which the release names where the run
            loaded the model from a folder of this machine. It is loaded from there too where that folder has gone.
        average: other weights of the same network, and their share in the average that is written; None: the run's own.

    Raises:
        ValueError: if there is no such compressor to leave the decoder out of, the other weights are of another
            network, or the config would carry a path or a secret of this machine.
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
    network = module.get_submodule(trained)
    if average is not None:
        other, share = average
        average_with(network, other, share)
    network.to(dtype)
    if trained == "codec":
        begun = resolved["codec"].get("folder")  # codec=freedoom: a release names no other one
        made_of = network_config(resolved["codec"]) if begun is None else read_config(Path(begun))
        save_pretrained(network, made_of, folder)
        return
    ratios = _ratios(resolved) + ([] if average is None else _ratios(read_run(average[0], "average.weights")[0]))
    if ratios:
        resolved["rates"] = [min(ratios), max(ratios)]
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
