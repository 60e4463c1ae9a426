"""The documentation site: every key of the configuration is explained, and drawings are those of today's plans."""

import importlib.util
import sys

import pytest
import yaml
from composing import ROOT

TOOLS = ROOT / "docs" / "tools"


def tool(name, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location(f"docs_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.pop(spec.name, None)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(monkeypatch):
    pytest.importorskip("griffe")
    return tool("site", monkeypatch)


@pytest.mark.slow
def test_every_key_of_the_configuration_has_a_meaning(site):
    assert site.without_meaning() == [], "say it in a comment beside the key, or in docs/tools/meanings.yaml"


@pytest.mark.slow
def test_the_reference_has_a_page_a_group_and_every_key_of_it(site, tmp_path):
    site.configuration(tmp_path / "reference")
    pages = {page.stem for page in (tmp_path / "reference").glob("*.md")}
    groups = {each.name for each in (ROOT / "conf").iterdir() if each.is_dir() and any(each.glob("*.yaml"))} - {"local"}
    assert pages == {f"group_{group}" for group in groups} | {each.stem for each in (ROOT / "conf").glob("*.yaml")} | {
        "keys"
    }
    text = (tmp_path / "reference" / "group_sampler.md").read_text()
    for path in (ROOT / "conf" / "sampler").glob("*.yaml"):
        assert all(
            f"| `{key}" in text for key in yaml.safe_load(path.read_text()) if not key.startswith(("_", "defaults"))
        )


def test_comments_of_one_line_of_several_and_above_a_key_are_read(site, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "# The head.\n"
        "a: 1                 # one\n"
        "                     # more\n"
        "b:                   # a mapping\n"
        "  # above\n"
        "  c: [1, 2]\n"
        'd: "x # y"            # after a text\n'
    )
    found = site.read(tmp_path / "a.yaml")
    assert found.head == ["The head."]
    meanings = {key.name: (key.default, key.meaning) for key in found.keys}
    assert meanings["a"] == ("1", "one more")
    assert meanings["b"] == ("", "a mapping")
    assert meanings["b.c"] == ("[1, 2]", "above")
    assert meanings["d"] == ('"x # y"', "after a text")


def test_drawings_are_those_of_todays_plans(tmp_path, monkeypatch):
    drawing = tool("diagrams", monkeypatch)
    monkeypatch.setattr(drawing, "OUT", tmp_path)
    for draw in (drawing.vin, drawing.lovic, drawing.canvases):
        draw()
    made = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert made == {path.name: path.read_text() for path in (ROOT / "docs/concepts").glob("*.svg")}


def test_the_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
