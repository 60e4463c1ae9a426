"""YAML nodes into values, with errors that name the line."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from longtake.storyboard.schema import fail


def compose(path: Path) -> tuple[str, yaml.Node]:
    """The tree of nodes of a YAML or JSON file, and the name that errors give the file.

    Args:
        path: path of the file.

    Returns:
        The root node, and the file's name for messages.

    Raises:
        ValueError: if there is no such file, or it is not YAML.
    """
    if path.is_dir():
        raise ValueError(f"storyboard={path} is a folder: give a file in it")
    if not path.is_file():
        raise ValueError(f"storyboard={path}: there is no such file")
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        several = "single document" in str(error.context) or path.suffix == ".jsonl"
        fail(path.name, line, "a file holds one storyboard" if several else _not_yaml(error))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(path.name, 1, f"not a text file in UTF-8 ({type(error).__name__})")
    except RecursionError:
        fail(path.name, 1, "its brackets nest too deeply: a storyboard is a list of segments")
    if root is None:
        fail(path.name, 1, "the file is empty: a storyboard has `segments`")
    return path.name, root


def _not_yaml(error: yaml.MarkedYAMLError) -> str:
    """What is wrong; a text with a colon in it, which is the likeliest, by what would do."""
    problem = str(error.problem)
    if "mapping values are not allowed" in problem or "got ':'" in problem:
        return 'not YAML: a text with a colon in it goes in quotes, such as prompt: "A marine: in red"'
    return f"not YAML: {problem}"


class Nodes:
    """Reads nodes of one file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, node: yaml.Node, reason: str) -> NoReturn:
        """Refuses what a node says.

        Args:
            node: node that is wrong.
            reason: what is wrong, and what would do.

        Raises:
            ValueError: always, with the node's line.
        """
        fail(self.file, line_of(node), reason)

    def mapping(
        self, node: yaml.Node, what: str, allowed: Sequence[str], renamed: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, yaml.Node]:
        """The values of a mapping by their keys, all of them known and said once; null is the same as not there.

        renamed: old keys, which are read as today's.
        """
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} must be a list of `key: value`")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fail(key_node, f"a key of {what} must be one word: there are {', '.join(allowed)}")
            key = renamed.get(str(key_node.value), str(key_node.value))
            if key not in allowed:
                near = get_close_matches(key, allowed, 1)
                meant = f" (did you mean {near[0]}?)" if near else ""
                self.fail(key_node, f"{key} is not a key of {what}{meant}: there are {', '.join(allowed)}")
            if key in found:
                self.fail(key_node, f"{key} is said twice, first in line {line_of(found[key])}: remove one")
            found[key] = value
        return {key: value for key, value in found.items() if value.tag != "tag:yaml.org,2002:null"}

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The entries of a list."""
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what} must be a list")
        return list(node.value)

    def scalar(self, node: yaml.Node, what: str, expected: str) -> Any:
        """A single value in its YAML type."""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{what} must be {expected}")
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            self.fail(node, f"{what}={node.value} must be {expected}")

    def text(self, node: yaml.Node, what: str) -> str:
        """A text; `prompt: 7` is the text "7"."""
        self.scalar(node, what, "a text")
        try:  # JSON writes a letter beyond 16 bits as two halves, which YAML leaves so
            text = str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.fail(node, f"{what} has half a letter of UTF-16, as \\ud83d is: write the letter itself")
        return " ".join(text.split())

    def name(self, node: yaml.Node, what: str) -> str:
        """The name of a segment."""
        name = self.text(node, what)
        if not name or name in ("none", "all"):
            self.fail(node, f"{what}={name!r} is not a name")
        return name

    def whole(self, node: yaml.Node, what: str, least: int) -> int:
        """A whole number of at least `least`."""
        value = self.scalar(node, what, "a whole number")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
            self.fail(node, f"{what}={node.value} must be a whole number of at least {least}")
        return int(value)

    def number(self, node: yaml.Node, what: str) -> float:
        """A finite number."""
        value = self.scalar(node, what, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            self.fail(node, f"{what}={node.value} must be a number")
        return float(value)

    def truth(self, node: yaml.Node, what: str) -> bool:
        """True or false."""
        value = self.scalar(node, what, "true or false")
        if not isinstance(value, bool):
            self.fail(node, f"{what}={node.value} must be true or false")
        return bool(value)

    def choice(self, node: yaml.Node, what: str, choices: Sequence[str]) -> str:
        """One of some words."""
        value = self.text(node, what)
        if value not in choices:
            self.fail(node, f"{what}={value} is unknown: use {', '.join(choices)}")
        return value


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1."""
    return int(node.start_mark.line) + 1
