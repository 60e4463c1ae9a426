"""Hydra, tested on 1.3.8: that it composes a configuration once.

Before a program begins Hydra composes all of it only to look at `hydra.mode`, and then again to run it.
"""

import os
import re
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra

_COMPOSED = Hydra.get_mode
_OWN = ("hydra", "schema")
"""Places of a search path that are Hydra's."""
_WORDS = (re.compile(r"\bhydra\b"), re.compile(r"\b(mode|searchpath)\b"))
"""What a file has that sets the mode, or leads to further files."""


def compose_once(conf: Path) -> None:
    """Has Hydra, in this process, compose for the sake of `hydra.mode` only where something may set it.

    Args:
        conf: the folder of the configuration.
    """

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        places = {each.path for each in self.config_loader.get_search_path().get_path() if each.provider not in _OWN}
        ours = {place.removeprefix("file://") for place in places} == {str(conf)}
        if ours and not any("hydra" in each for each in overrides) and not _may_set_mode(conf):
            return None  # as if it were composed and not set
        return _COMPOSED(self, config_name, overrides)

    patched: Any = Hydra
    patched.get_mode = get_mode


def _may_set_mode(conf: Path) -> bool:
    """Whether any file has the words: a look at all of them takes a twentieth of composing some."""
    for folder, _, names in os.walk(conf, followlinks=True):
        for path in (Path(folder, name) for name in names if name.endswith((".yaml", ".yml"))):
            try:
                text = f"{path.relative_to(conf)}\n{path.read_text(encoding='utf-8')}"
            except (OSError, ValueError):  # Hydra will say so
                return True
            if all(word.search(text) for word in _WORDS):
                return True
    return False
