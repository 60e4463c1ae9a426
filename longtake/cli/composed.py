"""Composed configs as the rest of longtake takes them: plain values. Hydra and OmegaConf stay in this package."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longtake.cli.user_errors import sentence
from longtake.configs import CONF
from longtake.settings import check
from longtake.settings.check import Tree, names_in


def plain(cfg: Any) -> Any:
    """A config, or a value in one, as plain values with every reference followed."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def compose_from_python(config: str, settings: Sequence[str]) -> DictConfig:
    """Composes a config as the command line does; the caller may be a program of Hydra's itself.

    Args:
        config: name of a file of conf/.
        settings: as typed on the command line.

    Returns:
        The config.

    Raises:
        ValueError: if a setting is wrong, in one sentence.
    """
    if isinstance(settings, str):
        raise ValueError(f"settings={settings!r} must be a list of texts: give [{settings!r}]")
    callers = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with users_errors(), initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose(config, overrides=[str(setting) for setting in settings])
    finally:
        GlobalHydra.instance().hydra = callers


@contextmanager
def users_errors() -> Iterator[None]:
    """Turns Hydra's errors that are the user's to mend into one sentence.

    Raises:
        ValueError: with the sentence.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        if (said := sentence(error)) is None:
            raise
        raise ValueError(said) from error


def check_settings(cfg: DictConfig, schema: type, *, unused: Collection[str] = ()) -> None:
    """Checks every key of a composed config; see `longtake.settings.check`.

    Args:
        cfg: the composed config.
        schema: one of longtake.cli.schemas.
        unused: parts that this call does not use: they are not checked, for which their libraries would be loaded.

    Raises:
        ValueError: for the first wrong setting, named as it is typed, with what is allowed.
    """
    check.check_tree(tree_of(cfg), schema, unused)


def tree_of(cfg: DictConfig) -> Tree:
    """The config for `longtake.settings.check`."""

    def resolve(key: str) -> Any:
        node: Any = cfg
        try:
            for name in names_in(key):
                node = node[int(name)] if OmegaConf.is_list(node) else node[name]
        except OmegaConfBaseException as error:
            raise LookupError(" ".join(str(error).split("full_key")[0].split())) from error
        except RecursionError as error:
            raise LookupError("it refers to itself") from error
        return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node

    values: Any = OmegaConf.to_container(cfg, resolve=False)
    return Tree(values, resolve, typed())


def typed() -> dict[str, str]:
    """The values of the command line by key, before Hydra read numbers in them."""
    if not HydraConfig.initialized():
        return {}
    changes = (text.lstrip("+").partition("=") for text in map(str, HydraConfig.get().overrides.task))
    return {key: text for key, _, text in changes}
