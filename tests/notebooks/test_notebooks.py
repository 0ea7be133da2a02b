"""The notebooks run in a fresh kernel; what is committed is such a run, without what changes by machine or by day."""

import base64
import html
import json
import os
import re
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
FIGURES = {"quickstart": 3, "members_side_by_side": 2, "noise_scale_dynamics": 8, "reasoning_noise": 9}
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt|Users|var)/|\b20\d\d-\d\d-\d\d\b")
NOT_FINITE = re.compile(r"(?<![\w-])-?(?:nan|inf)(?![\w-])", re.IGNORECASE)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(notebook):
    shown = (output for output in outputs(notebook) if output.output_type in ("execute_result", "display_data"))
    return [base64.b64decode(output.data["image/png"]) for output in shown if "image/png" in output.data]


def printed(notebook):
    return "".join(output.text for output in outputs(notebook) if output.output_type == "stream")


def check_outputs(name, notebook):
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"], "a warning in a cell"
    assert len(pictures(notebook)) == FIGURES[name]
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 5000 for picture in pictures(notebook))
    assert re.search(r"\d", printed(notebook)) and not NOT_FINITE.search(printed(notebook))


def run(path, folder, scale):
    """Execute a notebook at a share of its budgets, in a kernel of this very Python."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    (folder / "kernels" / "python3").mkdir(parents=True)
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec | {"display_name": "Python 3"}))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    root = str(path.parents[1])
    environment = os.environ | {
        "JAXPSN_NOTEBOOK_SCALE": str(scale),
        # A tiny base is not kept among the user's; the list of fonts, which lies beside them, is not made anew.
        "XDG_CACHE_HOME": str(folder),
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        # Half of the time is spent compiling; what is compiled here runs for a second.
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0",
    }
    client = NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": root}})
    client.execute(env=environment)
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    check_outputs(path.stem, run(path, tmp_path, 0.1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_one_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    check_outputs(path.stem, notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run all, from a fresh kernel"
    assert path.stat().st_size < 1_500_000
    assert all(not cell.metadata for cell in notebook.cells), "times of execution are not kept"
    assert not MACHINE.search(printed(notebook) + "".join(cell.source for cell in notebook.cells))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_readable(path):
    cells = nbformat.read(path, as_version=4).cells
    assert all(cell.source.count("\n") < 27 for cell in cells if cell.cell_type == "code"), "cells of up to 27 lines"
    kinds = [cell.cell_type for cell in cells]
    # A cell of code says why it is there, or is the figure of the one that does.
    assert all("markdown" in kinds[max(at - 2, 0) : at] for at, kind in enumerate(kinds) if kind == "code")


def test_every_notebook_is_here():
    assert {path.stem for path in NOTEBOOKS} == set(FIGURES)


def test_members_are_seen_moving_with_a_slider():
    notebook = nbformat.read(next(path for path in NOTEBOOKS if path.stem == "members_side_by_side"), as_version=4)
    pages = [output.data["text/html"] for output in outputs(notebook) if "text/html" in output.get("data", {})]
    slider, white = (html.unescape(page) for page in pages)
    assert slider.count('"label":"member 1"') == 5 and '"levels":["sigma 0","sigma 0.05"' in slider
    assert white.count('"label":"noise 1"') == 1 and "iframe" in white
