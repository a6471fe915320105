"""Kill popinfer at random moments, run the same command again, and compare with a run that nobody killed.

    python benchmarks/kill.py --n 50

``run``, ``calibrate`` and ``mock`` of `benchmarks/tiny.yaml` take turns. Each is started, ended by a signal
(SIGKILL, unless `--signal` says otherwise) at a random moment of the time that it takes, and started again
until it ends by itself; every second one is killed twice. Arrays have to be equal bit for bit, and nothing
but results may be left in the folder.
"""

import argparse
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

RUN_FILE = Path(__file__).resolve().with_name("tiny.yaml")
TIMES = {
    "wall_time_s",
    "sampling_s",
    "seal",
    "arrays",
    "posterior",
}  # what may differ: times, and hashes over them
# in text: the seal, and by which posterior (with the times in it) tables are
SEAL = re.compile(rb"popinfer \d+ [a-z]+ [!-~]+ sha256 [0-9a-f]{64}|posterior: [0-9a-f]{8,}")
SHOWN = (".html", ".md", ".png", ".pdf", ".yaml")  # what people read tells times, too


@dataclass(frozen=True)
class Command:
    """A command, and how it is called with a folder of its own."""

    name: str

    def call(self, file: Path, folder: Path) -> list[str]:
        """Words of the command line."""
        popinfer = [sys.executable, "-m", "popinfer", self.name, str(file), "--quiet", "--out"]
        if self.name == "mock":
            return [*popinfer, str(folder / "mock.parquet"), "--n-galaxies", "400"]
        more = ["--n", "20", "--processes", "2"] if self.name == "calibrate" else []
        return [*popinfer, str(folder), *more]


COMMANDS = tuple(map(Command, ("run", "calibrate", "mock")))


def content(path: Path) -> object:
    """What of a result file has to be equal."""
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix in (".h5", ".nc"):
        arrays: dict[str, bytes] = {}
        with h5py.File(path) as store:
            store.visititems(lambda name, item: arrays.update(stored(name, item)))
        return arrays
    if path.suffix == ".npz":
        with np.load(path) as store:
            return {name: store[name].tobytes() for name in store}
    return SEAL.sub(b"", path.read_bytes())


def stored(name: str, item: object) -> dict[str, bytes]:
    """An HDF5 dataset's bytes by its name."""
    return (
        {name: np.asarray(item[()]).tobytes()}
        if isinstance(item, h5py.Dataset) and item.dtype != object
        else {}
    )


def timeless(value: object) -> object:
    """JSON without what measures time."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def differences(folder: Path, reference: Path) -> list[str]:
    """Files that differ, are missing or are too many; pages show times, and are asked for only."""
    names = [{str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()} for f in (folder, reference)]
    found = sorted(names[0] ^ names[1])
    same = (name for name in names[0] & names[1] if not name.endswith(SHOWN))
    return found + sorted(name for name in same if content(folder / name) != content(reference / name))


def finish(call: list[str], environment: dict[str, str]) -> float:
    """Run a command to its end, which must be a good one; seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3, 4):  # the tiny run says what it thinks of its fit, too
        raise SystemExit(f"{' '.join(call)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - start


def end(call: list[str], environment: dict[str, str], seconds: float, number: int) -> bool:
    """Start a command and end it after some time; whether it was still running then."""
    with subprocess.Popen(
        call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.wait()
            return True


@dataclass(frozen=True)
class Trial:
    """What came of one killed command."""

    command: str
    moments: tuple[float, ...]
    killed: int
    different: tuple[str, ...]


def trials(n: int, number: int, seed: int, commands: Sequence[Command], work: Path) -> list[Trial]:
    """Kill n commands, each once or twice, and compare what they end with.

    Parameters
    ----------
    n : how many. number : of the signal. seed : of the moments.
    commands : which take turns. work : folder for everything.
    """
    file, chance = RUN_FILE, random.Random(seed)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    seconds, results = {}, []
    for command in commands:
        (work / command.name).mkdir()
        finish(
            command.call(file, work / command.name), environment
        )  # programs are compiled for all that follow
        again = work / f"{command.name}-again"
        again.mkdir()
        seconds[command.name] = finish(command.call(file, again), environment)
        different = differences(again, work / command.name)
        if different:
            raise SystemExit(f"{command.name}: two runs that nobody killed differ in {', '.join(different)}")
    for i, command in zip(range(n), itertools.cycle(commands)):
        folder = work / f"trial{i:03d}"
        folder.mkdir()
        call = command.call(file, folder)
        moments = tuple(chance.uniform(0, seconds[command.name]) for _ in range(1 + i // len(commands) % 2))
        killed = sum(end(call, environment, moment, number) for moment in moments)
        finish(call, environment)
        trial = Trial(command.name, moments, killed, tuple(differences(folder, work / command.name)))
        print(f"{i + 1:3d} of {n}: {told(trial)}", flush=True)
        results.append(trial)
    return results


def told(trial: Trial) -> str:
    """A trial in one line."""
    moments = ", ".join(f"{moment:.1f}" for moment in trial.moments)
    end = f"DIFFERS in {', '.join(trial.different)}" if trial.different else "equal"
    return f"{trial.command:9s} ended {trial.killed} times, at {moments} s: {end}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when all trials end equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", action="append", choices=[command.name for command in COMMANDS])
    options = parser.parse_args(arguments)
    commands = [c for c in COMMANDS if not options.command or c.name in options.command]
    with tempfile.TemporaryDirectory() as work:
        number = getattr(signal, f"SIG{options.signal}")
        results = trials(options.n, number, options.seed, commands, Path(work))
    good = sum(not trial.different for trial in results)
    print(
        f"{good} of {len(results)} resumed and equal; {sum(t.killed for t in results)} processes were ended"
    )
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
