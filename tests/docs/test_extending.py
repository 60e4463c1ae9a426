"""What a part of one's own costs: every page of docs/extending is carried out, in a copy of the repository.

The files that a page names are all that it takes: nothing else of the copy is touched. Its Python blocks run there, and
its commands are typed, shortened to seconds.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from builders import tiny_codec
from composing import ROOT

PAGES = sorted((ROOT / "docs" / "extending").glob("*.md"))
COSTS = {"README": 0, "condition": 3}  # files; all others 2
BLOCK = re.compile(r"^```(python|yaml|)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEAD = re.compile(r"# (\S+/\S+\.(?:py|yaml))\n")
VIDEO = ("datamodule.height=32", "datamodule.width=32", "datamodule.num_frames=[5,9]", "datamodule.hop_frames=4")
SHORT = {
    "train.py": (
        *("text=null_text", *VIDEO, "datamodule.num_validation_clips=2", "datamodule.validation_share=0.3"),
        *("global_batch_size=2", "clips_per_device=2", "trainer.max_steps=2", "scheduler.total_steps=3"),
        *(
            "lightning_module.validation_times=[0.5]",
            "callbacks.samples.num_frames=9",
            "callbacks.samples.num_videos=1",
        ),
        *("sampler.num_inference_steps=1", "logger=csv", "~callbacks.progress"),
    ),
    "generate.py": ("num_inference_steps=2", "prompt=a"),
    "evaluate.py": (),
}


def blocks(page):
    """The files that a page names, by place; its Python; and its commands, each in order."""
    files, python, commands = {}, [], []
    for language, text in BLOCK.findall(page.read_text()):
        head = HEAD.match(text)
        if head is not None:
            files[head[1]] = text
        elif language == "python":
            python.append(text)
        elif not language:
            commands += [line for line in text.splitlines() if line.startswith("python ")]
    return files, python, commands


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository's code and configuration."""
    for name in ("longtake", "networks", "datamodules", "lightning_modules", "conf"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__", "local"))
    for program in ROOT.glob("*.py"):
        shutil.copy(program, tmp_path / "copy")
    (tmp_path / "copy" / "weights").symlink_to(ROOT / "weights")
    return tmp_path / "copy"


def run(checkout, *words):
    """Ends well, or shows what it said."""
    own = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "LONGTAKE_WEIGHTS": str(ROOT / "weights")}
    ended = forked.run(words, cwd=checkout, env={**os.environ, **own}, timeout=280)
    assert ended.returncode == 0, f"{' '.join(words)}\n{ended.stdout[-1000:]}\n{ended.stderr[-3000:]}"


def shortened(command, videos):
    """What is typed instead of a command of the docs: the same, at a size of seconds."""
    _, program, *changes = shlex.split(command)
    own = list(SHORT[program])
    if program == "train.py":
        given = {change.split("=")[0] for change in changes}
        data = [] if "datamodule" in given else ["datamodule=folder", f"datamodule.root={videos}"]
        codec = [] if "codec" in given else [f"codec.folder={tiny_codec()}", "codec.channels=4"]
        vin = [] if "network=dit" in changes else ["interface.num_tokens=4", "interface.depth=1"]
        dit = [] if "backbone" in given else ["backbone.width=32", "backbone.depth=1", "backbone.num_heads=2"]
        squares = (
            ["datamodule.make.num_videos=6", "datamodule.make.num_frames=17"] if "datamodule=squares" in changes else []
        )
        own += [*data, *codec, *vin, *dit, *squares, "datamodule.cache_dir=cache"]
    if program == "generate.py" and not any(change.startswith("num_frames") for change in changes):
        own.append("num_frames=9")
    if program == "evaluate.py":
        own.append(f"videos={videos}")
        changes = [change for change in changes if not change.startswith("videos=")]
    return [program, *changes, *own]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_part_of_ones_own_costs_the_files_that_its_page_names(page, checkout, videos):
    files, python, commands = blocks(page)
    assert len(files) <= COSTS.get(page.stem, 2)
    assert python
    for place, text in files.items():
        assert not (checkout / place).exists(), f"{place} is there already: an example may not replace it"
        (checkout / place).write_text(text)
    for code in python:
        run(checkout, "-c", code)
    for command in commands:
        run(checkout, *shortened(command, videos))
    made = {output for command in commands for output in re.findall(r"(?:output|paths\.run_dir)=(\S+)", command)}
    assert all(any(Path(checkout, each).iterdir()) for each in made)


def test_every_part_has_a_page():
    linked = set(re.findall(r"\]\((\w+)\.md\)", (ROOT / "docs" / "extending" / "README.md").read_text()))
    assert linked == {page.stem for page in PAGES} - {"README"}


@pytest.mark.slow
def test_examples_are_as_tidy_as_the_code():
    for page in PAGES:
        for place, text in blocks(page)[0].items():
            if place.endswith(".py"):
                command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", place, "-"]
                ended = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
                assert ended.returncode == 0, f"{page.name}: {ended.stdout}"
