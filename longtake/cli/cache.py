"""Makes the cache of a training, and nothing else: `longtake cache`, with the arguments that train.py gets."""

import logging
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from longtake.cli.user_errors import start

log = logging.getLogger("longtake")


def run(cfg: DictConfig) -> None:
    """Checks the config, then caches this process's share of the films and texts."""
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import CacheSettings

    check_settings(cfg, CacheSettings)
    from datamodules.caching.portions import portion_from

    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    data = build(resolved)
    if cfg.engine == "ray":
        from datamodules.caching.ray_engine import cache_on_ray

        cache_on_ray(partial(build, resolved), **resolved["ray"])
        data.listed()
    else:
        data.fill(portion_from())
    say_what_is_there(data)


def build(config: dict[str, Any]) -> Any:
    """The data module of a resolved config, with its codec and text encoder."""
    from hydra.utils import instantiate

    from longtake.cli.checks import refuse_untrained

    codec, text_encoder = instantiate(config["codec"]), instantiate(config["text"])
    if not config["datamodule"]["pixels"]:
        refuse_untrained(codec)
    own = {"global_batch_size": 1, "batch_size": 1, "seed": config["seed"]}
    return instantiate(config["datamodule"], codec=codec, text_encoder=text_encoder, **own)


def say_what_is_there(data: Any) -> None:
    """Logs how many films each cache holds, whichever process made them."""
    from datamodules.caching.work import lacking

    for part in data.parts:
        entries = part.entries()
        films, texts = lacking(part, entries)
        left = f", of which {films:,}, and {texts:,} captions, are left to others" if films or texts else " are cached"
        log.info(f"{part.cache.place}: {len(entries):,} films{left}")
    log.info("next: train.py with the same arguments")


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "cache")
