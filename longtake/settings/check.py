"""Every setting of a config against its type and range, before anything is built.

A group is checked by the signature of its `_target_`, all else by the program's schema. Configs are plain values; what
`${…}` in one stands for is asked of the `Tree` that it comes in, so that this package knows no library of configs.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from annotated_types import Le
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict  # which knows the package's own too

from longtake.arguments import argument
from longtake.settings.fitting import any_of, fits, hints_of, options_of, target
from longtake.settings.kinds import Later
from longtake.settings.wording import describe, is_mapping, is_scalar, is_sequence, members, shown
from networks.ranges import LARGE, LARGEST

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
"""A whole number is no true or false, a text no number; a number is finite where nothing else is said."""

MADE_LATER = {
    "datamodule": {"codec", "text_encoder", "global_batch_size", "batch_size", "seed"},
    "lightning_module": {"optimizer", "scheduler"},  # that comes with weights: it makes videos and is not trained
}
"""Arguments of groups that the programs give, not the config."""

OF_HYDRA = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": Sequence[Any],
}
"""Keys of a part that Hydra reads itself."""


MISSING = "???"
"""What stands where a value has to be given."""


def _unresolved(key: str) -> Any:
    raise LookupError("nothing is referred to here")


class Tree(NamedTuple):
    """A config.

    values: plain, with `${…}` as written; resolve: what stands at a key once its reference is followed, as plain
    values, or LookupError with the reason; typed: the values that were typed on the command line, by key, as texts.
    """

    values: Mapping[str, Any]
    resolve: Callable[[str], Any] = _unresolved
    typed: Mapping[str, str] = {}


def check_tree(tree: Tree, schema: type, unused: Collection[str] = ()) -> None:
    """Checks every key of a program's config; required keys that are missing (`???`) are left to the program.

    Args:
        tree: the config.
        schema: a TypedDict of annotated settings.
        unused: keys of the schema whose values are not checked.

    Raises:
        ValueError: for the first wrong setting, named as it is typed, with what is allowed.
    """
    _refuse(_of_schema(tree.values, schema, "", _Roots(tree), unused))


def check_groups(tree: Tree, groups: Sequence[str]) -> None:
    """Checks some groups of a config, such as those of weights with changes.

    Args:
        tree: the config.
        groups: names of the groups.

    Raises:
        ValueError: as check_tree.
    """
    roots = _Roots(tree)
    _refuse(fault for group in groups for fault in _child(tree.values, group, Any, group, roots))


def _refuse(faults: Iterator[str]) -> None:
    fault = next(faults, None)
    if fault is not None:
        raise ValueError(fault)


class _Roots:
    """The config as a whole: where a value that another key refers to stands, and which groups are chosen."""

    def __init__(self, tree: Tree) -> None:
        self.resolve, self.typed = tree.resolve, tree.typed
        self.plain: Any = tree.values
        self.text = json.dumps(self.plain, default=str)

    def at(self, key: str) -> Any:
        """What stands at a key, with its `${…}`; None where nothing does."""
        node = self.plain
        for name in names_in(key):
            if isinstance(node, Mapping):
                node = node.get(name)
            elif isinstance(node, list):
                node = node[int(name)]
            else:
                return None
        return node

    def origin(self, key: str) -> str:
        """The key that is typed to change this one: what it refers to, if that is one other key."""
        for _ in range(10):
            node = self.at(key)
            found = re.fullmatch(r"\$\{(\w[\w.]*)\}", node) if isinstance(node, str) else None
            if found is None:
                return key
            key = found[1]
        return key


def _of_schema(
    node: Mapping[str, Any], schema: type, place: str, roots: _Roots, unused: Collection[str] = ()
) -> Iterator[str]:
    """A mapping whose keys are known."""
    hints = get_type_hints(schema, include_extras=True)
    optional: frozenset[str] = schema.__optional_keys__  # type: ignore[attr-defined]
    for key in map(str, node):
        name = f"{place}{key}"
        if key not in hints:
            if place or f"${{{key}" not in roots.text:  # a key of one's own that others refer to is no mistake
                yield _unknown(name, key, list(hints), place.rstrip(".") or "the config")
        elif not (key in unused or (node[key] == MISSING and key in optional) or Later in get_args(hints[key])):
            yield from _child(node, key, hints[key], name, roots)
    for key in hints.keys() - optional - {str(key) for key in node}:
        yield f"{place}{key} is missing: give {place}{key}=…"


def _child(node: Any, key: Any, hint: Any, name: str, roots: _Roots) -> Iterator[str]:
    """One value: it is found, then checked; named by the key that it comes from."""
    value = node[key]
    if value == MISSING:
        yield f"{name} is missing: give {name}=…"
        return
    if isinstance(value, str) and "${" in value:
        try:
            value = roots.resolve(name)
        except LookupError as error:
            advice = f"for this very text type {argument(name, value)}"
            yield f"{name}={shown(value)} refers to what is not there ({error.args[0]}): {advice}"
            return
    origin = roots.origin(name)
    if isinstance(value, Mapping) and "_target_" in value:
        yield from fits(value, hint, name, origin)
        if origin == name:  # what is referred to is checked where it stands
            yield from _part(value, name, roots)
    else:
        yield from _value(value, hint, origin, roots, used_as=name if origin != name else "")


def names_in(key: str) -> list[str]:
    """The names that lead to a key, such as "a.b[3][c.d]"."""
    return [within or alone for within, alone in re.findall(r"\[([^\]]*)\]|([^.\[\]]+)", key)]


def _inside(name: str, key: str) -> str:
    """The name of what stands at a key of a mapping; one with dots is told from several keys by brackets."""
    return f"{name}[{key}]" if "." in key else f"{name}.{key}"


def _value(value: Any, hint: Any, name: str, roots: _Roots, used_as: str = "") -> Iterator[str]:
    """A number, word or text, a list, or keys with values."""
    options = list(members(hint))
    if any(each is Any or each is object for each, _ in options):
        return
    if isinstance(value, Mapping):
        found = next(((each, beside) for each, beside in options if is_mapping(each)), None)
        if found is None:
            yield _wrong(name, value, hint, used_as, roots)
        elif is_typeddict(found[0]):
            yield from _of_schema(value, found[0], f"{name}.", roots)
        else:
            for key in value:
                if not isinstance(key, str):
                    yield f"{name}: {shown(key)} is no name: quote it"
                else:
                    inner = (*get_args(found[0]), Any, Any)[1]
                    yield from _child(value, key, inner, _inside(name, key), roots)
    elif isinstance(value, list):
        found = next(((each, beside) for each, beside in options if is_sequence(each)), None)
        if found is None:
            yield _wrong(name, value, hint, used_as, roots)
            return
        inner = get_args(found[0]) or (Any,)
        is_tuple = get_origin(found[0]) is tuple and Ellipsis not in inner
        if is_tuple and len(inner) != len(value):
            yield _wrong(name, value, hint, used_as, roots)
            return
        for n in range(len(value)):
            yield from _child(value, n, inner[n] if is_tuple else inner[0], f"{name}[{n}]", roots)
        if not _is_valid([None] * len(value), list[Any], found[1]):
            yield _wrong(name, value, hint, used_as, roots)
    else:
        scalars = [Annotated[each, *beside] if beside else each for each, beside in options if is_scalar(each)]
        if not scalars or not _is_valid(value, Union[tuple(scalars)], ()):  # noqa: UP007 - made here
            yield _wrong(name, value, hint, used_as, roots)


def _is_valid(value: Any, hint: Any, beside: tuple[Any, ...]) -> bool:
    """By pydantic, as JSON: lists are tuples too, texts paths, and whole numbers numbers."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    try:
        _adapter(Annotated[hint, *beside] if beside else hint).validate_json(text)
    except ValidationError:
        return False
    return True


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Made once for each kind of setting: that takes longer than all that it is asked."""
    return TypeAdapter(hint, config=STRICT)


def _wrong(name: str, value: Any, hint: Any, used_as: str, roots: _Roots) -> str:
    """The sentence for a value of another type or out of range."""
    options = list(members(hint))
    described = describe(hint)
    if isinstance(value, float) and math.isinf(value) and not described.startswith("a number from"):
        described = described.replace("a number", "a finite number", 1)
    said = f"{name}={shown(value)} must be {described}"
    for limit in (LARGE, LARGEST):
        if isinstance(value, int | float) and value > limit and any(Le(limit) in beside for _, beside in options):
            said += f" and at most {limit:.10g}"
    if used_as and not used_as.startswith(name):
        said += f", since {used_as} takes it"
    choices = options_of(name)
    if choices and any(not is_scalar(each) for each, _ in options):
        return f"{said}: use {name}={any_of(choices)}"
    if any(each is str for each, _ in options) and value is not None and not isinstance(value, str | list | dict):
        typed = "quote it" if "[" in name else f"type {argument(name, roots.typed.get(name, shown(value)))}"
        said += f": for this very text {typed}"
    return said


def _unknown(name: str, key: str, known: list[str], place: str) -> str:
    near = get_close_matches(key, known, 1)
    meant = f"; did you mean {name.removesuffix(key)}{near[0]}?" if near else ";"
    return f"{name} is not a setting{meant} {place} has {', '.join(known) or 'none'}"


def _part(node: Mapping[str, Any], name: str, roots: _Roots) -> Iterator[str]:
    """A mapping with `_target_`, by the signature of what it names."""
    called = target(node)
    if isinstance(called, str):
        yield f"{name}.{called}"
        return
    parameters = inspect.signature(called).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    hints = hints_of(called)
    plain = {key for key, each in parameters.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    for key in map(str, node):
        if key in OF_HYDRA:
            yield from _child(node, key, OF_HYDRA[key], f"{name}.{key}", roots)
        elif key in plain:
            yield from _child(node, key, hints.get(key, Any), f"{name}.{key}", roots)
        elif not takes_all:
            own = [each for each in parameters if each in plain and each not in MADE_LATER.get(name, ())]
            yield _unknown(f"{name}.{key}", key, own, called.__name__)
    if node.get("_partial_") is not True:
        given = {*map(str, node), *MADE_LATER.get(name, ())}
        for key in plain - given:
            if parameters[key].default is inspect.Parameter.empty:
                yield f"{name}.{key} is missing, which {called.__name__} needs: give +{name}.{key}=…"
