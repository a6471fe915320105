"""Run notebooks from top to bottom and store their outputs in them.

    python notebooks/execute.py             # all of them
    python notebooks/execute.py 01_tour     # this one

Outputs are stored in git, because readers of the repository and of the documentation are to see the figures,
and a build of the documentation that ran all notebooks would take minutes. So that no figure is of other code
than what stands above it, or of other galaxies than those that the package holds, a notebook's metadata hold
a digest of its code and of the embedded data, and a test compares the two.
"""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from popinfer.data.embedded import EMBEDDED

# XLA may log of every cached program which features of the machine it was not compiled for
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FOLDER = Path(__file__).resolve().parent


def main(names: list[str]) -> None:
    """Run the notebooks of these names, or all, and say how long each took."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = executed(path)
        notebook.metadata.pop("code_sha256", None)  # of earlier versions
        notebook.metadata["input_sha256"] = input_digest(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)


def executed(path: Path) -> Any:
    """The notebook with the outputs that its code has here and now; an error of a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    # times of cells change from run to run, and would make every run a change
    client = NotebookClient(
        notebook, timeout=1800, record_timing=False, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    notebook.metadata.language_info = {"name": "python"}  # without the version of the machine's Python
    return notebook


def input_digest(notebook: Any) -> str:
    """SHA-256 of all code cells, and of the data that the package holds."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    data = [asset.sha256 for asset in EMBEDDED.values()]
    return hashlib.sha256("\0".join([*code, *data]).encode()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
