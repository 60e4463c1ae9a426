"""Folders laid out for VBench, and what is found in them."""

from longtake.reports.vbench.preflight import Length
from longtake.reports.vbench.rules import make_rules


def rules(mode, *dimensions, samples=2, info=None):
    return make_rules(mode=mode, dimensions=dimensions or ["subject_consistency"], samples=samples, info=info)


def lay(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def lasting(seconds, fps=8.0):
    return lambda path: Length(round(seconds * fps), fps)


def traps(faults, *, grave=True):
    return {(fault.trap, fault.file) for fault in faults if fault.grave == grave}
