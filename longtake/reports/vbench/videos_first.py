"""Runs a program with files listed before folders; an export copies this file, which needs nothing beside it.

`python videos_first.py vbench2_beta_long/eval_long.py …`: VBench-Long makes folders beside the videos, then takes the
suffix of the first entry that the system lists for that of all, which on many disks is such a folder's.
"""

import os
import runpy
import sys


def main() -> None:
    """Run the program that the first argument names, with the others."""
    listed = os.listdir

    def videos_first(path: str = ".") -> list[str]:
        return sorted(listed(path), key=lambda name: (not name.endswith(".mp4"), name))

    os.listdir = videos_first  # type: ignore[assignment]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
