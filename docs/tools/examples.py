"""A griffe extension: what stands under `Example:` in a docstring is code."""

import re
from typing import Any

import griffe

BLOCK = re.compile(r"^(?P<indent> *)Example:\n(?P<code>(?:(?P=indent) {4}.*\n?|[ \t]*\n)+)", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences the code, so that pages show it as such."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every object."""
        if obj.docstring is not None and "Example:" in obj.docstring.value:
            obj.docstring.value = BLOCK.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match[str]) -> str:
    inner = found["indent"] + "    "
    return f"{found['indent']}Example:\n{inner}```python\n{found['code'].rstrip()}\n{inner}```\n"
