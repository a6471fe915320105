"""Notebooks run from top to bottom, and hold the outputs of the code that stands in them."""

from pathlib import Path

import nbformat
import pytest
from scripts import as_module

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = ("02_sps.ipynb",)  # others fit a model, which takes a minute or more where nothing is compiled yet

all_notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


EXECUTE = as_module(FOLDER / "execute.py")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook):
    """What sorts of outputs each cell has."""
    return [
        [(output.output_type, output.get("name"), sorted(output.get("data", {}))) for output in cell.outputs]
        for cell in code_cells(notebook)
    ]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=() if path.name in SECONDS else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs_and_its_outputs_are_of_the_same_kinds(path):
    assert kinds(EXECUTE.executed(path)) == kinds(read(path))


@all_notebooks
def test_outputs_are_of_the_code_and_data_that_are_there(path):
    notebook = read(path)
    again = f"python notebooks/execute.py {path.stem}"
    assert notebook.metadata.get("input_sha256") == EXECUTE.input_digest(notebook), again
    assert all(cell.execution_count for cell in code_cells(notebook)), again


@all_notebooks
def test_nothing_warns_fails_or_names_this_machine(path):
    notebook = read(path)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            words = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert "/tmp" not in words and str(FOLDER.parent) not in words
    assert notebook.metadata.language_info == {"name": "python"}


@all_notebooks
def test_every_figure_has_a_caption_and_every_caption_a_figure(path):
    for cell in code_cells(read(path)):
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(pictures) == cell.source.startswith("# Figure: ")
        assert cell.source.count("# Figure: ") == len(pictures)


def test_a_changed_cell_or_catalog_would_be_seen(monkeypatch):
    notebook = read(NOTEBOOKS[0])
    before = EXECUTE.input_digest(notebook)
    code_cells(notebook)[-1].source += "\n1 / 0"
    assert EXECUTE.input_digest(notebook) != before
    before = EXECUTE.input_digest(notebook)
    sample = EXECUTE.EMBEDDED["sdss_mgs"]._replace(sha256="0")
    monkeypatch.setitem(EXECUTE.EMBEDDED, "sdss_mgs", sample)
    assert EXECUTE.input_digest(notebook) != before
