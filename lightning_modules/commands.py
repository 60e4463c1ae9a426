"""Commands to print: whatever is in a name, they can be pasted into a shell and mean it to Hydra."""

import re
import shlex
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_.@/-]*[A-Za-z_/@][A-Za-z0-9_.@/-]*")
_WORDS = {"null", "true", "false", "nan", "inf", "-inf", "-nan"}


def argument(key: str, value: object) -> str:
    """`key=value` as it is typed, quoted for Hydra and then for the shell where either would read more into it.

    value: is meant as a text where it is one, so that 5 in a text stays a text; numbers are written as they are.
    """
    text = str(value)
    if not isinstance(value, int | float) and not is_plain(text):
        text = hydra_quoted(text)
    return shlex.quote(f"{key}={text}")


def is_plain(text: str) -> bool:
    """Whether Hydra reads a text without quotes as that text: no number, no word of its own, no sign of its grammar."""
    number = re.fullmatch(r"[+-]?[\d_.]+(e[+-]?[\d_]+)?", text, re.IGNORECASE)
    return bool(_PLAIN.fullmatch(text)) and not number and text.lower() not in _WORDS


def hydra_quoted(text: str) -> str:
    """A text in double quotes of Hydra's: quotes and what leads to them escaped, and a dollar that OmegaConf obeys."""
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)
    text = re.sub(r'(\\*)"', lambda found: found[1] * 2 + '\\"', text)
    return '"' + re.sub(r"(\\+)\Z", lambda found: found[1] * 2, text) + '"'


def command(program: str, arguments: Iterable[str]) -> str:
    """A program of this project with arguments that are quoted already."""
    return " ".join(["python", program, *arguments])
