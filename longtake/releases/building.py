"""Objects of a config that came with weights, by the list of what may be built; no other code is called."""

from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

from longtake.releases.outside import may_build


def build(node: Any) -> Any:
    """What a part of a checked config describes, innermost first.

    Args:
        node: part of a checked config. Mappings with `_target_` become objects, or with `_partial_` functions that make
            them; other mappings, lists, numbers and texts, and objects that are there already, stay what they are.

    Returns:
        What the node describes.

    Raises:
        ValueError: if a name is not on the list, or a model of another library is not there.
    """
    if isinstance(node, list | tuple):
        return [build(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {key: build(value) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return arguments
    name = str(node["_target_"])
    if not may_build(name):
        raise ValueError(
            f"{name} is no part of this project, and weights may build no other: take weights that longtake wrote"
        )
    called = resolve_name(name)
    if node.get("_partial_"):
        return partial(called, **arguments)
    try:
        return called(**arguments)
    except (OSError, ImportError) as error:  # of transformers and diffusers: a model that is not on this machine
        if getattr(error, "filename", None) is not None or getattr(error, "errno", None) is not None:
            raise
        raise ValueError(" ".join(str(error).split())) from error
