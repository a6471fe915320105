"""Files that are whole or absent: full disks, folders that can't be written, locks, signals, kills."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from popinfer import journal, storage
from popinfer.errors import InputError
from popinfer.storage import (
    only_process,
    read_sealed,
    remove_leftovers,
    seal_identity,
    with_seal,
    write_bytes,
    write_page,
    write_sealed,
)

# a stage of 40 steps of 20 ms, each of which depends on those before it; it writes what it ends with
STAGE = """
import sys, time
from pathlib import Path
import numpy as np
from popinfer.journal import kept, kept_in
from popinfer.signals import leave_on_signals
from popinfer.storage import write_sealed

leave_on_signals()
folder, x = Path(sys.argv[1]), np.ones(50)
print("ready", flush=True)

def step(x):
    time.sleep(0.02)
    return {"x": np.sin(3 * x) + 1e-3 * np.arange(50)}

with kept_in(folder / "stage.journal", "mine") as journal:
    print(journal.n_stored, flush=True)
    for i in range(40):
        x = kept("step", {"i": np.array(i), "x": x}, lambda: step(x))["x"]
    write_sealed(folder / "result.npz", x.tobytes(), "arrays", "mine")
"""


def _heeding_interrupts() -> None:
    """Undo what shells do to programs in the background, which inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, code: str = STAGE) -> subprocess.Popen:
    """A process that works in a folder, which is ready when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heeding_interrupts,  # noqa: PLW1509 - nothing else runs in the child yet
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def steps_that_were_kept(folder: Path) -> int:
    """Run the stage to its end; how many steps it found."""
    process = start(folder)
    assert process.stdout is not None
    stored = int(process.stdout.read())
    assert process.wait(60) == 0
    return stored


def result(folder: Path) -> np.ndarray:
    return np.frombuffer(read_sealed(folder / "result.npz", "arrays", "stage", "mine").content)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder).wait(60) == 0
    assert [path.name for path in folder.iterdir()] == ["result.npz"]
    return result(folder)


@pytest.mark.parametrize("seed", range(10))
def test_a_stage_that_is_killed_at_random_moments_ends_equal(tmp_path, undisturbed, seed):
    chance = random.Random(seed)
    for _ in range(2):
        process = start(tmp_path)
        time.sleep(chance.uniform(0, 0.8))
        process.kill()
        process.communicate()
    assert 0 <= steps_that_were_kept(tmp_path) <= 40
    np.testing.assert_array_equal(result(tmp_path), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["result.npz"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_keep_every_step_and_leave_within_seconds(tmp_path, undisturbed, number, code):
    process = start(tmp_path)
    time.sleep(0.4)
    before = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == code and time.monotonic() - before < 5
    assert said.startswith("popinfer: ") and said.count("\n") == 1 and "the same command goes on" in said
    kept = int(said.split(" steps")[0].split()[-1])
    assert steps_that_were_kept(tmp_path) == kept > 0
    np.testing.assert_array_equal(result(tmp_path), undisturbed)


def test_a_signal_is_heard_while_the_main_thread_swallows_exceptions(tmp_path):
    code = (
        "import time\nfrom popinfer.signals import leave_on_signals\nleave_on_signals()\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n"
    )
    process = start(tmp_path, code)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5)[1] == "popinfer: interrupted\n"  # nothing was kept, nothing is said
    assert process.returncode == 130


def test_damaged_journals_never_change_what_is_computed(tmp_path):
    """Every byte in turn; records before the damage are used, those after it are computed again."""

    def run() -> tuple[list[np.ndarray], int]:
        calls, out, x = 0, [], np.arange(3.0)

        def compute() -> dict[str, np.ndarray]:
            nonlocal calls
            calls += 1
            return {"x": 2 * x + 1}

        with pytest.raises(ZeroDivisionError), journal.kept_in(tmp_path / "j", "mine"):
            for i in range(4):
                x = journal.kept("step", {"i": np.array(i), "x": x}, compute)["x"]
                out.append(x)
            raise ZeroDivisionError
        return out, calls

    expected, calls = run()
    whole = (tmp_path / "j").read_bytes()
    assert calls == 4 and run()[1] == 0
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 150):
        (tmp_path / "j").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        np.testing.assert_array_equal(run()[0], expected)
    for length in rng.integers(0, len(whole), 50):
        (tmp_path / "j").write_bytes(whole[:length])
        np.testing.assert_array_equal(run()[0], expected)


def test_a_journal_of_another_run_or_of_other_calls_is_dropped(tmp_path):
    def run(identity: str, value: float) -> float:
        with pytest.raises(ZeroDivisionError), journal.kept_in(tmp_path / "j", identity):
            made = journal.kept("f", {"x": np.array(value)}, lambda: {"y": np.array(value + 1)})
            raise ZeroDivisionError
        return float(made["y"])

    assert run("mine", 1.0) == 2.0
    assert run("mine", 5.0) == 6.0
    assert run("another", 7.0) == 8.0


def full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


WRITERS = {
    "sealed": lambda folder: write_sealed(folder / "a.json", b"{\n}\n", "fit"),
    "plain": lambda folder: write_bytes(folder / "a.csv", b"new"),
    "page": lambda folder: write_page(
        folder / "report.html",
        b"new",
        {"figures": {"a.png": b"new", "b.png": b"new"}},
        {"R.md": with_seal(b"new", ".md", "readme")},
    ),
}


@pytest.fixture
def older(tmp_path):
    """A folder with files of before."""
    (tmp_path / "figures").mkdir()
    for name in ("a.json", "a.csv", "report.html", "figures/a.png", "figures/c.png"):
        (tmp_path / name).write_bytes(b"old")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_everything_as_it_was(older, monkeypatch, write, call):
    before = contents(older)
    monkeypatch.setattr(storage.os, call, full)
    with pytest.raises(InputError, match="No space left on device"):
        write(older)
    assert contents(older) == before


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_file_that_may_not_grow_leaves_everything_as_it_was(older, write):
    """The system's own refusal in the middle of a write, in a process of its own."""
    before = contents(older)
    number = os.fork()
    if number == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))
        try:
            write(older)
            os._exit(1)
        except InputError:
            os._exit(0)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
    assert contents(older) == before


