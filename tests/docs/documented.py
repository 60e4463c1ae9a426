"""Documented commands as tests type them: which are run and which are not, and why; what shortens them; a shell."""

import json
import os
import re
import shlex
from typing import NamedTuple

import forked
from composing import ROOT, documented_commands
from shrunk import VALIDATING, of_cache, of_training

SEVERAL = r"devices=[2-9]|parallel\.|torchrun|trainer=(ddp|fsdp2|chunks)"
"""Words of commands that start several processes."""
SLURM = {r"srun|sbatch|hydra/launcher": "a cluster with SLURM: test_slurm_launcher.py has programs in place of SLURM's"}
BY_NAME = "a name, in prose"
COMPOSED = {
    "train": {
        **SLURM,
        r"sampler=mine": "a sketch, whose class does nothing: test_extending.py writes a sampler and uses it",
        r"train\.py …": "any training",
    },
    "generate": {},
    "evaluate": {
        r"^longtake vbench$": BY_NAME,
        r"vbench=": "videos of VBench's lengths: test_commands_run.py types these lines in a folder of their own",
        r"features\.name=": "models that are not here",
    },
    "export": {r"^longtake export$": BY_NAME},
    "cache": {
        **SLURM,
        r"engine=ray": "a Ray cluster: test_ray_engine.py has one where Ray is there",
    },
    "studio": {},
    "testbed_make": {r"longtake testbed( …)?$": BY_NAME},
    "testbed_answer": {},
    "testbed_score": {},
}
"""What is composed and not run (tests/longtake/cli/test_configs.py), by its words, and why; all else is run."""
ADDED = {
    "studio": ["browser=false"],
    "testbed_make": ["output=testbed", "mazes=2", "frames=17", "lengths=[8]", "num_workers=1"],
    "testbed_answer": [
        "testbed=testbed",
        "kinds=[retrieval]",
        "ratios=[4]",
        "ladders=[4]",
        "pyramids=[4]",
        "num_inference_steps=1",
    ],
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
    "testbed=FOLDER output=FOLDER": "testbed=testbed output=others",
    "videos=FOLDER output=FOLDER": "videos=DIR output=outputs/shared",
    "cache …": "cache",
    "answer …": "answer weights=runs/lovic_mazes/RUN output=predictions",
    "score …": "score",
    "adamw_8bit …": "adamw_8bit",
    "…": "RUN",
}
"""What a reader fills in."""
TWO = {
    "devices=4": "devices=2",
    "parallel.chunks=2 ": "",
    "chunks=4": "chunks=2",
    "--nnodes 2 --nproc-per-node 8": "--nnodes 2 --nproc-per-node 1",
    "--nproc-per-node 4": "--nproc-per-node 2",
    "--nproc-per-node=8": "--nproc-per-node=2",
}
"""Two processes in place of more."""
SUBJECTS = "experiment=|weights=|run=|cost=|debug="
"""Words that say on what a command works, beside those of the program."""
UNREAD = (
    r"(output|prompt|name|seed|num_frames|num_inference_steps)=|.*\.make\.|"
    r"(global_batch_size|clips_per_device|trainer\.(max_steps|val_check_interval))="
)
"""Names, texts, and what is another value in whatever is typed here."""
FORM = re.compile(r"[\[{#]|\.[a-z]\w+$")
"""What tells lists, mappings, parts of weights and sorts of files from other values."""
TYPED = r"""
import json, re, runpy, sys
from pathlib import Path
import torch
torch.compiler.set_stance("force_eager")

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
"""What a shell does with commands, in a process that has the libraries already; codes: of programs that may go on.

What is compiled runs as it is: test_training.py and test_running.py compile.
"""


def documented(program):
    """A program's commands in their order, each once, without comments."""
    found = [line.partition(" #")[0].strip() for line, each in documented_commands().items() if each.program == program]
    return list(dict.fromkeys(found))


def why_not(program, line):
    """Why a command is not run; None: it is."""
    return next((reason for words, reason in COMPOSED[program].items() if re.search(words, line)), None)


def commands(program):
    """Those of a program that one process types; last the one that begins from a run of which documents speak later.

    One is left out where another works on the same with the same options, and others on the same set its keys: values
    alone differ then, and all are composed.
    """
    found = [line for line in documented(program) if why_not(program, line) is None and not re.search(SEVERAL, line)]
    kinds = {line: _kind(line) for line in found}
    begun_from = _runs_begun_from(found)
    typed = [line for line in found if re.search(VALIDATING, line) or line in begun_from or _is_read(line, found)]
    for line in sorted(found, key=lambda line: -len(kinds[line].options | kinds[line].keys)):
        if line not in typed and not _is_typed(kinds[line], [kinds[each] for each in typed]):
            typed.append(line)
    return sorted(typed, key=lambda line: ("runs/frames_freedoom/" in line, found.index(line)))


