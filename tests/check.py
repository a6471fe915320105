"""The one check command: ``python -m tests.check [pytest arguments]``.

Runs ruff, numpydoc, pyright, import-linter, Sphinx and pytest, all of them whatever fails, and ends with one
line a step. Exit code 1 when any failed. Tests marked ``slow`` are left out, and their number is told;
``--all`` runs them too.

``python -m tests.check --interpreters [3.12 ...]`` runs the fast part in every Python that is there, with the
newest and with the lowest versions of the dependencies (`tests.interpreters`).
"""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sysconfig.get_path("scripts"))

STEPS = {
    "ruff check": [str(BIN / "ruff"), "check", "."],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "."],
    "docstrings": [str(BIN / "numpydoc"), "lint", *map(str, sorted((ROOT / "popinfer").rglob("*.py")))],
    "pyright": [str(BIN / "pyright"), "--pythonpath", sys.executable],
    "import layers": [str(BIN / "lint-imports")],
    # warnings are errors; everything is read anew, because tables are made from the code
    "docs": [sys.executable, "-m", "sphinx", "-W", "-E", "-q", "-b", "html", "docs", "docs/_build"],
    # in the order of conftest.py, which begins with what takes longest
    "pytest": [sys.executable, "-m", "pytest", "-n2", "--dist=loadgroup", "--no-loadscope-reorder"],
}


def main(arguments: list[str]) -> int:
    """Run every step; 0 when all passed."""
    if arguments[:1] == ["--interpreters"]:
        from tests import interpreters

        return interpreters.main(arguments[1:])
    outcome = {}
    for name, command in STEPS.items():
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        code = subprocess.call(command + (arguments if name == "pytest" else []), cwd=ROOT)
        outcome[name] = (code, time.perf_counter() - start)
    print()
    for name, (code, seconds) in outcome.items():
        print(f"{'passed' if code == 0 else 'FAILED'}  {name}  ({seconds:.0f} s)")
    return int(any(code for code, _ in outcome.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
