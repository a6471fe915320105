"""What checkpoints cost: a run file with and without journals, in turns, and the ratio of the times.

    python benchmarks/checkpoints.py [FILE] [--n 5]

FILE is `configs/sdss_quick.yaml` when absent. Every run is a process of its own that ends with its report;
the time is that of the command, without the start of Python and the imports. The first pair compiles programs
and isn't counted. Within a pair the order alternates, so that a machine that slows down favours neither.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FILE = Path(__file__).resolve().parents[1] / "configs" / "sdss_quick.yaml"
KINDS = ("with", "without")
ENDS_WELL = (0, 3, 4)  # what a run thinks of its fit doesn't matter here


def run_here(file: Path, out: Path, kind: str) -> float:
    """Run a file in this process; seconds that it took."""
    from popinfer.cli import main
    from popinfer.run import prepare, stages

    assert prepare  # imported before the clock starts
    if kind == "without":
        stages.kept_in = without_journal  # of which all costly calls of a stage ask
    start = time.perf_counter()
    code = main(["run", str(file), "--out", str(out), "--fresh", "--quiet"])
    seconds = time.perf_counter() - start
    if code not in ENDS_WELL:
        raise SystemExit(code)
    return seconds


@contextlib.contextmanager
def without_journal(_path: Path, _identity: str) -> Iterator[SimpleNamespace]:
    """A stage that keeps nothing until it is done."""
    yield SimpleNamespace(n_stored=0)


def run_apart(file: Path, kind: str) -> float:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, __file__, str(file), "--only", kind, "--out", out]
        done = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{kind} checkpoints: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def measure(file: Path, n: int) -> dict[str, list[float]]:
    """Seconds of n runs of each kind."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for pair in range(n + 1):
        for kind in KINDS if pair % 2 else KINDS[::-1]:
            took = run_apart(file, kind)
            if pair:
                seconds[kind].append(took)
            print(
                f"{'pair ' + str(pair) if pair else 'warm-up'}: {kind} checkpoints {took:.2f} s", flush=True
            )
    return seconds


def told(seconds: dict[str, list[float]]) -> str:
    """Ratios of medians, of the quickest runs, and of each pair."""
    ours, theirs = (np.array(seconds[kind]) for kind in KINDS)
    pairs = ", ".join(f"{x:.3f}" for x in ours / theirs)
    medians, quickest = np.median(ours) / np.median(theirs), ours.min() / theirs.min()
    return f"with / without checkpoints: medians {medians:.3f}, quickest {quickest:.3f}, pairs {pairs}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    parser.add_argument("--n", type=int, default=5, help="Pairs that count.")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        print(run_here(options.file, options.out, options.only))
    else:
        print(told(measure(options.file, options.n)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
