"""What a setting may be, in words: from its annotation."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen, Predicate
from typing_extensions import is_typeddict

from networks.ranges import LARGE, LARGEST

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


def members(hint: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The alternatives of an annotation, each without `Annotated`, and what it said beside them."""
    if get_origin(hint) is Annotated:
        inner, *beside = get_args(hint)
        yield from ((each, (*more, *beside)) for each, more in members(inner))
    elif get_origin(hint) is NotRequired:
        yield from members(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from members(each)
    else:
        yield hint, ()


def is_sequence(hint: Any) -> bool:
    """Whether an annotation without `Annotated` is met by a list."""
    return isinstance(origin := get_origin(hint) or hint, type) and issubclass(origin, Sequence) and origin is not str


def is_mapping(hint: Any) -> bool:
    """Whether it is met by keys and values."""
    return is_typeddict(hint) or (isinstance(origin := get_origin(hint) or hint, type) and issubclass(origin, Mapping))


def is_scalar(hint: Any) -> bool:
    """Whether it is met by one number, word, text or null."""
    return hint in PLAIN or hint is Path or get_origin(hint) is Literal


def describe(hint: Any) -> str:
    """What is allowed, such as "a whole number, at least 1, or null"."""
    options = list(members(hint))
    words = [value for each, _ in options if get_origin(each) is Literal for value in get_args(each)]
    found = [_choice(words)] if words else []
    for each, beside in options:
        is_path = each is Path and any(other is str for other, _ in options)
        if get_origin(each) is not Literal and each is not NoneType and not is_path:
            found.append(_describe_one(each, beside))
    if any(each is NoneType for each, _ in options):
        found.append("null")
    return ", or ".join(dict.fromkeys(found))


def _choice(words: Sequence[Any]) -> str:
    texts = list(dict.fromkeys(str(word) or '""' for word in words))
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"


def _describe_one(hint: Any, beside: Sequence[Any]) -> str:
    if is_sequence(hint):
        inner = [each for each in get_args(hint) if each is not Ellipsis]
        count = next((each.max_length for each in beside if isinstance(each, MaxLen)), None)
        count = len(inner) if get_origin(hint) is tuple else count
        some = any(isinstance(each, MinLen) for each in beside)
        size = f" of {count}" if count else " of at least one" if some else ""
        return f"a list in brackets{size}, each {describe(inner[0])}" if inner else f"a list in brackets{size}"
    if is_mapping(hint):
        return "names with values in braces"
    if not is_scalar(hint):
        return "a mapping with _target_"
    return PLAIN.get(hint, "a text") + _bounds(beside)


def _bounds(beside: Sequence[Any]) -> str:
    """The range that stands beside a type."""
    least = next((each.ge for each in beside if isinstance(each, Ge)), None)
    most = next((each.le for each in beside if isinstance(each, Le) and each.le not in (LARGEST, LARGE)), None)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    above = next((f"above {each.gt}" for each in beside if isinstance(each, Gt)), None)
    longer = next(("not empty" for each in beside if isinstance(each, MinLen)), None)
    asked = next((str(each.func.__doc__).rstrip(".") for each in beside if isinstance(each, Predicate)), None)
    bounds = [least is not None and f"at least {least}", above, most is not None and f"at most {most}", longer, asked]
    return "".join(f", {bound}" for bound in bounds if bound)


def shown(value: Any) -> str:
    """A value as it is typed, cut where it is long."""
    text = " ".join(_typed(value).split())
    return text if len(text) <= 60 else text[:57] + "…"


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_typed(each)}' for key, each in value.items())}}}"
    return str(value) or '""'
