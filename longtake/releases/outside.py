"""Configs that come with weights: read within bounds, freed of references, and built from one list of names.

A release, a run and a checkpoint carry a config, whose `_target_` could name any object of Python. Whoever made them
may be a stranger, however they reached this disk. So a config's text is read as plain values, without aliases, tags and
interpolations, and each `_target_` in it must be a name that `conf/` gives to a part of a release, or a network class
of ours. Hydra takes no part in it.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from longtake.configs import CONF
from longtake.releases.plain_yaml import PlainLoader
from longtake.releases.renamed import renamed, renamed_arguments
from networks.reading import UNREADABLE, WrongFileError, read_text
from networks.saving import most_of, own_network

PARTS = (
    "codec", "text", "control", "backbone", "interface", "compressor", "network", "objective", "sampler", "guidance",
    "rollout", "lightning_module",
)  # fmt: skip
"""Groups that are built from weights' config, each a folder of conf/."""

PLAIN = ("name", "seed", "video", "prompts", "rates", "global_batch_size")
"""Further keys that are read from it: numbers and texts."""

WITHOUT_A_FILE = (
    "longtake.objectives.LogitNormal",
    "longtake.objectives.MinSNR",
    "longtake.objectives.Uniform",
)
"""Classes that a release may build besides those that the files of conf/ name: parts of an objective."""

