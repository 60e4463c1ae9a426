"""Everything that weights are sampled by, built from their checked config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from longtake.releases.reading import load_run


class SamplingParts(NamedTuple):
    """config: of the weights, checked; module: in evaluation mode, with network, objective and sampler."""

    config: DictConfig
    module: Any
    codec: Any
    text_encoder: Any
    guidance: Any
    rollout: Any


def sampling_parts(
    weights: str | Path, overrides: DictConfig | None = None, *, bases: Mapping[str, str] | None = None
) -> SamplingParts:
    """Loads the module of weights, and its codec, text encoder, guidance and rollout; see `load_run`.

    Raises:
        ValueError: if the weights make no videos.
    """
    config, module = load_run(weights, overrides, bases=bases)
    if config.get("network") is None or getattr(module, "sampler", None) is None:
        kind = "a codec" if config.get("network") is None else "a compressor"
        raise ValueError(f"weights={weights} hold {kind}, which makes no videos: give those of a network")
    names = ("codec", "text", "guidance", "rollout")
    return SamplingParts(config, module, *(instantiate(config[name]) for name in names))
