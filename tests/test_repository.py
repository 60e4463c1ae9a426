"""What is in the repository: no token or key, and a lock of everything that pyproject.toml asks for."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from longtake.releases.disclosure import refuse_secrets

ROOT = Path(__file__).parents[1]
MADE_UP = {"tests/longtake/releases/test_disclosure.py"}  # whose keys are examples


def test_no_file_holds_a_token_or_a_key():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and name not in MADE_UP]
    texts = {".py", ".md", ".yaml", ".json", ".toml", ".ipynb", ".lock", ".txt", "", ".cff"}
    looked = 0
    for path in files:
        if path.is_file() and path.suffix in texts:
            looked += 1
            refuse_secrets(path.read_text(encoding="utf-8", errors="replace"), path.name)
    assert looked > 300


def test_the_lock_holds_every_library_that_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    names = {re.split(r"[<>=!\[; ]", each)[0].lower().replace("_", "-") for each in asked}
    assert names <= locked
