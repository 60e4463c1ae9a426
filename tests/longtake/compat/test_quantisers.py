"""Libraries that quantise say nothing of themselves where they are only installed."""

import subprocess
import sys

import pytest

PROGRAM = """
from longtake.compat.quantisers import quiet
quiet()
import diffusers, peft
from diffusers import WanTransformer3DModel
"""


@pytest.mark.slow
def test_what_is_only_installed_is_silent():
    pytest.importorskip("torchao")
    pytest.importorskip("bitsandbytes")
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout + ended.stderr == ""
