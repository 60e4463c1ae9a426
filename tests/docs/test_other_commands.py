"""Commands of the pages that are none of our programs', and the files that commands name: all of them are there."""

import importlib.util
import re
import tomllib

import pytest
from composing import BLOCK, ROOT, documented_pages

PAGES = [*documented_pages(), *sorted((ROOT / "docs" / "extending").glob("*.md"))]
CODE = re.compile(r"`([^`]+)`")


def typed():
    """Every line of a block without Python or YAML in it, and every text in backticks, with its page."""
    for page in PAGES:
        text = page.read_text()
        name = page.relative_to(ROOT).as_posix()
        for language, block in BLOCK.findall(text):
            if language in ("", "bash", "sh"):
                yield from ((name, line.partition(" #")[0].strip()) for line in block.splitlines())
        yield from ((name, " ".join(code.split())) for code in CODE.findall(BLOCK.sub("", text)))


def found(pattern):
    """What the group of a pattern matches in a command, with its page; each once."""
    return sorted({(page, each) for page, line in typed() for each in re.findall(pattern, line)})


def extras(words):
    return {each.strip() for each in words.split(",")}


def test_targets_of_make_are_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [(page, target) for page, words in found(r"(?:^|&& )make ([a-z][a-z ]*)$") for target in words.split()]
    assert [each for each in named if each[1] not in targets] == []
    assert len(named) > 4


def test_extras_of_pip_install_are_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"])
    named = found(r"pip install (?:-e )?[\"'](?:\.|longtake)\[([\w,-]+)\]")
    assert [each for each in named if not extras(each[1]) <= known] == []
    assert len(named) > 8


@pytest.mark.parametrize(
    ("pattern", "at_least"),
    [
        (r"(?:^|[\s=\[,'{:])((?:weights|storyboards|conf|notebooks|docs/tools)/[\w/.-]*\w)(?=[\s,'#}\]]|$)", 20),
        (r"\bpytest (?:-\S+ )*(tests/[\w/.]+)", 3),
        (r"\bpython ((?:benchmarks|docs/tools)/\w+\.py)", 20),
    ],
    ids=["files of the repository", "tests", "scripts"],
)
def test_files_that_commands_name_are_there(pattern, at_least):
    named = [each for each in found(pattern) if each[1] not in WRITTEN]
    assert [each for each in named if not (ROOT / each[1]).exists()] == []
    assert len(named) >= at_least


WRITTEN = ("weights/mine", "conf/local/default.yaml")
"""What a reader makes."""


def test_modules_that_are_started_are_there():
    named = found(r"\bpython -m (benchmarks\.\w+)")
    assert [each for each in named if importlib.util.find_spec(each[1]) is None] == []
    assert named
