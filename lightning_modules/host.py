"""What the host's runtime does by default and training or sampling on a CPU should not pay for."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_TRIM_BYTES, _MMAP_BYTES = 1 << 30, 1 << 28
_OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def settle() -> None:
    """Call it before torch loads; what the environment says already is left alone.

    OpenMP's threads spin for a short while only, since whatever else runs on the machine waits for them. And glibc
    keeps up to 1 GiB of freed memory, instead of handing it back after a layer and having every page of the next
    layer mapped again: a tenth of the time of sampling on a CPU.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
