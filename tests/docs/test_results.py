"""Figures of the documentation: each is read from a result's file, and pages are those of today's files."""

import importlib
import json
import re
import shutil

import pytest
from composing import ROOT

TOOLS = ROOT / "docs" / "tools"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    module = importlib.reload(importlib.import_module("results"))
    yield module
    module.results.cache_clear()


def test_pages_plots_and_the_readme_are_those_of_todays_results(results):
    assert results.stale() == [], "write them anew: make results"


def test_another_figure_makes_another_page(results, tmp_path, monkeypatch):
    shutil.copytree(results.DATA, tmp_path / "results")
    path = tmp_path / "results" / "claims.json"
    found = json.loads(path.read_text())
    vin = next(each for each in found["methods"] if each["method"] == "vin")
    vin["rows"]["subject_consistency"][0] = 0.1234
    path.write_text(json.dumps(found))
    monkeypatch.setattr(results, "DATA", tmp_path / "results")
    assert set(results.stale()) == {"README.md", "docs/results/claims.md"}
    assert "| VIN, the paper's early fusion | 0.123 |" in results.pages()[ROOT / "README.md"]


def test_a_result_that_is_not_there_is_named(results):
    with pytest.raises(LookupError, match=r"claims\.json compares no seam of hybrid with full"):
        results.difference("hybrid", "full", "seam")


def test_numbers_read_well(results):
    assert results.num(-0.0004, 3) == "0.000"
    assert results.num(-1.25, 1) == "−1.2"
    assert results.num(None) == "–"
    assert results.ci([0.1, -0.2, 0.3], 1, sign=True) == "+0.1 (−0.2 to +0.3)"
    assert results.num(1234.5, 0) == "1,234"
    assert results.percent(0.7496) == "75"


def test_lines_of_prose_are_filled_and_tables_stay(results):
    text = "a\nb\n\n| x |\n|---|\n| y |\n\n- one\n  two\n- three\n"
    assert results.wrapped(text) == "a b\n\n| x |\n|---|\n| y |\n\n- one two\n- three\n"


def test_every_table_of_a_page_begins_with_its_head():
    loose = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        lines = ["", *re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).splitlines(), ""]
        begins = [k for k in range(1, len(lines) - 1) if lines[k].startswith("|") > lines[k - 1].startswith("|")]
        loose += [f"{page.name}: {lines[k]}" for k in begins if not re.fullmatch(r"\|[ :|-]+\|", lines[k + 1])]
    assert loose == []
