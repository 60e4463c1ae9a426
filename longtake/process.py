"""What a host's runtime does by default and the programs should not pay for."""

import ctypes
import os
import resource
import sys
import warnings
from pathlib import Path

from longtake.compat import quantisers

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES, _LARGEST_KEPT = 1 << 30, 1 << 25  # 32 MiB is the most that glibc before 2.35 takes
PRECISIONS = ("highest", "high", "medium")
_OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def settle() -> None:
    """Sets OpenMP's waiting and glibc's memory limits; call it before torch loads. Set environment variables stay.

    It also hides what libraries say of themselves when they load, which no user can mend.

    OpenMP's threads spin for a short while only, since whatever else runs on the machine waits for them. And blocks of
    up to 32 MiB that were freed stay with the process, at least up to 1 GiB at the end of its heap: glibc would hand
    them back after a layer and have every page of the next layer mapped again, a tenth of the time of sampling.
    """
    quantisers.quiet()
    # Of tqdm in a notebook: its bars are then plain text.
    warnings.filterwarnings("ignore", message="IProgress not found")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    # Either stops glibc from raising the other by itself: the second without the first would be slower than neither.
    if mallopt is not None and mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT):
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def check_device(device: str) -> None:
    """Refuses a device that this machine lacks; names are such as cpu, cuda:1 or mps.

    Args:
        device: its name in PyTorch's words.

    Raises:
        ValueError: if PyTorch knows none of that name, or this machine has none.
    """
    import torch

    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        there += ["mps"] * torch.backends.mps.is_available()
        raise ValueError(f"device={device} is not on this machine: use {', '.join(['cpu', *there])}") from error


def set_matmul_precision(precision: str) -> None:
    """Sets how exact products of float32 matrices are, in PyTorch's words; see docs/troubleshooting.md.

    Args:
        precision: highest, high or medium.

    Raises:
        ValueError: if PyTorch has no such word.
    """
    import torch  # late: `settle` runs before it loads

    if precision not in PRECISIONS:
        raise ValueError(f"matmul_precision={precision} must be one of {', '.join(PRECISIONS)}")
    torch.set_float32_matmul_precision(precision)


def peak_resident_gib() -> float:
    """The largest resident size this process has had, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child begins at the size that its parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
