"""Two processes beside one: the program measures every case, and the videos are the same."""

import json
import os

import forked
import pytest
from composing import ROOT


@pytest.mark.slow
def test_two_processes_make_the_video_of_one_and_exchange_latents_alone(tmp_path):
    words = [ROOT / "benchmarks" / "scaling.py", "--frames", "49", "--repeats", "1", "--output", tmp_path]
    ended = forked.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0, ended.stderr[-2000:]
    cases = json.loads((tmp_path / "scaling.json").read_text())["cases"]
    assert list(cases) == ["VIN's windows", "Gen-L-Video's windows", "guidance's passes"]
    for found in cases.values():
        assert found["largest difference"] < 1e-4
        assert min(found["alone, s"], found["together, s"], found["faster"]) > 0
        # Of 13 latents of 16 x 8 x 8, which are 0.05 MiB: of windows what overlaps alone, of passes the whole estimate.
        assert 0 < found["MiB that a process gives to others, a step"] < 0.3
