"""Does a process that fits and samples again and again grow? And how much do many draws take afterwards?

    python benchmarks/memory.py [--repeats 50] [--draws 100000]

Fit and sample of `benchmarks/tiny.yaml` are repeated in one process, each from the halos of one run. Memory
is what the system says this process holds; its growth counts from the fifth repeat on, when all programs are
compiled. Then draws of four chains are judged, tabulated and reported in a process of its own, whose largest
memory is told. Exit code 1 when growth exceeds 5 % or the draws take 2 GB.
"""

import argparse
import dataclasses
import gc
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RUN_FILE = Path(__file__).resolve().with_name("tiny.yaml")
# draws with the layout of a run's, and what makes them
MADE_UP = [str(RUN_FILE.parents[1] / "tests" / folder) for folder in ("report", "support")]
WARM, MOST_GROWTH, MOST_BYTES = 5, 0.05, 2e9


def resident_bytes() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return float(pages * resource.getpagesize())


def repeat(n: int, work: Path) -> list[float]:
    """Memory after each of n fits with their samples [bytes]."""
    from popinfer import precision
    from popinfer.environment import cache_folder
    from popinfer.run import stages
    from popinfer.run.folder import RunFolder
    from popinfer.run.prepare import prepare

    precision.start(cache_dir=cache_folder())
    run = prepare(RUN_FILE, work / "halos")
    stages.halos(run, region=stages.search(run))
    memory = []
    for i in range(n):
        again = dataclasses.replace(run, folder=RunFolder(work / f"repeat{i}"))
        shutil.copytree(run.folder.path, again.folder.path)
        stages.fit(again)
        stages.sample(again)
        shutil.rmtree(again.folder.path)
        gc.collect()
        memory.append(resident_bytes())
        print(f"repeat {i + 1:3d} of {n}: {memory[-1] / 1e6:.0f} MB", flush=True)
    return memory


def growth(memory: Sequence[float]) -> float:
    """Of the last repeats over those after the fifth, as a fraction; each the median of up to three."""
    after = np.asarray(memory[WARM - 1 :])
    n = min(3, max(len(after) // 2, 1))
    return float(np.median(after[-n:]) / np.median(after[:n]) - 1)


def report_here(n_draws: int, out: Path) -> float:
    """Judge and report four chains of so many draws; this process' largest memory [bytes]."""
    sys.path[:0] = MADE_UP
    import synthetic

    from popinfer.infer.draw_tables import draws_table
    from popinfer.report import outcome_of, write_report

    idata = synthetic.run(drawn=synthetic.chains(synthetic.draws(n=n_draws)))
    draws_table(idata)
    outcome_of(idata, synthetic.summary())
    write_report(idata, synthetic.summary(), out)
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reported(n_draws: int) -> float:
    """`report_here` in a process of its own."""
    words = [sys.executable, __file__, "--draws", str(n_draws), "--only-draws"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return float(done.stdout.split()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when nothing grows and the draws take little."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--draws", type=int, default=100_000, help="Of each of four chains.")
    parser.add_argument("--only-draws", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        if options.only_draws:
            print(report_here(options.draws, Path(work)))
            return 0
        grown, largest = 0.0, 0.0
        if options.repeats:
            grown = growth(repeat(options.repeats, Path(work)))
            print(f"growth after repeat {WARM}: {100 * grown:.1f} % (at most {100 * MOST_GROWTH:.0f} %)")
        if options.draws:
            largest = reported(options.draws)
            print(f"4 x {options.draws:,} draws: {largest / 1e9:.2f} GB (less than {MOST_BYTES / 1e9:g} GB)")
    return int(grown > MOST_GROWTH or largest >= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
