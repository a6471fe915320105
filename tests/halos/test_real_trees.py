"""Readers on real tree files, against main branches and infall that were derived from them independently."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from popinfer.halos.formats import kind_of, open_halos
from popinfer.halos.table import Asked

FOLDER = Path(__file__).parents[3] / "shared/data/halos"
FOREST = FOLDER / "splitForests-milliMillennium-tree1000020000000.hdf5"
BRANCHES = FOLDER / "millimillennium_main_branches.h5"
BOLSHOI = FOLDER / "bolshoiTestTrees.dat"

pytestmark = pytest.mark.skipif(not FOREST.is_file(), reason="the sample trees aren't there")


@pytest.fixture(scope="module")
def forest():
    """Halos of the forest at its last snapshot, in the order of their names."""
    (table,) = open_halos([str(FOREST)]).chunks()
    return table.take(np.argsort(table.halo_id))


@pytest.fixture(scope="module")
def derived(forest):
    """What was derived from the file before, of the same halos."""
    with h5py.File(BRANCHES) as file:
        halo_id = file["halo_id"][:]
        order = np.argsort(halo_id)
        rows = order[np.isin(halo_id[order], forest.halo_id)]
        steps = file["scale_factor"][:]
        columns = {name: file[name][:][rows] for name in file if len(file[name]) == len(halo_id)}
    return steps, columns


def test_halos_and_hosts(forest, derived):
    _, is_known = derived
    np.testing.assert_array_equal(forest.halo_id, is_known["halo_id"])
    np.testing.assert_array_equal(forest.host_id, is_known["upid"])
    assert (~forest.is_central).sum() == 80


def test_units_are_the_files(forest):
    header = open_halos([str(FOREST)]).header
    assert (header.cosmology.om0, header.cosmology.h) == (0.25, 0.73)
    assert header.cosmology.fb == pytest.approx(0.18)
    assert forest.lg_mass.max() == pytest.approx(13.93, abs=0.01)  # 13.79 if h were forgotten


def test_infall(forest, derived):
    _, is_known = derived
    unknown = np.isnan(is_known["t_infall_gyr"])
    np.testing.assert_array_equal(np.isnan(forest.t_infall), unknown)
    there = ~unknown
    np.testing.assert_allclose(forest.t_infall[there], is_known["t_infall_gyr"][there], atol=1e-3)
    np.testing.assert_allclose(
        forest.lgm_infall[there], np.log10(is_known["m_infall_msun"][there]), atol=1e-3
    )
    np.testing.assert_allclose(
        forest.lgmhost_infall[there], np.log10(is_known["mhost_infall_msun"][there]), atol=1e-3
    )


def test_main_branches(forest, derived):
    steps, is_known = derived
    ours = forest.branches
    place = np.argmin(np.abs(steps[:, None] - ours.scale_factor), axis=0)
    with np.errstate(divide="ignore"):
        lg_mass = np.log10(is_known["mah_msun"])[:, place]
    both = np.isfinite(ours.lg_mass) & np.isfinite(lg_mass)
    assert both.sum() > 3000
    # branches part where two progenitors have equal masses
    assert (np.abs(ours.lg_mass - lg_mass)[both] < 1e-3).mean() > 0.999


def test_a_redshift_takes_the_nearest_snapshot():
    (table,) = open_halos([str(FOREST)], asked=Asked(redshifts=(0.09,))).chunks()
    assert table.z[0] == pytest.approx(0.0893, abs=1e-3)
    assert table.branches.scale_factor[-1] == pytest.approx(1 / (1 + table.z[0]), abs=1e-5)


def test_consistent_trees():
    assert kind_of(BOLSHOI) == "consistent_trees"
    reader = open_halos([str(BOLSHOI)])
    assert reader.header.side == pytest.approx(250 / 0.7)
    assert reader.header.cosmology.om0 == 0.27
    (table,) = reader.chunks()
    assert table.halo_id.tolist() == [3060152439]
    assert table.is_central.all()
    # the largest of the branch's Mvir, 1.363e9 Msun/h at a = 0.9943
    rows = [line.split() for line in BOLSHOI.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    largest = max(float(row[11]) for row in rows)
    assert table.lg_mass[0] == pytest.approx(np.log10(largest / 0.7))
    np.testing.assert_allclose(table.position[0], [x / 0.7 for x in (46.84172, 32.92173, 86.09726)])
    assert len(table.branches.scale_factor) == 20
