"""The programs: the only place that composes configs. `longtake train|cache|generate|… key=value …`."""

import sys
from importlib import import_module

PROGRAMS = ("train", "cache", "generate", "evaluate", "export", "testbed", "studio")
SHORT = {"cost": ("evaluate", "cost=true"), "vbench": ("evaluate", "vbench=long_custom")}
"""Words for a program with a setting, which another value of that setting replaces."""


def main() -> None:
    """The command `longtake`: the first word says which program runs, with the arguments after it."""
    name, words = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name not in (*PROGRAMS, *SHORT):
        told = f"error: {name!r} is no program of longtake. " if name not in ("", "-h", "--help") else ""
        sys.stderr.write(
            f"{told}usage: longtake {{{'|'.join((*PROGRAMS, *SHORT))}}} [key=value …]; --help after one lists its "
            "settings\n"
        )
        sys.exit(2 if told or not name else 0)
    program, setting = SHORT.get(name, (name, None))
    if setting is not None and not any(word.startswith(f"{setting.split('=')[0]}=") for word in words):
        words = [*words, setting]
    sys.argv = [f"{sys.argv[0]} {program}", *words]
    import_module(f"longtake.cli.{program}").main()
