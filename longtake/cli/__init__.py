"""The programs: the only place that composes configs. `longtake train|cache|generate|… key=value …`."""

import sys
from importlib import import_module

PROGRAMS = ("train", "cache", "generate", "evaluate", "export", "testbed")


def main() -> None:
    """The command `longtake`: the first word says which program runs, with the arguments after it."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PROGRAMS:
        told = f"error: {name!r} is no program of longtake. " if name not in ("", "-h", "--help") else ""
        sys.stderr.write(
            f"{told}usage: longtake {{{'|'.join(PROGRAMS)}}} [key=value …]; --help after one lists its settings\n"
        )
        sys.exit(2 if told or not name else 0)
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    import_module(f"longtake.cli.{name}").main()
