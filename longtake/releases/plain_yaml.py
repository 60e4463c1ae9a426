"""Releases' config.yaml: YAML of plain values, as OmegaConf reads and writes it, without OmegaConf.

PyYAML alone follows YAML 1.1, in which 1e-3 is a text, and takes the last of two equal keys.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_TAG, _DATE_TAG, _FIRST = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp", list("-+0123456789.")


def _as_in_yaml_1_2(kind: Any) -> None:
    """Reads floats, in a loader or a dumper, as YAML 1.2 has them, and dates as texts."""
    kind.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag not in (_FLOAT_TAG, _DATE_TAG)]
        for first, found in kind.yaml_implicit_resolvers.items()
    }
    kind.add_implicit_resolver(_FLOAT_TAG, _FLOAT, _FIRST)


class PlainLoader(yaml.SafeLoader):
    """Numbers, texts, lists and mappings; a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """PyYAML's hook."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(problem=f"the key {key.value} stands twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class PlainDumper(yaml.SafeDumper):
    """Writes what `PlainLoader` reads back as it was."""

    def ignore_aliases(self, data: Any) -> bool:
        """PyYAML's hook: what two places share is written twice, as releases have no aliases."""
        return True


_as_in_yaml_1_2(PlainLoader)
_as_in_yaml_1_2(PlainDumper)


def dumped(tree: Mapping[str, Any]) -> str:
    """The text of plain values, in their order."""
    return yaml.dump(tree, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
