"""Small files that stand for more than a machine holds are refused, with both sizes, by every reader."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from popinfer import expansion
from popinfer.cli import main
from popinfer.data import load_ssp
from popinfer.data.filter_files import FilterFile, read_curve
from popinfer.errors import InputError
from popinfer.expansion import check_content, check_file
from popinfer.halos.formats import open_halos
from popinfer.storage import read_sealed, write_sealed

HUGE = 10**15  # numbers that were never written
ZEROS = bytes(8 << 20)
SAYS = r"expands from [\d,]+ bytes to [\d,.]+ GB or more; 100 times its size, or [\d.]+ GB, are possible"


def hdf5(path: Path, *names: str) -> Path:
    """Datasets of which nothing was written."""
    with h5py.File(path, "w") as store:
        for name in names:
            store.create_dataset(name, (HUGE,), "f8", chunks=(1 << 16,), compression="gzip")
    return path


def parquet(path: Path) -> Path:
    """Two million rows of one value, of which a dictionary and run lengths leave nothing."""
    ids, ones = (pa.array(x) for x in (np.zeros(2_000_000, int), np.ones(2_000_000)))
    pq.write_table(pa.table({"id": ids, "mass": ones}), path)
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", ZEROS)
    return path


def packed(pack):
    def write(path: Path) -> Path:
        path.write_bytes(pack(ZEROS))
        return path

    return write


BOMBS = {
    "HDF5": lambda path: hdf5(path, "a", "group/b"),
    "Parquet": parquet,
    "zip": zipped,
    "gzip": packed(gzip.compress),
    "bzip2": packed(bz2.compress),
    "xz": packed(lzma.compress),
}


@pytest.fixture
def small_limit(monkeypatch):
    """Files of a few megabytes are bombs."""
    monkeypatch.setattr(expansion, "FREE_BYTES", 1 << 20)


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_of_every_kind_are_refused_with_both_sizes(small_limit, tmp_path, bomb):
    path = bomb(tmp_path / "a.file")
    with pytest.raises(InputError, match=SAYS) as caught:
        check_file(path)
    assert f"from {path.stat().st_size:,} bytes" in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("bomb", [x for name, x in BOMBS.items() if name != "HDF5"])
def test_the_same_files_are_fine_below_the_limit(tmp_path, bomb):
    check_file(bomb(tmp_path / "a.file"))


def test_a_cut_bomb_is_one_as_far_as_it_goes(small_limit, tmp_path):
    path = BOMBS["gzip"](tmp_path / "a.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=SAYS):
        check_file(path)
    path.write_bytes(whole[:100])  # damaged before it is large: its reader's to say
    check_file(path)


@pytest.mark.parametrize("head", [b"\x89HDF\r\n\x1a\n", b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"", b"text"])
def test_damaged_files_are_left_to_their_readers(head):
    check_content(io.BytesIO(head + b"nothing"), Path("a"))


def test_datasets_made_of_other_files_count_with_these(small_limit, tmp_path):
    with h5py.File(tmp_path / "part.h5", "w") as part:
        part["x"] = np.random.default_rng(0).normal(size=1 << 18)
    layout = h5py.VirtualLayout((1 << 18,), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "part.h5", "x", (1 << 18,))
    with h5py.File(tmp_path / "whole.h5", "w") as whole:
        whole.create_virtual_dataset("x", layout)
    check_file(tmp_path / "whole.h5")
    (tmp_path / "part.h5").unlink()
    with pytest.raises(InputError, match=SAYS):
        check_file(tmp_path / "whole.h5")


def test_every_reader_refuses_them(tmp_path):
    halos = hdf5(tmp_path / "halos.h5", "id", "mass")
    with pytest.raises(InputError, match=SAYS):
        open_halos([str(halos)])
    with pytest.raises(InputError, match=SAYS):
        load_ssp(hdf5(tmp_path / "ssp.h5", "ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux"))
    with pytest.raises(InputError, match=SAYS):
        read_curve(curve := hdf5(tmp_path / "filter.h5", "wave", "transmission"), FilterFile(curve))
    content = hdf5(tmp_path / "draws.h5", "posterior/a").read_bytes()
    write_sealed(tmp_path / "posterior.nc", content, "posterior", "mine")
    with pytest.raises(InputError, match=SAYS):
        read_sealed(tmp_path / "posterior.nc", "posterior", "sample", "mine")


def test_it_is_one_line_and_exit_code_2(tmp_path, capsys):
    path = hdf5(tmp_path / "ssp.h5", "ssp_flux")
    assert main(["ssp", "info", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"popinfer: {path}: expands from ")
