"""What the command line of generate.py changes in the config of weights."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli.composed import plain, tree_of
from longtake.releases.bases import rename_base
from longtake.releases.building import build
from longtake.releases.reading import Config
from longtake.rollouts.rollout import Rollout
from longtake.settings.check import check_groups

SINGLE_PASS = {"_target_": "longtake.rollouts.single_pass.SinglePass", "network_part": ""}
"""The rollout of weights that name none."""


def with_changes(trained: Config, cfg: DictConfig) -> Config:
    """The config of weights, as `read_run` gives it, with all that generate.py was told to change; checked again.

    Raises:
        ValueError: for what these weights cannot be told, or what is out of its range.
    """
    for part in ("text", "codec", "backbone"):
        if cfg[part].pretrained is not None:
            rename_base(trained, part, cfg[part].pretrained)
    if cfg.codec.tiling is not None:
        if "tiling" not in trained["codec"]:
            raise ValueError(
                f"codec.tiling={str(cfg.codec.tiling).lower()}: the codec of these weights has no tiles: leave it out"
            )
        trained["codec"]["tiling"] = cfg.codec.tiling
    changes = _group_changes(cfg)
    if network := {key: value for key, value in plain(cfg.network).items() if value is not None}:
        changes["network"] = _reach_window(network, trained["network"], cfg.weights)
    kept = {key: value for key, value in trained.items() if "_target_" not in changes.get(key, {})}
    merged: Any = OmegaConf.merge(kept, changes)
    check_groups(tree_of(merged), list(changes))
    return {**plain(merged), "rollout": _rollout(cfg, trained.get("rollout", SINGLE_PASS))}


def _group_changes(cfg: DictConfig) -> dict[str, Any]:
    """Sampler and guidance: a group that was chosen has its `_target_` and replaces that of the weights.

    What refers to other groups, such as the shift of the objective, is resolved later, within the weights' config.
    """
    tree: dict[str, Any] = {}
    for group in ("sampler", "guidance"):
        if cfg.get(group) is not None:
            tree[group] = OmegaConf.to_container(cfg[group])
    if cfg.num_inference_steps is not None:
        tree.setdefault("sampler", {})["num_inference_steps"] = cfg.num_inference_steps
    if cfg.guidance_scale is not None:
        if "scales" in tree.get("guidance", {}):
            raise ValueError("guidance_scale goes with one scale: here set guidance.scales.text and its neighbours")
        tree.setdefault("guidance", {})["scale"] = cfg.guidance_scale
    return tree


def _reach_window(changes: Mapping[str, Any], network: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Settings of `network` where these weights keep them: VIN's are network.window's in the hybrid."""
    inner = network.get("window") or {}
    moved: dict[str, Any] = {}
    for key, value in changes.items():
        if key in network:
            moved[key] = value
        elif key in inner:
            moved.setdefault("window", {})[key] = value
        else:
            raise ValueError(
                f"network.{key}={value} is no setting of weights={weights}: leave it out, since fusion, local_frames "
                "and windows_per_call are of VIN's chunks"
            )
    return moved


def _rollout(cfg: DictConfig, trained: Mapping[str, Any]) -> dict[str, Any]:
    """The rollout of the command line, or else the one that the weights were trained for; with its ratio, if given."""
    chosen: dict[str, Any] = dict(trained if cfg.get("rollout") is None else plain(cfg.rollout))
    if cfg.compression_ratio is None:
        return chosen
    # A group of the command line is the user's own, and Hydra builds what it names; weights build what they may.
    rollout: Rollout = build(chosen) if cfg.get("rollout") is None else instantiate(chosen)
    if rollout.memory is None:
        raise ValueError(
            f"compression_ratio={cfg.compression_ratio} goes with rollout=segmentwise, which compresses what it has "
            "made"
        )
    rollout.memory.at(cfg.compression_ratio)
    return {**chosen, "compression_ratio": cfg.compression_ratio}
