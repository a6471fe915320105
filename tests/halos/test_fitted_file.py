"""Fits of merger trees that are killed go on where they stopped and end equal; stale parts are never used."""

import shutil
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
from diffmah.diffmah_kernels import DiffmahParams
from killed import KilledError

from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.halos import fitted_file
from popinfer.halos.fitted_file import fit_trees
from popinfer.halos.table import DISTINCT, Branches, HaloHeader, HaloReader, HaloTable
from popinfer.halos.trees import HistoryFits
from popinfer.storage import only_process

STEPS = np.linspace(0.1, 0.93, 12)  # of scale factor
N, SIZE = 40, 8  # halos, and those of a part


class Trees(HaloReader):
    """Forty halos that grow; those of another seed in other ways."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        final = rng.uniform(11, 14, N)
        self.lg_mass = final[:, None] + np.sort(-rng.exponential(0.4, (N, len(STEPS))), axis=1)
        self.header_ = HaloHeader("trees.dat", "consistent_trees", PLANCK15, 70.0, (0.075,))

    @property
    def header(self) -> HaloHeader:
        return self.header_

    def chunks(self, size: int = SIZE):
        for rows in np.split(np.arange(N), N // SIZE):
            lg_mass = self.lg_mass[rows]
            given = {"z": np.full(len(rows), 0.075), "branches": Branches(STEPS, lg_mass)}
            given |= {name: np.zeros((len(rows), 3)) for name in ("position", "velocity")}
            yield HaloTable.of(rows, np.full(len(rows), DISTINCT), lg_mass.max(axis=1), **given)


class Fitter:
    """Stands in for diffmah's fits: quick, and dies before a call when it is told to."""

    def __init__(self) -> None:
        self.n_calls, self.dies_at = 0, -1

    def __call__(self, branches: Branches, _cosmology) -> HistoryFits:
        if self.n_calls == self.dies_at:
            raise KilledError
        self.n_calls += 1
        lg_mass = branches.lg_mass
        mah = DiffmahParams(*(np.quantile(lg_mass, q, axis=1) for q in (1.0, 0.2, 0.8, 0.4, 0.6)))
        return HistoryFits(mah, lg_mass.std(axis=1), np.full(len(lg_mass), len(STEPS)))


@pytest.fixture
def fitter(monkeypatch) -> Fitter:
    made = Fitter()
    monkeypatch.setattr(fitted_file, "fit_histories", made)
    return made


def content(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path) as store:
        store.visititems(
            lambda name, x: found.update({name: x[()].tobytes()}) if isinstance(x, h5py.Dataset) else None
        )
    return found


@pytest.fixture
def whole(fitter, tmp_path) -> dict[str, bytes]:
    """What fits that nobody kills end with."""
    made = fit_trees(Trees(), tmp_path / "whole.h5")
    assert (made.n_halos, made.n_fitted, made.n_resumed, fitter.n_calls) == (N, N, 0, N // SIZE)
    fitter.n_calls = 0
    return content(tmp_path / "whole.h5")


def killed(fitter: Fitter, out: Path, after: int, seed: int = 1) -> None:
    fitter.n_calls, fitter.dies_at = 0, after
    with pytest.raises(KilledError):
        fit_trees(Trees(seed), out)
    assert not out.exists()
    fitter.n_calls, fitter.dies_at = 0, -1


@pytest.mark.parametrize("after", range(N // SIZE))
def test_killed_fits_go_on_and_end_equal(fitter, whole, tmp_path, after):
    out = tmp_path / "fits.h5"
    killed(fitter, out, after)
    (parts,) = tmp_path.glob(".fits.h5.parts*")
    (parts / ".01234567-1-01234567.part").write_bytes(b"of a process that was killed while it wrote")
    made = fit_trees(Trees(), out)
    assert (made.n_resumed, fitter.n_calls) == (after, N // SIZE - after)
    assert content(out) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fits.h5", "whole.h5"]


@pytest.mark.parametrize("damage", [lambda x: x[:-9], lambda x: x[:99] + b"?" + x[100:], lambda x: b""])
def test_damaged_parts_are_fitted_again(fitter, whole, tmp_path, damage):
    out = tmp_path / "fits.h5"
    killed(fitter, out, 3)
    part = tmp_path / ".fits.h5.parts" / "000001.npz"
    part.write_bytes(damage(part.read_bytes()))
    assert fit_trees(Trees(), out).n_resumed == 2
    assert content(out) == whole


def test_parts_of_other_trees_or_of_another_place_are_fitted_again(fitter, whole, tmp_path):
    """The files have the same name, snapshots and cosmology."""
    out = tmp_path / "fits.h5"
    killed(fitter, out, 3, seed=2)
    assert fit_trees(Trees(), out).n_resumed == 0
    assert content(out) == whole
    killed(fitter, out := tmp_path / "again.h5", 3)
    parts = tmp_path / ".again.h5.parts"
    shutil.copy(parts / "000000.npz", parts / "000001.npz")
    assert fit_trees(Trees(), out).n_resumed == 2
    assert content(out) == whole


def test_parts_of_another_version_are_fitted_again(fitter, whole, tmp_path, monkeypatch):
    out = tmp_path / "fits.h5"
    killed(fitter, out, 3)
    monkeypatch.setattr(fitted_file.metadata, "version", lambda package: f"another {package}")
    assert fit_trees(Trees(), out).n_resumed == 0


def test_two_processes_and_one_output(fitter, tmp_path):
    parts = tmp_path / ".fits.h5.parts"
    parts.mkdir()
    with only_process(parts), pytest.raises(InputError, match="another popinfer process is at work there"):
        fit_trees(Trees(), tmp_path / "fits.h5")


def test_a_disk_without_room_is_one_line_and_fits_are_kept(fitter, whole, tmp_path, monkeypatch):
    out = tmp_path / "fits.h5"
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as full:
        full.setattr(fitted_file.shutil, "disk_usage", lambda _: usage(100, 0, 100))
        with pytest.raises(InputError, match=r"fits\.h5: needs 0\.0 GB, and its disk has 0\.0 GB free; fits"):
            fit_trees(Trees(), out)
    assert not out.exists()
    assert fit_trees(Trees(), out).n_resumed == N // SIZE  # nothing is fitted again
    assert content(out) == whole
