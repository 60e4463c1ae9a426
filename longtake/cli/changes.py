"""What the command line of generate.py changes in the config of weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli.composed import plain, tree_of
from longtake.releases.bases import rename_base
from longtake.releases.building import build
from longtake.releases.reading import Config
from longtake.rollouts.rollout import Rollout
from longtake.settings.check import check_groups
from networks.saving import read_config

SINGLE_PASS = {"_target_": "longtake.rollouts.single_pass.SinglePass", "network_part": ""}
"""The rollout of weights that name none."""


class Changes(NamedTuple):
    """What a call changes in the config of weights, as plain values; all other settings stay as trained.

    weights: name of the weights, for messages.
    bases: another folder or hub name of a pretrained model, by part.
    codec_folder: folder of another codec for the same latents.
    tiling: whether the codec works in tiles.
    groups: settings of sampler and guidance, which may refer to the weights' config; with `_target_` they replace it.
    network: settings of the network.
    rollout: another rollout.
    compression_ratio: video tokens a context token, for the rollout's memory.
    """

    weights: str
    bases: Mapping[str, str]
    codec_folder: str | None
    tiling: bool | None
    groups: Mapping[str, Any]
    network: Mapping[str, Any]
    rollout: Mapping[str, Any] | None
    compression_ratio: float | None

    @property
    def own(self) -> tuple[str, ...]:
        """Groups that the user chose: Hydra builds what they name, while weights build what they may."""
        chosen = {**self.groups, "rollout": self.rollout or {}}
        return tuple(name for name, node in chosen.items() if "_target_" in node)


def changes_of(cfg: DictConfig) -> Changes:
    """Reads the changes from a config of generate.py.

    Args:
        cfg: the composed config.

    Returns:
        Plain values.

    Raises:
        ValueError: for a guidance_scale beside several scales.
    """
    bases = {part: cfg[part].pretrained for part in ("text", "codec", "backbone")}
    network = {key: value for key, value in plain(cfg.network).items() if value is not None}
    return Changes(
        weights=cfg.weights,
        bases={part: name for part, name in bases.items() if name is not None},
        codec_folder=cfg.codec.folder,
        tiling=cfg.codec.tiling,
        groups=_groups(cfg),
        network=network,
        rollout=None if cfg.get("rollout") is None else plain(cfg.rollout),
        compression_ratio=cfg.compression_ratio,
    )


def _groups(cfg: DictConfig) -> dict[str, Any]:
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
            raise ValueError(
                "guidance_scale sets one scale, and this guidance has several: set guidance.scales.text and the others"
            )
        tree.setdefault("guidance", {})["scale"] = cfg.guidance_scale
    return tree


def with_changes(trained: Config, changes: Changes) -> Config:
    """The config of weights, as `read_run` gives it, with all that generate.py was told to change; checked again.

    Args:
        trained: the config of the weights, whose parts are changed in place.
        changes: see `changes_of`.

    Returns:
        The changed config, as plain values.

    Raises:
        ValueError: for what these weights cannot be told, or what is out of its range.
    """
    for part, name in changes.bases.items():
        rename_base(trained, part, name)
    if changes.codec_folder is not None:
        _take_codec(trained, changes.codec_folder)
    if changes.tiling is not None:
        if "tiling" not in trained["codec"]:
            raise ValueError(
                f"codec.tiling={str(changes.tiling).lower()}: the codec of these weights has no tiles: leave it out"
            )
        trained["codec"]["tiling"] = changes.tiling
    groups = dict(changes.groups)
    if changes.network:
        groups["network"] = _reach_window(changes.network, trained["network"], changes.weights)
    kept = {key: value for key, value in trained.items() if "_target_" not in groups.get(key, {})}
    merged: Any = OmegaConf.merge(kept, groups)
    check_groups(tree_of(merged), list(groups))
    return {**plain(merged), "rollout": _rollout(changes, trained.get("rollout", SINGLE_PASS))}


def _take_codec(trained: Config, folder: str) -> None:
    """Another codec of the same latents; pictures are as much larger as a place of its latents is."""
    own = trained["codec"]
    if "folder" not in own:
        raise ValueError(f"codec.folder={folder}: the codec of these weights is no folder of longtake: leave it out")
    other = {**own, "folder": folder}
    unlike = f"codec.folder={folder} is no codec for the latents of these weights: give one that decodes them"
    try:
        if read_config(Path(folder)).get("channels") not in (own["channels"], None):
            raise ValueError("it has another number of channels")
        before, after = build(own), build(other)  # small
    except ValueError as error:
        raise ValueError(f"{unlike} ({error})") from error
    if not hasattr(after, "decode") or before.time_factor != after.time_factor:
        raise ValueError(unlike)
    trained["codec"] = other
    for side in ("height", "width"):
        trained["video"][side] = trained["video"][side] * after.space_factor // before.space_factor


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


def _rollout(changes: Changes, trained: Mapping[str, Any]) -> dict[str, Any]:
    """The rollout of the command line, or else the one that the weights were trained for; with its ratio, if given."""
    chosen: dict[str, Any] = dict(trained if changes.rollout is None else changes.rollout)
    if changes.compression_ratio is None:
        return chosen
    rollout: Rollout = build(chosen) if changes.rollout is None else instantiate(chosen)
    if rollout.memory is None:
        raise ValueError(
            f"compression_ratio={changes.compression_ratio} needs rollout=segmentwise, the one rollout with a memory "
            "to compress: add it, or leave compression_ratio out"
        )
    rollout.memory.at(changes.compression_ratio)
    return {**chosen, "compression_ratio": changes.compression_ratio}
