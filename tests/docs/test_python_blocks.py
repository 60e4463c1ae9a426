"""Python in README, docs and cards: each block runs, at a size of seconds, or is checked as far as one process can."""

import ast
import importlib
import inspect
import os
import re

import forked
import numpy as np
import pytest
from composing import BLOCK, ROOT, documented_pages
from video_files import textured

ELSEWHERE = {"docs/testbed.md": "tests/longtake/testbed/test_testbed_scores.py runs it"}
UNRUN = {
    "init_process_group": "torchrun starts it, in two processes; tests/longtake/test_parallel.py does the same",
    "class Mine": "a sketch: docs/extending/sampler.md has it whole, and it is run",
}
"""Blocks that hold these words are checked and not run, for the reason beside it."""


def blocks():
    found = []
    for page in documented_pages():
        name = page.relative_to(ROOT).as_posix()
        if name not in ELSEWHERE:
            texts = [text for language, text in BLOCK.findall(page.read_text()) if language == "python"]
            found += [pytest.param(text, id=f"{name} {number}") for number, text in enumerate(texts)]
    return found


def why_not(text):
    return next((reason for words, reason in UNRUN.items() if words in text), None)


def shortened(text):
    """The same with videos of nine frames."""
    return re.sub(r"num_frames=\d+", "num_frames=9", text)


@pytest.mark.slow
@pytest.mark.parametrize("text", [each for each in blocks() if why_not(each.values[0]) is None])
def test_it_runs_as_it_stands_on_the_page(text, tmp_path):
    for folder in ("a", "b"):
        textured(tmp_path / "outputs" / folder / "0.mp4", np.linspace(50, 150, 9))
    code = shortened(text if "import longtake" in text else f"import longtake\n{text}")
    own = {"PYTHONPATH": str(ROOT), "LONGTAKE_WEIGHTS": str(ROOT / "weights"), "OMP_NUM_THREADS": "1"}
    ended = forked.run(["-c", code], cwd=tmp_path, env={**os.environ, **own})
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("text", blocks())
def test_its_imports_are_there_and_take_the_arguments(text):
    tree = ast.parse(text)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(importlib.import_module(node.module), alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = importlib.import_module(alias.name)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = called_by(call.func, names)
        if called is not None:
            words = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(called).bind_partial(*call.args, **words)


def called_by(node, names):
    """What a call calls, where it begins with an imported name and is ours."""
    path = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    found = names[node.id]
    for name in path:
        found = getattr(found, name)
    module = getattr(found, "__module__", "") or ""
    return found if module.split(".")[0] in ("longtake", "networks", "datamodules", "lightning_modules") else None


def test_readme_and_docs_have_python():
    pages = {each.id.split()[0] for each in blocks()}
    assert {"README.md", "docs/several_devices.md", "docs/reference/api/longtake.md"} <= pages
    assert all((ROOT / page).is_file() for page in ELSEWHERE)
