"""`pretrained=…` of a training: weights that were trained before, put into parts of a new network."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from longtake.releases.reading import network_state
from networks.saving import shapes_of, unfitting

log = logging.getLogger("longtake")


def load_start(module: nn.Module, parts: Mapping[str, str]) -> None:
    """Lets parts of a module's network begin from trained weights, each where it is there and has their sizes.

    It says what each part begins from. Weights that are not on this machine are left out as well.

    Args:
        module: with the new network.
        parts: name of a part, such as "backbone", to weights, such as "weights/NAME#backbone".
    """
    for name, source in parts.items():
        part = _part_of(module, name)
        if part is None:
            continue
        if not Path(source.partition("#")[0]).exists():
            log.info(f"{name}: from nothing, since {source} is not here")
            continue
        state = _part_state(source, f"start.{name}")
        if unfitting(part, shapes_of(state)):
            log.info(f"{name}: from nothing, since the weights of start.{name} have other sizes")
            continue
        part.load_state_dict(state)
        log.info(f"{name}: from {source}; start=null begins from nothing")


def load_parts(module: nn.Module, parts: Mapping[str, str | Sequence[str]]) -> None:
    """Puts trained weights into parts of a module's network; parts that it goes without are left out.

    Args:
        module: with the new network.
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
        part = _part_of(module, name)
        if part is None:
            known = ", ".join(key for key, _ in module.get_submodule("network").named_children())
            raise ValueError(f"pretrained.{name}: the network has no such part; it has {known}")
        wrong = unfitting(part, shapes_of(state))
        if wrong:
            raise ValueError(
                f"pretrained.{name}={sources} does not fit {type(part).__name__}: {len(wrong)} tensors differ, "
                f"the first is {wrong[0]!r}; name a part of those weights after #, give weights that have the rest "
                "before them in a list, or use the sizes of their training"
            )
        part.load_state_dict(state)


def _part_of(module: nn.Module, name: str) -> nn.Module | None:
    """A part of a module's network by its name, None where it has no such part."""
    try:
        return module.get_submodule(f"network.{name}")
    except AttributeError:
        return None


def _part_state(source: str, key: str) -> dict[str, torch.Tensor]:
    """The tensors of weights, or of the part of them that is named after #."""
    weights, _, inner = source.partition("#")
    state = network_state(weights, key)
    if not inner:
        return state
    found = {name.removeprefix(f"{inner}."): x for name, x in state.items() if name.startswith(f"{inner}.")}
    if not found:
        known = ", ".join(sorted({name.partition(".")[0] for name in state}))
        raise ValueError(f"{key}={source}: those weights have no part {inner!r}; they have {known}")
    return found


def _goes_without(network: nn.Module, name: str) -> bool:
    """Whether a part, or what it lies in, is None in this network, such as the compressor of compressor=none."""
    part: object = network
    for key in name.split("."):
        part = getattr(part, key, network)
        if part is None:
            return True
    return False
