"""Real disks that are full: a small one of its own, where this process may mount one."""

import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from popinfer.cli import main
from popinfer.errors import InputError
from popinfer.journal import Journal, kept, kept_in
from popinfer.storage import read_sealed, replacing, write_bytes, write_page, write_sealed

SIZE = 512 << 10  # bytes
LARGE = np.random.default_rng(0).bytes(2 * SIZE)
STORED = sorted((Path(__file__).parent / "run" / "stored").glob("v*.tar.xz"))[-1]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_in_pieces(folder: Path) -> None:
    with replacing(folder / "a.h5") as temporary:
        temporary.write_bytes(LARGE)


WRITERS = {
    "sealed": lambda folder: write_sealed(folder / "a.npz", LARGE, "arrays"),
    "plain": lambda folder: write_bytes(folder / "a.csv", LARGE),
    "in pieces": write_in_pieces,
    "page": lambda folder: write_page(
        folder / "report.html", b"new", {"figures": {"a.png": b"new", "b.png": LARGE}}
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_what_has_no_room_leaves_everything_as_it_was(small_disk, write):
    (small_disk / "figures").mkdir()
    for name in ("a.npz", "a.csv", "a.h5", "report.html", "figures/a.png"):
        (small_disk / name).write_bytes(b"old")
    before = contents(small_disk)
    with pytest.raises(InputError, match="No space left on device") as caught:
        write(small_disk)
    assert "\n" not in str(caught.value)
    assert contents(small_disk) == before
    assert not list(small_disk.glob(".*"))


def steps(folder: Path, sizes: list[int], made: list[int]) -> np.ndarray:
    """A stage whose steps give arrays of some sizes; `made` hears of those that are computed."""
    x = np.ones(1)
    with kept_in(folder / "stage.journal", "mine"):
        for i, size in enumerate(sizes):

            def compute(i=i, size=size, x=x) -> dict[str, np.ndarray]:
                made.append(i)
                return {"x": np.sin(np.arange(size) + x[0])}

            x = kept("step", {"i": np.array(i), "x": x[:1]}, compute)["x"]
        write_sealed(folder / "result.npz", x.tobytes(), "arrays", "mine")
    return x


def test_a_stage_on_a_full_disk_goes_on_when_there_is_room(small_disk, tmp_path, monkeypatch):
    """Every step is put on the disk at once; the third has no room beside the filler."""
    monkeypatch.setattr(Journal, "add", flushed(Journal.add))
    sizes = [10_000, 10_000, 10_000, 100]
    (tmp_path / "whole").mkdir()
    whole = steps(tmp_path / "whole", sizes, [])
    (small_disk / "filler").write_bytes(bytes(SIZE - 200_000))
    made: list[int] = []
    with pytest.raises(InputError, match=r"stage\.journal: can't be written \(No space left on device\)"):
        steps(small_disk, sizes, made)
    assert made == [0, 1, 2] and not (small_disk / "result.npz").exists()
    (small_disk / "filler").unlink()
    made.clear()
    np.testing.assert_array_equal(steps(small_disk, sizes, made), whole)
    assert made == [2, 3]  # what had room is used, what had none is computed again
    read_sealed(small_disk / "result.npz", "arrays", "stage", "mine")


def flushed(add):
    def add_and_flush(journal: Journal, key: bytes, arrays) -> None:
        add(journal, key, arrays)
        journal.flush()

    return add_and_flush


@pytest.mark.slow
def test_a_report_on_a_full_disk_is_one_line(small_disk, capsys):
    with tarfile.open(STORED) as archive:
        archive.extractall(small_disk, filter="data")
    (small_disk / "report.html").write_bytes(b"old")
    before = contents(small_disk)
    assert main(["report", str(small_disk), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "report.html: can't be written (No space left on device)" in said
    assert contents(small_disk) == before
