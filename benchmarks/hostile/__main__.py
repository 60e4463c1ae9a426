"""Opens hostile files with the programs and counts what happens: `python -m benchmarks.hostile [part/of/all]`.

Prints a row a kind and every fault; exits with 1 if code of a stranger ran, a file outside was changed, a request was
sent, a secret was written, or a program hung or ended in a trace. `python -m benchmarks.hostile 0/10` runs every tenth
case from the first on.
"""

import collections
import sys
import tempfile
import time
from pathlib import Path

import hydra  # noqa: F401 - loaded once, before the processes fork
import lightning  # noqa: F401
import torch

import longtake.cli.take  # noqa: F401
from benchmarks.busy import patience
from benchmarks.hostile import files, watched
from benchmarks.hostile.making import Case, equip
from benchmarks.hostile.watched import Ending

TIMEOUT = 60.0
"""Seconds until a program counts as hanging, on a machine that has nothing else to do."""


def open_one(case: Case) -> Ending:
    """Writes a case's files, opens them, and looks whether anything that must not be touched was."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "stranger"
        equip(folder)
        case.write(folder)
        ended = watched.run(case.program, case.arguments, folder, timeout=TIMEOUT * patience())
        if not (folder / "precious" / "file").is_file():
            ended.broken.append("a precious file is gone")
        return ended


def main(part: str) -> int:
    """Runs a part of all cases; returns the exit code."""
    torch.set_num_threads(1)
    first, step = map(int, part.split("/"))
    cases = files.every_case()[first::step]
    print(f"{len(cases)} cases", flush=True)
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults, began = 0, time.perf_counter()
    for case in cases:
        ended = open_one(case)
        rows[case.name.split(":")[0]][ended.kind] += 1
        if ended.broken or ended.kind not in ("refused", "passed"):
            faults += 1
            sys.stdout.flush()
            print(f"FAULT {case.name}\n  {case.program} {' '.join(case.arguments)}\n  {ended.kind}: {ended.said[:300]}")
            for line in ended.broken[:3]:
                print(f"  {line}")
    for kind, counts in rows.items():
        print(f"{kind:28s} " + ", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    print(f"{len(cases)} hostile inputs, {faults} faults, {time.perf_counter() - began:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "0/1"))
