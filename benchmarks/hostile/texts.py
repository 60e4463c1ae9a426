"""Hostile YAML: what could stand in place of a release's config."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.hostile.making import Case, arguments_of, write_release

TEXTS: dict[str, str] = {
    "billion laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias of itself": "codec: &x\n  a: *x\n",
    "merge keys": "a: &a {b: 1}\ncodec:\n  <<: *a\n",
    "thousands of brackets": "a: " + "[" * 50_000,
    "thousands of braces": "{a: " * 20_000,
    "thousands of levels": "".join(f"{' ' * n}a:\n" for n in range(3_000)),
    "a python tag": "codec: !!python/object/apply:os.system ['touch {evil}/canary']\n",
    "a python name": "codec: !!python/name:os.system\n",
    "a binary tag": "codec: !!binary aGVsbG8=\n",
    "a set": "codec: !!set {a, b}\n",
    "a local tag": "codec: !evil {a: 1}\n",
    "nothing": "",
    "a list": "- a\n- b\n",
    "a text": "hello\n",
    "a number": "5\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "the same key twice": "codec: {a: 1}\ncodec: {b: 2}\n",
    "tabs": "codec:\n\ta: 1\n",
    "not closed": "codec: {a: 'x\n",
    "a git-lfs pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a web page": "<!DOCTYPE html><html><body>404</body></html>\n",
    "control characters": "codec: \x00\x01\n",
    "a number as key": "1: 2\ncodec: {3: 4}\n",
    "a date": "codec: 2026-01-31\nlightning_module: {a: 2026-01-31}\n",
    "ten million digits": "seed: " + "9" * 900_000 + "\n",
    "a megabyte and more": "name: " + "a" * 3_000_000 + "\n",
    "a hundred thousand values": "prompts: [" + "a, " * 100_000 + "b]\n",
    "missing values": "codec: ???\nlightning_module: ???\n",
    "nulls": "codec: null\nlightning_module: null\nnetwork: null\n",
}
"""What could stand in a config.yaml instead of a config."""


def yaml_cases() -> Iterator[Case]:
    """Broken and malicious YAML as a release's config, and in place of the file something else."""
    for name, text in TEXTS.items():

        def write(folder: Path, text: str = text) -> None:
            write_release(folder / "release", text.replace("{evil}", str(folder)))

        yield Case(f"config.yaml: {name}", "generate.py", arguments_of("generate.py", "../release"), write)

    def instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            write_release(folder / "release", "a: 1")
            path = folder / "release" / "config.yaml"
            path.unlink()
            make(path)

        return write

    others: dict[str, Callable[[Path], Any]] = {
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to itself": lambda path: path.symlink_to(path),
        "a pipe": lambda path: os.mkfifo(path),
        "a folder": lambda path: path.mkdir(),
        "missing": lambda path: None,
        "not UTF-8": lambda path: path.write_bytes(b"codec: \xff\xfe\n"),
        "UTF-16": lambda path: path.write_bytes("codec: {a: 1}\n".encode("utf-16")),
    }
    for name, make in others.items():
        yield Case(f"config.yaml: {name}", "generate.py", arguments_of("generate.py", "../release"), instead(make))