class Kind(NamedTuple):
    """What a command is about: words that say on what it works, options of groups, and keys with forms of values."""

    subject: frozenset[str]
    options: frozenset[str]
    keys: frozenset[tuple[str, str]]


def _kind(line):
    line = line.replace("longtake cost", "python evaluate.py cost=true")
    words = {word for word in shlex.split(line) if not re.match(UNREAD, word)}
    subject = {word for word in words if "=" not in word or re.match(SUBJECTS, word)}
    options = {word for word in words - subject if (ROOT / "conf" / word.partition("=")[0]).is_dir()}
    keys = {(key, "".join(FORM.findall(value))) for key, _, value in map(_parted, words - subject - options)}
    return Kind(frozenset(subject), frozenset(options), frozenset(keys))


def _parted(word):
    return word.partition("=")


def _is_read(line, found):
    """Whether other commands read what one makes."""
    output = re.search(r"output=(\S+)", line)
    return output is not None and any(f"{output[1]}/" in other for other in found)


def _runs_begun_from(found):
    """Trainings whose runs others begin from: they take the newest of a name."""
    newest, read = {}, set()
    for line in found:
        read |= {newest[name] for name in re.findall(r"runs/(\w+)/", line) if name in newest}
        newest |= dict.fromkeys(re.findall(r"experiment=(\w+)", line), line)
    return read


def _is_typed(kind, typed):
    """Whether commands that are typed do all that one does."""
    same = [each for each in typed if each.subject == kind.subject]
    keys = {key for each in same for key in each.keys}
    return any(kind.options <= each.options for each in same) and kind.keys <= keys


def together(program):
    """Those of a program that several processes run, without those that others stand for."""
    found = [line for line in documented(program) if why_not(program, line) is None and re.search(SEVERAL, line)]
    kinds = {line: _kind(_by_two(re.sub(r"torchrun .*?(?=-m |\w+\.py)", "torchrun ", line))) for line in found}
    return [line for line in found if not _is_typed(kinds[line], [kinds[each] for each in found if each != line])]


def shortened(program, line):
    """The words of a command, at a size of seconds."""
    typed = line
    for left, filled in OPEN.items():
        line = line.replace(left, filled)
    line = _by_two(line)
    words = shlex.split(line)
    words = words[1:] if words[0] == "python" else words
    if program == "generate":
        count = 41 if "lovic" in line else 33 if "given=" in line else 57 if "parallel." in line else 17
        frames = [] if "storyboard=" in line else [f"num_frames={count}"]
        named = re.search("output=outputs|dry_run", line)
        folder = [] if named else [f"output=outputs/{documented(program).index(typed)}"]
        videos = 2 if "num_videos=16" in line else 1
        return [*words, "num_inference_steps=1", f"num_videos={videos}", *frames, *folder]
    if program == "train":
        return [*words, *of_training(line)]
    if program == "evaluate" and "cost" in line:
        return [*words, "num_frames=17", "measured_tflops=0.1", *(WAN if "backbone=wan" in line else [])]
    if program == "cache":
        return [*words, *of_cache(line)]
    return [*words, *ADDED.get(program, [])]


def _by_two(line):
    for more, two in TWO.items():
        line = line.replace(more, two)
    return line


def environment(place):
    """What commands are told of the folder in which they are typed."""
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, "LONGTAKE_WEIGHTS": str(place / "weights"), "LONGTAKE_DATA": str(place / "data")}


def begin(place, typed, *codes):
    """Types commands in a folder, one after the other: lists of words; codes: with which they may end beside 0."""
    (place / "typed.json").write_text(json.dumps(typed))
    words = ["-c", TYPED, place / "typed.json", *map(str, codes)]
    return forked.Started(words, cwd=place, env=environment(place))


def run(place, program, *lines):
    """What commands of a program say, all that are run if none is named."""
    process = begin(place, [shortened(program, line) for line in lines or commands(program)])
    try:
        said, wrong = process.communicate(280)
    finally:
        process.kill()
    assert process.returncode == 0, said[-1500:] + wrong[-3000:]
    return said
