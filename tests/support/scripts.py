"""Scripts of `benchmarks/` in processes of their own, where no type checker slows them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_script(name: str, *options: str) -> str:
    """Run a script, which has to end well; what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
