"""The process's settings before torch loads: freed memory is kept, and what the environment says is left alone."""

import os
import subprocess
import sys

import pytest
import torch
from composing import ROOT

from longtake.process import set_matmul_precision, settle

FAULTS = """
import resource
from longtake.process import settle
settle()
before = None
for number in range(21):
    block = b"x" * (16 << 20)
    del block
    if before is None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def answer(code, **settings):
    """What a process without settings of its own prints, with these."""
    own = ("GLIBC", "MALLOC", "GOMP", "OMP")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    """Pages mapped anew by writing the same 16 MiB twenty times."""
    kept, handed_back = (int(answer(FAULTS, **own)) for own in ({}, {"MALLOC_MMAP_THRESHOLD_": "65536"}))
    assert handed_back > 10 * max(kept, 100)


def test_a_spin_that_the_environment_names_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # nothing of this process changes
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "before")  # so that it is put back
        monkeypatch.delenv(name)
    settle()
    assert os.environ["GOMP_SPINCOUNT"] == "20000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    settle()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    settle()
    assert "GOMP_SPINCOUNT" not in os.environ


STARTED = """
import sys
import longtake.cli.user_errors as errors
from longtake.cli import {program}
errors.settle = lambda: print("torch" in sys.modules)
errors.hydra.main = lambda **given: lambda main: lambda: print(given["config_name"])
{program}.main()
"""


@pytest.mark.parametrize("program", ["train", "generate", "evaluate", "export"])
def test_programs_settle_before_torch_loads(program):
    assert answer(STARTED.format(program=program)).split() == ["False", program]


def test_the_precision_of_products_is_pytorchs():
    for word in ("high", "medium", "highest"):
        set_matmul_precision(word)
        assert torch.get_float32_matmul_precision() == word
    with pytest.raises(ValueError, match="matmul_precision=exact must be one of highest, high, medium"):
        set_matmul_precision("exact")
