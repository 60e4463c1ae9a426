"""The process's settings before torch loads: freed memory is kept, and what the environment says is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK, BLOCKS = 16 << 20, 20
FAULTS = f"""
import resource
from lightning_modules.host import settle
settle()
before = None
for number in range({BLOCKS} + 1):
    block = b"x" * {BLOCK}
    del block
    if before is None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**settings):
    """Pages mapped anew by writing the same 16 MiB again and again."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "MALLOC", "LD_"))}
    command = [sys.executable, "-c", FAULTS]
    ended = subprocess.run(command, cwd=ROOT, env={**own, **settings}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    every_page = BLOCKS * BLOCK // os.sysconf("SC_PAGE_SIZE")
    assert faults() < every_page / 20
    assert faults(MALLOC_MMAP_THRESHOLD_="65536") > every_page / 2


def test_a_spin_that_the_environment_names_stays(monkeypatch):
    from lightning_modules.host import settle

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    settle()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    settle()
    assert os.environ["GOMP_SPINCOUNT"] == "20000"
