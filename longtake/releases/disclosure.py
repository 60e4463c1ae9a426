"""What people share, such as releases and manifests, carries no secret and no path of the machine that made it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH", re.IGNORECASE)
_SECRET_SHAPE = re.compile(
    r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[A-Z0-9]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{30,}|glpat-[\w-]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|\b\w+://[^/\s:@]+:[^/\s@]+@"
)
"""Tokens of hubs, clouds and code hosts as they document them, private keys, and passwords inside of addresses."""
_SHORTEST = 8  # characters of an environment's value that is looked for: "1" or "true" is no secret


def refuse_secrets(node: Any, what: str) -> None:
    """Looks through every text of plain nested values.

    Args:
        node: mappings, lists, texts and numbers.
        what: the thing that would carry them, for the message.

    Raises:
        ValueError: for a text that has the form of a token or key, or that holds the value of an environment variable
            which is named like a secret.
    """
    secrets = [
        value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST
    ]
    for key, text in _texts(node, ""):
        if _SECRET_SHAPE.search(text) or any(secret in text for secret in secrets):
            raise ValueError(
                f"{what}: {key or 'it'} holds a token, key or password, which others would see: take it out"
            )


def refuse_paths(node: Any, what: str) -> None:
    """Looks through every text of plain nested values; see `refuse_secrets`.

    Args:
        node: mappings, lists, texts and numbers.
        what: the thing that would carry them, for the message.

    Raises:
        ValueError: for texts that are absolute paths, or of the home folder; it says all of their settings.
    """
    found = {key: text for key, text in _texts(node, "") if _is_local(text)}
    if not found:
        return
    key, text = next(iter(found.items()))
    raise ValueError(
        f"{what}: {key}={text} is a path of this machine, which others do not have: give the name on the hub, "
        f"such as {' '.join(f'{each}=USER/REPO' for each in found)}"
    )


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for name, value in entries:
        yield from _texts(str(name), f"{key}.{name}".lstrip("."))  # a key can carry one too
        yield from _texts(value, f"{key}.{name}".lstrip("."))


def _is_local(text: str) -> bool:
    """Whether a text is an absolute path, of this system or of another, or one of the home folder."""
    return os.path.isabs(text) or text.startswith(("~/", "file://")) or re.match(r"[A-Za-z]:[\\/]", text) is not None


def public_name(path: object) -> str:
    """How a path is named to others: relative to the working folder if it lies inside, or else by its last part.

    path: of weights or a storyboard; hub:USER/REPO stays as it is.
    """
    text = str(path)
    if text.startswith("hub:"):
        return text
    full, here = Path(os.path.abspath(text)), Path.cwd()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else full.name
