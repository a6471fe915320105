"""Store a small result of the present format, which later versions have to open.

    python tests/run/stored/make.py

To be called when `popinfer.storage.SCHEMA` has risen. It runs `benchmarks/tiny.yaml` and packs what
``popinfer report FOLDER`` reads into ``v<schema>.tar.xz`` beside this file. Results of earlier formats that
were released stay, and are opened as well.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

from popinfer.cli import main
from popinfer.storage import SCHEMA

HERE = Path(__file__).resolve().parent
RUN_FILE = HERE.parents[2] / "benchmarks" / "tiny.yaml"
FILES = ("provenance.json", "run.yaml", "posterior.nc", "summary.json")


def store(run_file: Path, packed: Path) -> None:
    """Run a file and pack its results."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--out", folder, "--quiet", "--allow-misfit"]
        if main(["run", str(run_file), *options]) != 0:
            raise SystemExit(f"{run_file}: the run doesn't end well; nothing is stored")
        with tarfile.open(packed, "w:xz") as archive:
            for name in FILES:
                archive.add(Path(folder) / name, name)


if __name__ == "__main__":
    store(RUN_FILE, HERE / f"v{SCHEMA}.tar.xz")
    sys.exit(0)
