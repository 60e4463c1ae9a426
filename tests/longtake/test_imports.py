"""What a program imports before it does anything: libraries that it does not use cost each start seconds."""

import subprocess
import sys

import pytest
from composing import ROOT

LOADS = """
import sys
import longtake.cli.take
from longtake import Pipeline
Pipeline.from_pretrained({weights!r})
print(*sys.modules)
"""


@pytest.mark.slow
def test_weights_are_loaded_to_sample_without_what_only_training_and_scoring_need(tmp_path):
    code = LOADS.format(weights=str(ROOT / "weights" / "vin_freedoom_64"))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    loaded = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert "longtake.pipeline" in loaded
    unused = {"lightning", "torchmetrics", "timm", "peft", "matplotlib"}
    assert unused & set(loaded) == set()
