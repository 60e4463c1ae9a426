"""`evaluate.py cost=true`: what the network of a config, or of weights, costs."""

from collections.abc import Collection
from typing import Any

from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

OF_WEIGHTS = ("codec", "text", "control", "backbone", "interface", "compressor", "network")
"""Groups of the config in place of which weights bring their own."""


def predict_cost(cfg: DictConfig) -> dict[str, Any]:
    """FLOPs, memory and time of a video by the config: the network is built on the device meta, without its weights.

    Where no speed is given, one short step of the network is timed.
    """
    import torch

    from longtake.cli.composed import plain
    from longtake.cost.codec import codec_size
    from longtake.cost.guests import text_bytes
    from longtake.cost.report import Settings, check, predict
    from networks.interfaces import VideoNetwork

    parts = priced_parts(cfg)
    settings = Settings(**{key: plain(cfg[key]) for key in Settings._fields})
    check(settings)
    codec = codec_size(parts["codec"])
    with torch.device("meta"):
        network = instantiate(parts["network"])
    if not isinstance(network, VideoNetwork):
        raise ValueError("cost=true prices networks that make videos: use network=vin, vin_plan, dit, lovic, vin_lovic")
    return predict(
        settings,
        network=network,
        codec=codec,
        rollouts={name: instantiate(node) for name, node in parts["rollouts"].items()},
        text_features=int(parts["text"]["features"]),
        text_bytes=text_bytes(parts["text"]),
    )


def priced_parts(cfg: DictConfig) -> dict[str, Any]:
    """Configs of the network, the codec, the text encoder and each rollout.

    They are the config's groups, with every rollout on the search path, or those that weights were trained with.

    Args:
        cfg: composed config of evaluate.py.

    Returns:
        Plain values under network, codec, text and rollouts, the last one by name.

    Raises:
        ValueError: if weights=… hold a codec or compressor alone, or are no weights, or a part is chosen beside them.
    """
    parts: dict[str, Any] = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("network", "codec", "text", "rollouts")
    }
    parts["rollouts"] = {**parts["rollouts"], **_other_rollouts(parts["rollouts"])}
    if cfg.weights is None:
        return parts
    from longtake.cli.composed import typed
    from longtake.releases.reading import read_run

    if idle := [key for key in typed() if key.partition(".")[0] in OF_WEIGHTS]:
        raise ValueError(
            f"{idle[0]}=… does nothing beside weights={cfg.weights}, whose own parts are priced: leave either out"
        )

    trained = read_run(cfg.weights, to_sample=True)[0]
    rollout = trained.get("rollout")
    if rollout is None:
        raise ValueError(
            f"weights={cfg.weights} make no videos by themselves: give those of vin, dit, lovic, vin_lovic"
        )
    rollouts = {**parts["rollouts"], instantiate(rollout).name: rollout}
    return {**{key: trained[key] for key in ("network", "codec", "text")}, "rollouts": rollouts}


def _other_rollouts(known: Collection[str]) -> dict[str, Any]:
    """Rollouts of one's own: those on Hydra's search path that conf/evaluate.yaml does not list."""
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        return {}
    loader = GlobalHydra.instance().config_loader()
    names = [name for name in loader.get_group_options("rollout") if name not in known]
    nodes = {name: loader.load_configuration(f"rollout/{name}", [], RunMode.RUN).rollout for name in names}
    return {name: OmegaConf.to_container(node, resolve=True) for name, node in nodes.items()}
