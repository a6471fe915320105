"""Does a process that fits and samples again and again grow? And how much do many draws take afterwards?

    python benchmarks/memory.py [--repeats 50] [--draws 100000] [--calibrate FILE --n 60 --out FOLDER]

Fit and sample of `benchmarks/tiny.yaml` are repeated in one process, each from the halos of one run. Memory
is what the system says this process holds; its growth counts from the fifth repeat on, when all programs are
compiled. Then draws of four chains are judged, tabulated and reported in a process of its own, whose largest
memory is told. With `--calibrate`, ``popinfer calibrate`` of a run file is watched as well: memory of each
of its worker processes, in windows of five minutes from the tenth minute on. Exit code 1 when growth
exceeds 5 % or the draws take 2 GB.
"""

import argparse
import contextlib
import dataclasses
import gc
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RUN_FILE = Path(__file__).resolve().with_name("tiny.yaml")
# draws with the layout of a run's, and what makes them
MADE_UP = [str(RUN_FILE.parents[1] / "tests" / folder) for folder in ("report", "support")]
WARM, MOST_GROWTH, MOST_BYTES = 5, 0.05, 2e9
WATCH_S, WINDOW_S = 5.0, 300.0


def resident_bytes(process: int | str = "self") -> float:
    """Memory that a process holds now, this one when none is named."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
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


def children_of(process: int) -> list[int]:
    """Processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            # after the command, which may hold blanks: state, parent
            if int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == process:
                found.append(int(stat.parent.name))
    return found


def calibrated(file: Path, n: int, seed: int, out: Path) -> dict[int, float]:
    """Growth of each worker of ``popinfer calibrate`` over its time, if that was 20 minutes or more."""
    words = [sys.executable, "-m", "popinfer", "calibrate", str(file), "--n", str(n), "--seed", str(seed)]
    words += ["--out", str(out)]
    seen: dict[int, list[tuple[float, float]]] = {}
    begin = time.monotonic()
    with subprocess.Popen(words) as process:
        while process.poll() is None:
            for child in children_of(process.pid):
                with contextlib.suppress(OSError):
                    seen.setdefault(child, []).append((time.monotonic() - begin, resident_bytes(child)))
            time.sleep(WATCH_S)
    grown = {}
    for child, samples in seen.items():
        windows: dict[int, list[float]] = {}
        for seconds, size in samples:
            windows.setdefault(int(seconds // WINDOW_S), []).append(size)
        medians = [float(np.median(sizes)) for window, sizes in sorted(windows.items()) if window >= 2]
        if len(medians) >= 2:
            grown[child] = medians[-1] / medians[0] - 1
            told = ", ".join(f"{size / 1e6:.0f}" for size in medians)
            print(f"worker {child}, medians of five minutes each [MB]: {told}")
    return grown


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when nothing grows and the draws take little."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--draws", type=int, default=100_000, help="Of each of four chains.")
    parser.add_argument("--calibrate", type=Path, metavar="FILE", help="Watch a calibration of a run file.")
    parser.add_argument("--n", type=int, default=60, help="Surveys of the calibration.")
    parser.add_argument("--seed", type=int, default=1, help="Of the calibration.")
    parser.add_argument("--out", type=Path, help="Where it goes; a temporary folder when absent.")
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
        if options.calibrate is not None:
            out = options.out or Path(work) / "calibrate"
            for child, more in calibrated(options.calibrate, options.n, options.seed, out).items():
                print(f"worker {child} of calibrate grew by {100 * more:.1f} %")
                grown = max(grown, more)
    return int(grown > MOST_GROWTH or largest >= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