def test_a_journal_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(journal.os, "fsync", full)
    store = journal.Journal(tmp_path / "j", "mine")
    store.add(bytes(32), {"x": np.ones(3)})
    with pytest.raises(InputError, match="No space left on device"):
        store.flush()


def test_folders_that_are_not_there_or_files_in_their_place(tmp_path):
    with pytest.raises(InputError, match="can't be written"):
        write_bytes(tmp_path / "none" / "a", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="can't be written"):
        write_bytes(tmp_path / "file" / "a", b"")


def test_pages_and_figures_are_of_one_report(older):
    write_page(older / "report.html", b"new", {"figures": {"a.png": b"new", "b.png": b"new"}})
    assert contents(older / "figures") == {"a.png": b"new", "b.png": b"new"}
    (older / "report.html").unlink()
    (older / "figures" / "mine.txt").write_bytes(b"kept")
    write_page(older / "report.html", b"next", {"figures": {"a.png": b"next"}})
    assert contents(older / "figures") == {"a.png": b"next", "b.png": b"new", "mine.txt": b"kept"}
    assert not list(older.glob(".*"))
    write_page(older / "report.html", b"last", {"figures": {"d.png": b"last"}})
    assert contents(older / "figures") == {"d.png": b"last", "mine.txt": b"kept"}  # no picture of a report


def test_files_beside_a_page_are_replaced_and_removed_where_they_are_ours(older):
    def sealed(text: bytes) -> bytes:
        return with_seal(text, ".md", "readme", "first")

    (older / "mine.md").write_bytes(b"a file of the user's own")
    (older / "edited.md").write_bytes(sealed(b"old").replace(b"old", b"own"))
    for name in ("ours.md", "gone.md"):
        (older / name).write_bytes(sealed(b"old"))
    new = {name: sealed(b"new") for name in ("mine.md", "edited.md", "ours.md", "fresh.md")}
    write_page(older / "report.html", b"new", {}, {**new, "gone.md": None, "never.md": None})
    assert (older / "mine.md").read_bytes() == b"a file of the user's own"
    assert b"own" in (older / "edited.md").read_bytes()
    assert (older / "ours.md").read_bytes() == (older / "fresh.md").read_bytes() == sealed(b"new")
    assert not (older / "gone.md").exists() and not (older / "never.md").exists()


@pytest.mark.parametrize("suffix", [".md", ".sh", ".bib", ".pdf", ".json", ".html"])
def test_seals_of_all_kinds_of_text(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(with_seal(b"{\n  x\n}\n", suffix, "text", "whose"))
    assert seal_identity(path) == "whose" and read_sealed(path, "text", "report").content == b"{\n  x\n}\n"
    path.write_bytes(path.read_bytes().replace(b"x", b"y"))
    assert seal_identity(path) is None and seal_identity(tmp_path) is None


def test_two_processes_in_one_folder(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom popinfer.storage import only_process\n"
        "with only_process(Path(sys.argv[1])):\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    process = start(tmp_path, code)
    with pytest.raises(InputError, match="another popinfer process is at work there"), only_process(tmp_path):
        pass
    process.kill()
    process.communicate()
    with only_process(tmp_path):  # the system lets go of a dead process' lock
        pass
    assert not list(tmp_path.iterdir())


def test_temporary_files_of_dead_processes_go(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = tmp_path / f".{storage._host()}-{os.getppid()}-01234567.part"
    gone = tmp_path / f".{storage._host()}-{dead.pid}-01234567.part"
    other = tmp_path / ".01234567-1-01234567.part"
    for path in (alive, other, tmp_path / ".mine.part"):
        path.write_bytes(b"")
    gone.mkdir()
    remove_leftovers(tmp_path, locked=False)
    assert {p.name for p in tmp_path.iterdir()} == {alive.name, other.name, ".mine.part"}
    remove_leftovers(tmp_path, locked=True)
    assert {p.name for p in tmp_path.iterdir()} == {".mine.part"}
