"""What the parts of a config call, what these take, and whether what they build fits where it is used."""

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any, get_type_hints

import yaml
from torch import nn

from longtake.configs import CONF
from longtake.settings.kinds import FOREIGN, Part
from longtake.settings.wording import describe, is_scalar, members, shown


def target(node: Mapping[str, Any]) -> Any:
    """What a part calls, or a sentence that begins with `_target_`."""
    name = node.get("_target_")
    if not isinstance(name, str) or not name:
        return f"_target_={shown(name)} must be the dotted name of a class or function"
    try:
        called = resolve_name(name)
        inspect.signature(called)
    except Exception as error:  # whatever a module that is named here raises when it is imported
        return f"_target_={shown(name)} cannot be used ({' '.join(str(error).split())[:200]}): look at the name"
    return called


@cache
def hints_of(called: Any) -> dict[str, Any]:
    """Annotations of a constructor or function, those of other libraries narrowed to what is meant here."""
    owner: Any = getattr(called, "__init__") if isinstance(called, type) else called  # noqa: B009 - unsound to mypy
    try:
        hints = get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):  # a name that only type checkers see: it and its kind are not checked
        hints = {key: each for key, each in inspect.get_annotations(owner).items() if not _is_forward(each)}
    return {**hints, **FOREIGN.get(f"{called.__module__}.{called.__qualname__}", {})}


def _is_forward(hint: Any) -> bool:
    return isinstance(hint, str) or "ForwardRef" in repr(hint)


def fits(node: Mapping[str, Any], hint: Any, name: str, origin: str) -> Iterator[str]:
    """Whether what a part builds is what is wanted here; where that cannot be known it is taken to be."""
    options = list(members(hint))
    wanted = [each for each, _ in options if not is_scalar(each)]
    if any(each in (Any, object, Part) for each in wanted):
        return
    if not wanted:
        yield f"{origin} must be {describe(hint)}" + (f", as {name}" if name != origin else "")
        return
    called = target(node)
    if isinstance(called, str) or node.get("_partial_") is True:
        return
    kinds = [(each, *(more for more in beside if isinstance(more, type))) for each, beside in options]
    kinds = [each for each in kinds if not is_scalar(each[0])]
    made = _made_by(called)
    if not any(all(_is_kind(made, each) for each in kind) for kind in kinds):
        names = " or ".join(kind[-1].__name__ for kind in kinds)
        owner = name.rpartition(".")[0]
        fitting = [each for each in options_of(origin) if _builds(origin, each, kinds)]
        advice = f"use {origin}={any_of(fitting)}, or another {owner.split('.')[0]}" if fitting else "use one of those"
        yield f"{origin} builds {made.__name__}, but {name if name != origin else owner} takes {names}: {advice}"


def _made_by(called: Any) -> Any:
    """The class of what a call gives; Any where it does not say."""
    return called if isinstance(called, type) else hints_of(called).get("return", Any)


def _is_kind(made: Any, wanted: Any) -> bool:
    """Whether a class is another, or has the methods of a protocol; True where it cannot be known."""
    if not isinstance(made, type) or not isinstance(wanted, type) or made in wanted.__mro__:
        return True
    if wanted is nn.Module:  # what all networks are, whatever a function that returns one says
        return True
    if not getattr(wanted, "_is_protocol", False):
        return wanted in made.__mro__ or (getattr(made, "_is_protocol", False) and _is_kind(wanted, made))
    methods = {key for key, each in vars(wanted).items() if callable(each) and (key[0] != "_" or key == "__call__")}
    return methods <= {key for each in made.__mro__ for key in vars(each)}


def options_of(group: str) -> list[str]:
    """What can be chosen of a group; none where it is no group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _builds(group: str, option: str, kinds: list[Any]) -> bool:
    """Whether an option of a group builds one of these for certain: what returns a base of theirs may or may not."""
    node = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
    called = target(node) if isinstance(node, Mapping) and "_target_" in node else ""
    if isinstance(called, str):
        return False
    made = _made_by(called)
    return any(all(_is_kind(made, each) and made not in each.__mro__[1:] for each in kind) for kind in kinds)


def any_of(options: list[str]) -> str:
    """Names as a choice of one."""
    return f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else "".join(options)
