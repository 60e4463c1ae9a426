"""Documented commands as tests type them: which are run and which are not, and why; what shortens them; a shell."""

import json
import os
import re
import shlex

import forked
from composing import ROOT, documented_commands
from shrunk import of_training

PROCESSES = r"devices=[2-9]|parallel\.|torchrun|srun|sbatch|hydra/launcher|trainer=(ddp|fsdp2|chunks)"
BY_PROCESSES = "several processes or machines: test_parallel.py, test_processes.py and test_slurm_launcher.py run these"
BY_NAME = "a name, in prose"
COMPOSED = {
    "train": {
        PROCESSES: BY_PROCESSES,
        r"experiment=vin_(wan|ltx|cogvid|hunyuan)": "bases to download: tests/networks/pretrained has tiny ones",
        r"sampler=mine": "a sketch, whose class does nothing: test_extending.py writes a sampler and uses it",
        r"train\.py …": "any training",
    },
    "generate": {
        PROCESSES: BY_PROCESSES,
        r"compile=": "a minute of a compiler: test_running.py compiles blocks",
    },
    "evaluate": {
        r"^longtake vbench$": BY_NAME,
        PROCESSES: BY_PROCESSES,
        r"vbench=": "asks for videos as VBench names them: tests/longtake/reports/vbench",
        r"features\.name=": "models that are not here",
    },
    "export": {r"^longtake export$": BY_NAME},
    "cache": {
        PROCESSES: "several processes: test_cache_program.py shares a cache out",
        r"engine=ray": "a Ray cluster: test_ray_engine.py has one where Ray is there",
        r"experiment=vin_wan": "a base to download: tests/networks/pretrained has tiny ones",
    },
    "studio": {},
    "testbed_make": {r"longtake testbed( …)?$": BY_NAME},
    "testbed_answer": {},
    "testbed_score": {},
}
"""What is composed and not run (tests/longtake/cli/test_configs.py), by its words, and why; all else is run."""
CLIPS = ["datamodule=folder", "datamodule.root=DIR", "text=null_text", "datamodule.num_frames=[5]"]
ADDED = {
    "cache": [*CLIPS, "datamodule.hop_frames=5"],
    "studio": ["browser=false"],
    "testbed_make": ["output=testbed", "mazes=2", "frames=17", "lengths=[8]", "num_workers=1"],
    "testbed_answer": ["testbed=testbed", "kinds=[retrieval]", "ratios=[4]", "ladders=[4]", "num_inference_steps=1"],
    "testbed_score": ["testbed=testbed", "predictions=predictions", "output=scores", "kinds=[retrieval]"],
}
"""What makes a command one of seconds, and what one in prose leaves out."""
WAN = [
    *("backbone.pretrained=wan", "backbone.width=32", "backbone.num_heads=2", "backbone.lora_rank=4"),
    *("codec=wan", "text=umt5", "interface.width=32", "interface.num_heads=2", "height=64", "width=64"),
]
"""A tiny one, which the folder `wan` describes."""
OPEN = {
    " compressor=…": "",
    " compressor.…": "",
    "experiment=…": "experiment=vin_freedoom",
    "FOLDER output=FOLDER": "testbed output=others",
    "answer …": "answer weights=runs/lovic_mazes/RUN output=predictions",
    "score …": "score",
    "adamw_8bit …": "adamw_8bit",
    "…": "RUN",
}
"""What a reader fills in."""
TYPED = r"""
import json, re, runpy, sys
from pathlib import Path

def newest(found):
    return str(max(Path("runs", found[1]).iterdir()))

file, *codes = sys.argv[1:]
for typed in json.loads(Path(file).read_text()):
    program, *words = (re.sub(r"runs/(\w+)/RUN", newest, word) for word in typed)
    print(program, *words, flush=True)
    sys.argv[:] = [program, *words]
    try:
        if program == "longtake":
            runpy.run_module("longtake", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        if str(ended.code or 0) not in ("0", *codes):
            raise
"""
"""What a shell does with commands, in a process that has the libraries already; codes: of programs that may go on."""


def documented(program):
    """A program's commands in their order, each once, without comments."""
    found = [line.partition(" #")[0].strip() for line, each in documented_commands().items() if each.program == program]
    return list(dict.fromkeys(found))


def why_not(program, line):
    """Why a command is not run; None: it is."""
    return next((reason for words, reason in COMPOSED[program].items() if re.search(words, line)), None)


def commands(program):
    """Those of a program that are run; last the one that begins from a run of which the documents speak later."""
    found = [line for line in documented(program) if why_not(program, line) is None]
    return sorted(found, key=lambda line: "runs/frames_freedoom/" in line)


def shortened(program, line):
    """The words of a command, at a size of seconds."""
    typed = line
    for left, filled in OPEN.items():
        line = line.replace(left, filled)
    words = shlex.split(line)
    words = words[1:] if words[0] == "python" else words
    if program == "generate":
        count = 41 if "lovic" in line else 33 if "given=" in line else 17
        frames = [] if "storyboard=" in line else [f"num_frames={count}"]
        named = re.search("output=outputs|dry_run", line)
        folder = [] if named else [f"output=outputs/{documented(program).index(typed)}"]
        return [*words, "num_inference_steps=1", "num_videos=1", *frames, *folder]
    if program == "train":
        return [*words, *of_training(line)]
    if program == "evaluate" and "cost" in line:
        return [*words, "num_frames=17", "measured_tflops=0.1", *(WAN if "backbone=wan" in line else [])]
    return [*words, *ADDED.get(program, [])]


def begin(place, typed, *codes):
    """Types commands in a folder, one after the other: lists of words; codes: with which they may end beside 0."""
    (place / "typed.json").write_text(json.dumps(typed))
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    own |= {"LONGTAKE_WEIGHTS": str(place / "weights"), "LONGTAKE_DATA": str(place / "data")}
    words = ["-c", TYPED, place / "typed.json", *map(str, codes)]
    return forked.Started(words, cwd=place, env={**os.environ, **own})


def run(place, program, *lines):
    """What commands of a program say, all that are run if none is named."""
    process = begin(place, [shortened(program, line) for line in lines or commands(program)])
    try:
        said, wrong = process.communicate(280)
    finally:
        process.kill()
    assert process.returncode == 0, said[-1500:] + wrong[-3000:]
    return said
