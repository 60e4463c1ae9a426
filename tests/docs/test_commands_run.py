"""Commands of README and docs that end within seconds, once they are shortened, are typed one after the other.

All others are composed and checked as far as one process can: tests/longtake/cli/test_configs.py.
"""

import json
import os
import re
import shlex

import forked
import numpy as np
import pytest
from composing import ROOT, documented_commands
from tiny_runs import TINY
from video_files import textured

pytestmark = pytest.mark.slow

NOT_HERE = {
    r"devices=|parallel\.|torchrun|srun": "several processes: test_parallel.py and test_processes.py run these",
    r"compile=|features\.name=|backbone=(?!dit_s)": "minutes, or models that are not here",
    r"weights=RUN|runs/|\bDIR\b|FOLDER|POSES": "what a reader has: test_programs.py and test_between.py run these",
    r"vbench=": "asks for videos as VBench names them: tests/longtake/reports/vbench",
    r"^longtake (vbench|cost|generate)$": "a name, in prose",
}
"""What is not run, by its words, and why."""
TRAINING = [each for each in TINY if not each.startswith(("datamodule=", "datamodule.height", "datamodule.width", "~"))]
SMALL = ["datamodule.height=32", "datamodule.width=32"]
TYPED = """
import json, runpy, sys
from pathlib import Path

for program, *words in json.loads(Path(sys.argv[1]).read_text()):
    print(program, *words, flush=True)
    sys.argv[:] = [program, *words]
    if program == "longtake":
        runpy.run_module("longtake", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
"""
"""What a shell does with commands, in a process that has the libraries already."""


def documented(program):
    """A program's commands in their order, each once, without comments."""
    found = [line.partition(" #")[0].strip() for line, each in documented_commands().items() if each.program == program]
    return list(dict.fromkeys(found))


def commands(program):
    """Those of a program that are run."""
    return [line for line in documented(program) if not any(re.search(words, line) for words in NOT_HERE)]


def shortened(line):
    """The words of a command, at a size of seconds."""
    words = shlex.split(line)
    words = words[1:] if words[0] == "python" else words
    if words[0] == "generate.py":
        frames = [] if "storyboard=" in line else ["num_frames=41"] if "lovic" in line else ["num_frames=17"]
        return [*words, "num_inference_steps=1", "num_videos=1", *frames]
    if words[0] == "train.py":
        few = [] if "debug=fast" in words else ["trainer.max_steps=1", "trainer.val_check_interval=1"]
        return [*words, *TRAINING, *([] if "sizes" in line else SMALL), *few]
    return words if "cost" not in line else [*words, "num_frames=17", "measured_tflops=0.1"]


@pytest.fixture
def place(tmp_path):
    """A folder that looks like the repository, in which commands leave what they make."""
    for name in ("weights", "storyboards", "conf", *(path.name for path in ROOT.glob("*.py"))):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(place, lines):
    (place / "typed.json").write_text(json.dumps([shortened(line) for line in lines]))
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LONGTAKE_WEIGHTS": str(place / "weights")}
    ended = forked.run(["-c", TYPED, place / "typed.json"], cwd=place, env={**os.environ, **own}, timeout=280)
    assert ended.returncode == 0, ended.stdout[-1500:] + ended.stderr[-3000:]
    return ended.stdout


def outputs(lines):
    return {found for line in lines if "dry_run" not in line for found in re.findall(r"output=(\S+)", line)}


def test_what_makes_videos(place):
    lines = commands("generate")
    run(place, lines)
    assert [each for each in outputs(lines) if not (place / each / "000.mp4").is_file()] == []
    assert len(lines) > 15


def test_what_judges_videos_and_says_what_they_cost(place):
    for folder in "abc":
        textured(place / "outputs" / folder / "000.mp4", np.linspace(50, 150, 9))
    lines = commands("evaluate")
    run(place, lines)
    assert [each for each in outputs(lines) if not any((place / each).iterdir())] == []
    assert len(lines) > 6


def test_trainings_on_videos_of_ones_own(place, videos):
    (place / "videos.csv").write_text("path,caption\n" + "".join(f"{videos}/{n}.mp4,square {n}\n" for n in range(6)))
    lines = [line for line in documented("train") if re.search(r"datamodule=(folder|table|sets)\b", line)]
    lines = [line for line in lines if "experiment=" not in line]
    run(place, [re.sub(r"\b(DIR|OTHER|films)\b", str(videos), line) for line in lines])
    assert len(list(place.glob("runs/vin/*/checkpoints/last.ckpt"))) == len(lines) > 4
