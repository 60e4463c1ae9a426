"""How much longer things take on a machine that others use as well."""

import os


def patience() -> float:
    """A factor for limits of time, by what else computes now."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, busy / (os.cpu_count() or 1))
