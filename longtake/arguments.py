"""Settings as they are typed on a command line: whatever a text holds, Hydra and the shell give it back unchanged."""

import re
import shlex
from collections.abc import Iterable, Sequence

KEY = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[\w$@:./-]+)=(?P<value>.*)", re.DOTALL)
"""An argument that sets something; what stands in the value is not looked at."""

_PLAIN = re.compile(r"[A-Za-z0-9_./%+\-]+")
"""Texts that Hydra takes as they are, unless it reads something else in them."""

_NO_TEXT = re.compile(r"[-+.\d_einfa]*|true|false|on|off|yes|no|null|~", re.IGNORECASE)
"""What could be read as a number, true, false or null."""


def argument(key: str, value: object) -> str:
    """Writes `key=value` as one argument of a command line, quoted for Hydra and for the shell where that is needed.

    Args:
        key: name of the setting.
        value: its value. A number is written as a number. Anything else is written as a text, so the text "5" is read
            back as a text.

    Returns:
        The argument, as it is typed.
    """
    return shlex.quote(f"{key}={value if isinstance(value, int | float) else quoted(str(value))}")


def command(program: str, arguments: Iterable[str]) -> str:
    """A program of this project with arguments that are quoted already."""
    return " ".join(["python", program, *arguments])


def quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back; `${` stays a dollar and a brace.

    Within quotes a backslash counts only before a quote or the closing one, and before `${`, which OmegaConf reads.
    """
    if _PLAIN.fullmatch(text) and not _NO_TEXT.fullmatch(text):
        return text
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    text = re.sub(r'(\\*)"', lambda found: found[1] * 2 + r"\"", text)
    text = re.sub(r"(\\+)\Z", lambda found: found[1] * 2, text)
    return f'"{text}"'


def as_typed(typed: str, others: Sequence[str]) -> str:
    """The answer to an argument that Hydra cannot read: what to type for the text that seems to be meant.

    typed: the argument; others: all arguments of the command in order, `typed` among them.
    """
    found = KEY.fullmatch(typed)
    if found is None:
        return _without_key(typed, others)
    key, value = (found["sign"] or "") + found["key"], found["value"]
    text = value
    if value.startswith("="):
        return (
            f"{typed} has one = too many: type {argument(key, value[1:])}, or for this very text {argument(key, value)}"
        )
    for quote in "\"'":  # a quote that was opened, and closed or not, is meant as one
        if text.startswith(quote):
            text = text[1:].removesuffix(quote)
            break
    if text[:1] in "[{" and text.count("[") + text.count("{") != text.count("]") + text.count("}"):
        return (
            f"{typed} opens a bracket that does not close: close it, or for this very text type {argument(key, text)}"
        )
    members = _members_quoted(text)
    if members is not None:
        meant = shlex.quote(f"{key}={members}")
        return f"{typed} cannot be read as a setting: type {meant}, or for this very text {argument(key, text)}"
    return f"{typed} cannot be read as a setting: for this text type {argument(key, text)}"


def _members_quoted(text: str) -> str | None:
    """A list or dict in brackets, its members quoted where they have to be; None where it holds more brackets."""
    inner = text[1:-1]
    if (text[:1] + text[-1:]) not in ("[]", "{}") or re.search(r"[\[\]{}\"']", inner):
        return None
    members = [member.strip() for member in inner.split(",")]
    if text[0] == "[":
        return f"[{', '.join(_member(member) for member in members)}]"
    pairs = [member.split(":", 1) for member in members]
    if any(len(pair) != 2 for pair in pairs):
        return None
    return "{" + ", ".join(f"{name.strip()}: {_member(value.strip())}" for name, value in pairs) + "}"


def _member(text: str) -> str:
    """A member of a list or dict, as Hydra reads it back: what could be a number, true, false or null stays that."""
    return text if _NO_TEXT.fullmatch(text) else quoted(text)


def _without_key(typed: str, others: Sequence[str]) -> str:
    """For an argument that sets nothing: the words of a text that the shell took apart, or a name without a value."""
    place = others.index(typed) if typed in others else -1
    before = [n for n, other in enumerate(others[:place]) if KEY.fullmatch(other)] if place > 0 else []
    if before and not any(other.startswith("-") for other in others[before[-1] + 1 : place]):
        words = [others[before[-1]]]
        for other in others[before[-1] + 1 :]:
            if KEY.fullmatch(other) or other.startswith("-"):
                break
            words.append(other)
        found = KEY.fullmatch(" ".join(words))
        assert found is not None
        key = (found["sign"] or "") + found["key"]
        return (
            f"{typed!r} is no key=value: if it belongs to the text before it, type {argument(key, found['value'])}; "
            "a setting is typed as key=value"
        )
    return f"{typed!r} is no key=value: a setting is typed as key=value, such as seed=1; `--help` shows them"