ANEW = "take the weights anew"
MOST_CONFIG_BYTES, MOST_NODES, MOST_DEPTH = 1 << 20, 20_000, 24
_REFERENCE = re.compile(r"\$\{(\w+)\}")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@functools.cache
def allowed() -> frozenset[str]:
    """Every name that a config from outside may call: what the groups in PARTS name in conf/, and WITHOUT_A_FILE."""
    found = set(WITHOUT_A_FILE)
    for part in PARTS:
        for path in (CONF / part).glob("*.yaml"):
            found |= set(_targets(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return frozenset(target for target in found if _NAME.fullmatch(target))


def may_build(name: str) -> bool:
    """Whether a config from outside may call what has this dotted name."""
    return name in allowed() or own_network(name) is not None


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` within a node."""
    if isinstance(node, dict):
        yield from [str(node["_target_"])] if "_target_" in node else []
        node = list(node.values())
    for inner in node if isinstance(node, list) else []:
        yield from _targets(inner)


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a release's config.yaml, as plain values; aliases, tags and deep nesting are refused unread.

    Args:
        path: path of the file.

    Returns:
        The mapping.

    Raises:
        WrongFileError: if the file is broken or beyond a bound.
    """
    text = read_text(path, MOST_CONFIG_BYTES)
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), path)
        node = yaml.load(text, Loader=PlainLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, *UNREADABLE) as error:
        if isinstance(error, WrongFileError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise WrongFileError(
            f"{path} is no YAML that a release could hold ({reason}): download it again, for example by `hf download`"
        ) from error
    if isinstance(node, str | int | float):
        raise WrongFileError(
            f"{path} is no YAML that a release could hold (one {type(node).__name__}): download it again, for example "
            "by `hf download`"
        )
    if not isinstance(node, dict):
        raise WrongFileError(f"{path} holds no mapping: download it again, for example by `hf download`")
    return {str(key): value for key, value in node.items()}


def _check_events(events: Iterator[Any], path: Path) -> None:
    """Counts what a YAML parser meets, before anything is built of it: an alias can stand for a billion nodes."""
    depth = 0
    for number, event in enumerate(events):
        opens = isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
        depth += opens - isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
        reason = None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            reason = "an anchor or alias"
        elif getattr(event, "tag", None) is not None:
            reason = f"the tag {event.tag}"
        elif depth > MOST_DEPTH or number > 2 * MOST_NODES:
            reason = f"more than {MOST_DEPTH} levels or {MOST_NODES:,} values"
        if reason is not None:
            line = event.start_mark.line + 1
            raise WrongFileError(f"{path}, line {line}: {reason}, which no release has; take it from its author anew")


def checked_config(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The parts of a config from outside that may be used, with references between them put in place.

    Args:
        tree: plain values, such as `read_config_file` or a checkpoint gives.
        where: the setting and weights that the config belongs to, for messages.

    Returns:
        Those of PARTS and PLAIN that it has; `lightning_module`, which runs and older releases name, without its
        optimizer and scheduler.

    Raises:
        ValueError: if something in it is none of the plain values, calls a name that is not allowed, reads a setting
            or the environment by `${…}`, or is beyond a bound.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where}: its config is no mapping but a {type(tree).__name__}: {ANEW}")
    parts = {key: tree[key] for key in (*PARTS, *PLAIN) if key in tree}
    module = parts.get("lightning_module")
    if "network" not in parts and module is None:
        raise ValueError(f"{where}: its config has no network, as train.py and export.py write one")
    if module is not None and not isinstance(module, Mapping):
        raise ValueError(f"{where}: its config has no lightning_module, as train.py writes one")
    if not isinstance(parts.get("codec"), Mapping):
        raise ValueError(f"{where}: its config has no codec, as train.py and export.py write one")
    for key in PARTS[:-1]:
        value = parts.get(key)
        if value is not None and not (isinstance(value, Mapping) and "_target_" in value):
            raise ValueError(
                f"{where}: {key} in its config is {str(value)[:60]!r}, but must be a mapping whose _target_ says what "
                f"is built: {ANEW}"
            )
    if module is not None:
        parts["lightning_module"] = {
            key: _referred(value, parts) for key, value in module.items() if key not in ("optimizer", "scheduler")
        }
    walk = _Walk(where)
    return {key: walk(value, key, 0) for key, value in parts.items()}


def _referred(value: Any, parts: Mapping[str, Any]) -> Any:
    """The part that `${part}` stands for, as export.py writes it; anything else as it is."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return parts.get(match[1]) if match is not None and match[1] in PARTS[:-1] else value


class _Walk:
    """Copies plain values and refuses all else; what shares a node is counted as often as it is met."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def __call__(self, node: Any, key: str, depth: int) -> Any:
        self.count += 1
        if depth > MOST_DEPTH or self.count > MOST_NODES:
            raise ValueError(
                f"{self.where}: its config has more than {MOST_DEPTH} levels or {MOST_NODES:,} values, as no release: "
                f"{ANEW}"
            )
        if isinstance(node, Mapping):
            checked = {name: self(value, f"{key}.{name}", depth + 1) for name, value in self._entries(node, key)}
            return renamed_arguments(checked)
        if isinstance(node, list | tuple):
            return [self(value, f"{key}.{number}", depth + 1) for number, value in enumerate(node)]
        if isinstance(node, str):
            if "${" in node:
                raise ValueError(
                    f"{self.where}: {key} in its config reads a setting or the environment by {node[:60]!r}, which "
                    "weights must not: replace it by the value"
                )
            return node
        if isinstance(node, int | float) and not isinstance(node, bool):
            self._check_number(node, key)
        elif node is not None and not isinstance(node, bool):
            raise ValueError(f"{self.where}: {key} in its config is a {type(node).__name__}, no number or text: {ANEW}")
        return node

    def _entries(self, node: Mapping[Any, Any], key: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            if not isinstance(name, str) or "${" in name:
                raise ValueError(
                    f"{self.where}: {key} in its config has the key {name!r}, which no release has: {ANEW}"
                )
            if name == "_target_":
                yield name, self._checked_target(value, key)
                continue
            elif name.startswith("_") and (name != "_partial_" or not isinstance(value, bool)):
                raise ValueError(f"{self.where}: {key} in its config has the key {name}, which no release has: {ANEW}")
            yield name, value

    def _checked_target(self, target: Any, key: str) -> str:
        today = renamed(target) if isinstance(target, str) else ""
        if not may_build(today):
            raise ValueError(
                f"{self.where}: not loaded, since {key} in its config would call {str(target)[:80]}, which is no part "
                f"of this project. If it is yours, name it in a file of conf/{key.split('.')[0]}/"
            )
        return today

    def _check_number(self, number: float, key: str) -> None:
        most = most_of(key.rpartition(".")[2])
        if not abs(number) <= most:  # NaN too
            raise ValueError(f"{self.where}: {key}={number} in its config must be a number up to {most:,}")
