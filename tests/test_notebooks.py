"""Every notebook runs from top to bottom, and is kept without outputs."""

import json
import os
import re

import forked
import nbformat
import pytest
from composing import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELLS = """
import json, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib import pyplot

pyplot.switch_backend("agg")  # figures stay, to be counted
shell = InteractiveShell.instance()
of_every_shell = {*shell.user_ns}
for name, sources in json.loads(Path(sys.argv[1]).read_text()).items():
    print(name, flush=True)
    for own in shell.user_ns.keys() - of_every_shell:
        del shell.user_ns[own]
    shown = 0
    for source in sources:
        with capture_output() as said:
            ended = shell.run_cell(source)
        ended.raise_error()
        shown += len(said.outputs) + len(pyplot.get_fignums())
        pyplot.close("all")
    assert shown, "no figure"
"""
"""What notebooks' kernels do with their cells, in one process that has the libraries already."""


def cells(path):
    """The code of a notebook, with two sampling steps instead of twelve."""
    found = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [re.sub(r"STEPS = (.*)12$", r"STEPS = \g<1>2", source, flags=re.MULTILINE) for source in found]


@pytest.mark.slow
def test_their_cells_run(tmp_path):
    (tmp_path / "cells.json").write_text(json.dumps({path.stem: cells(path) for path in NOTEBOOKS}))
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = forked.run(["-c", CELLS, tmp_path / "cells.json"], cwd=ROOT / "notebooks", env={**os.environ, **own})
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
    assert ended.stdout.split() == [path.stem for path in NOTEBOOKS]


@pytest.mark.slow
def test_a_kernel_begins_it():
    """The last one, up to its first figure: what a kernel adds to cells is the same for all."""
    path = NOTEBOOKS[-1]
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert any(output.output_type == "display_data" for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_holds_no_outputs(path):
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
