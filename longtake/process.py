"""What a host's runtime does by default and the programs should not pay for."""

import ctypes
import logging
import os
import resource
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from longtake.compat import quantisers

if TYPE_CHECKING:
    import torch

log = logging.getLogger("longtake")
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


def check_device(device: "str | torch.device") -> None:
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


def bfloat16_slowness(size: int = 256, tries: int = 4) -> float:
    """How many times as long as in float32 this CPU takes for a product of matrices in bfloat16, measured.

    Below 1 where it has instructions for that (AMX, AVX-512 BF16). Elsewhere the numbers are converted one by one, and
    larger products lose more than small ones.

    Args:
        size: rows and columns of the matrices.
        tries: products in each type, of which the fastest counts.

    Returns:
        The ratio of the two times.
    """
    import torch

    def fastest(dtype: torch.dtype) -> float:
        matrix = torch.ones(size, size, dtype=dtype)
        times = []
        for _ in range(tries):
            begun = time.perf_counter()
            torch.nn.functional.linear(matrix, matrix)
            times.append(time.perf_counter() - begun)
        return min(times)

    return fastest(torch.bfloat16) / fastest(torch.float32)


@cache
def has_slow_bfloat16() -> bool:
    """Whether bfloat16 costs this CPU at least twice the time of float32, as measured once a process."""
    return bfloat16_slowness() >= 2


def warn_of_slow_bfloat16(setting: str, instead: str) -> None:
    """Says so where a setting would take hours instead of minutes on this CPU.

    Args:
        setting: setting that asks for bfloat16, as it is typed.
        instead: what to type for float32.
    """
    if has_slow_bfloat16():
        log.warning(
            f"{setting}: this CPU has no arithmetic of bfloat16, and takes many times as long as in float32: use "
            f"{instead}"
        )


def peak_resident_gib() -> float:
    """The largest resident size this process has had, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child begins at the size that its parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
