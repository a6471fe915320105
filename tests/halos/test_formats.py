"""Readers of each format, on small files of which everything is known: no little h leaves them."""

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.table import Table
from halo_texts import (
    COSMOLOGY,
    HOST,
    SATELLITE,
    SCALES,
    write_forest_lists,
    write_galacticus,
    write_hlist,
    write_sublink,
    write_trees,
    write_universemachine,
)

from popinfer.cosmology import age
from popinfer.errors import InputError
from popinfer.halos.formats import files_of, kind_of, open_halos
from popinfer.halos.table import Asked, join_tables

H = 0.7


def read(path, **asked):
    """All halos of a file, in the order of their names."""
    table = join_tables(list(open_halos([str(path)], asked=Asked(**asked)).chunks()))
    return table.take(np.argsort(table.halo_id))


def check_two_branches(table, masses_without_h):
    """The host and its satellite of `halo_texts`."""
    host, satellite = (np.array(m) / (1 if masses_without_h else H) for m in (HOST, SATELLITE))
    np.testing.assert_allclose(10**table.lg_mass, [host.max(), satellite.max()], rtol=1e-4)
    assert table.is_central.tolist() == [True, False]
    assert table.host_id[1] == table.halo_id[0]
    np.testing.assert_allclose(10 ** table.branches.lg_mass[0], host, rtol=1e-4)
    np.testing.assert_allclose(table.branches.scale_factor, SCALES, atol=1e-4)
    np.testing.assert_allclose(table.z, 1 / SCALES[-1] - 1, atol=1e-3)


@pytest.mark.parametrize("with_lists", [False, True])
def test_consistent_trees(tmp_path, with_lists):
    path = tmp_path / "tree_0_0_0.dat"
    write_trees(path)
    if with_lists:
        write_forest_lists(path)
    assert kind_of(path) == "consistent_trees"
    table = read(path)
    check_two_branches(table, masses_without_h=False)
    # the last step of its own is a = 0.7; the host's mass is that of the next
    assert table.t_infall[1] == pytest.approx(float(age(COSMOLOGY, 1 / 0.7 - 1)), rel=1e-3)
    assert 10 ** table.lgm_infall[1] == pytest.approx(5e11 / H)
    assert 10 ** table.lgmhost_infall[1] == pytest.approx(9e12 / H)
    np.testing.assert_allclose(table.position[0], np.array([1.0, 2.0, 3.0]) / H)
    np.testing.assert_allclose(table.velocity[0], [100, 200, 300])
    header = open_halos([str(path)]).header
    assert header.side == pytest.approx(100)
    assert (header.cosmology.om0, header.cosmology.h) == (0.3, 0.7)


def test_an_earlier_snapshot(tmp_path):
    path = tmp_path / "tree_0_0_0.dat"
    write_trees(path)
    table = read(path, redshifts=(0.42,))
    assert table.z.max() == pytest.approx(1 / 0.7 - 1)
    assert table.is_central.all()
    np.testing.assert_allclose(table.branches.scale_factor, SCALES[:3])


@pytest.mark.parametrize("own_id", [False, True])
def test_hlist(tmp_path, own_id):
    path = tmp_path / "hlist_0.95.list"
    write_hlist(path, own_id=own_id)
    assert kind_of(path) == "hlist"
    table = read(path)
    assert table.is_central.tolist() == [True, False, True]
    np.testing.assert_allclose(10**table.lg_mass, np.array([1.4e13, 7e11, 7e11]) / H)  # peak masses
    np.testing.assert_allclose(table.position[0], [10, 20, 30])
    assert np.isnan(table.t_infall).tolist() == [True, False, True]
    assert table.t_infall[1] == pytest.approx(float(age(COSMOLOGY, 0.25)))
    assert 10 ** table.lgm_infall[1] == pytest.approx(6.3e11 / H)
    assert table.half_mass_scale.tolist() == [0.6, 0.4, 0.5]
    assert open_halos([str(path)]).header.redshifts[0] == pytest.approx(1 / 0.95 - 1)


def test_universemachine(tmp_path):
    path = tmp_path / "sfh_catalog_0.95.txt"
    write_universemachine(path)
    assert kind_of(path) == "universemachine"
    table = read(path, cosmology=COSMOLOGY)
    check_two_branches(table, masses_without_h=True)
    assert table.t_infall[1] == pytest.approx(float(age(COSMOLOGY, 1 / 0.9 - 1)))
    assert 10 ** table.lgm_infall[1] == pytest.approx(SATELLITE[3])
    np.testing.assert_allclose(table.position[0], [10, 20, 30])
    np.testing.assert_allclose(table.velocity[0], [1, 2, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("#num_scales: 5", "#num_scales: 6"), "says 6 of num_scales, and lists 5 scale factors"),
        (("#num_scales: 5", "#num_scales: five"), "says five of num_scales, and lists 5 scale factors"),
        (("#scale list:", "#steps:"), "lists 0 scale factors"),
        (("M_main_progenitor(", "M_main("), "names no column m_main_progenitor"),
        (("1 -1 7", "1 none 7"), "a row can't be read"),
    ],
)
def test_broken_tables_of_universemachine(tmp_path, change, message):
    path = tmp_path / "sfh_catalog_0.95.txt"
    write_universemachine(path)
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(open_halos([str(path)], format="universemachine", asked=Asked(cosmology=COSMOLOGY)).chunks())


def test_universemachine_needs_a_cosmology(tmp_path):
    path = tmp_path / "sfh_catalog_0.95.txt"
    write_universemachine(path)
    with pytest.raises(InputError, match="has no cosmology; give the run file one"):
        read(path)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("comoving", [True, False])
def test_galacticus(tmp_path, comoving, older):
    path = tmp_path / "trees.hdf5"
    write_galacticus(path, comoving=comoving, older=older)
    assert kind_of(path) == "galacticus_trees"
    halos = open_halos([str(path)])
    assert halos.header.side == pytest.approx(100)
    np.testing.assert_allclose(sorted(halos.header.redshifts), 1 / np.array(SCALES[::-1]) - 1)
    for size in (1, 1000):  # a forest at a time, or both
        table = join_tables(list(halos.chunks(size)))
        table = table.take(np.argsort(table.halo_id))
        check_two_branches(table, masses_without_h=False)
        np.testing.assert_allclose(table.position[0], [10, 20, 30])
        np.testing.assert_allclose(table.velocity[0], [1, 2, 3])
        # the last step of its own, as for consistent trees
        assert table.t_infall[1] == pytest.approx(float(age(COSMOLOGY, 1 / 0.7 - 1)), rel=1e-3)


def test_trees_of_galacticus_without_units_are_refused(tmp_path):
    path = tmp_path / "trees.hdf5"
    write_galacticus(path)
    with h5py.File(path, "a") as file:
        del file["units"].attrs["lengthUnitsInSI"]
    with pytest.raises(InputError, match="/units doesn't say the unit of length"):
        read(path)
    with h5py.File(path, "a") as file:
        file.move("forestHalos", "nodes")
    with pytest.raises(InputError, match="has no group forestHalos"):
        list(open_halos([str(path)], format="galacticus_trees").chunks())


def test_sublink(tmp_path):
    path = tmp_path / "tree_extended.0.hdf5"
    write_sublink(path)
    assert kind_of(path) == "sublink"
    table = read(path)
    host, satellite = np.array(HOST) / H, np.array(SATELLITE) / H
    np.testing.assert_allclose(10 ** table.branches.lg_mass[0], host, rtol=1e-6)
    # its own mass when it is no longer a central
    np.testing.assert_allclose(10 ** table.branches.lg_mass[1], satellite * [1, 1, 1, 0.8, 0.8], rtol=1e-6)
    assert table.host_id.tolist() == [-1, 100]
    np.testing.assert_allclose(table.position[0], [10, 20, 30])
    path.with_name("snapshots.txt").unlink()
    with pytest.raises(InputError, match="redshifts of its snapshots"):
        read(path)


COLUMNS = (
    ("id", "name"),
    ("host", "upid"),
    ("mass", "m"),
    ("x", "x"),
    ("y", "y"),
    ("z", "z"),
    ("redshift", "zz"),
)
ROWS = {
    "name": np.array([5, 7, 9]),
    "upid": np.array([-1, 5, 9]),
    "m": np.array([7e12, 7e11, 1.4e12]),
    **{axis: np.array([7.0, 14.0, 21.0]) for axis in "xyz"},
    "zz": np.full(3, 0.1),
}


def write_table(path):
    suffix = path.suffix
    if suffix == ".parquet":
        pd.DataFrame(ROWS).to_parquet(path)
    elif suffix == ".csv":
        pd.DataFrame(ROWS).to_csv(path, index=False)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in ROWS.items():
                file[f"halos/{name}"] = values
    else:
        Table(ROWS).write(path, format={".fits": "fits", ".ecsv": "ascii.ecsv"}[suffix])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".h5", ".fits", ".ecsv"])
def test_plain_tables(tmp_path, suffix):
    path = tmp_path / f"halos{suffix}"
    write_table(path)
    table = read(path, columns=COLUMNS, mass_unit="Msun/h", length_unit="Mpc/h", cosmology=COSMOLOGY)
    np.testing.assert_allclose(10**table.lg_mass, [1e13, 1e12, 2e12])
    assert table.host_id.tolist() == [-1, 5, -1]  # the own name means none
    np.testing.assert_allclose(table.position[:, 0], [10, 20, 30])
    assert np.isnan(table.velocity).all()


def test_chunks_hold_the_same_halos(tmp_path):
    path = tmp_path / "halos.parquet"
    write_table(path)
    reader = open_halos([str(path)], asked=Asked(COLUMNS, "Msun", "Mpc", cosmology=COSMOLOGY))
    parts = list(reader.chunks(2))
    assert [len(part) for part in parts] == [2, 1]
    assert join_tables(parts).halo_id.tolist() == [5, 7, 9]


def test_reading_parquet_holds_one_row_group(tmp_path):
    import pyarrow as pa

    path, rng, n = tmp_path / "halos.parquet", np.random.default_rng(1), 300_000
    columns = {"name": np.arange(n), "m": rng.uniform(1e11, 1e12, n), "x": rng.random(n)}
    pd.DataFrame(columns).to_parquet(path, row_group_size=n // 50)
    asked = Asked((("id", "name"), ("mass", "m"), ("x", "x")), "Msun", "Mpc", cosmology=COSMOLOGY)
    before, largest = pa.total_allocated_bytes(), 0
    for table in open_halos([str(path)], asked=asked).chunks(n // 50):
        largest = max(largest, pa.total_allocated_bytes() - before)
        assert len(table) == n // 50
    assert largest < 0.2 * path.stat().st_size


def test_units_of_the_file_are_used_and_have_to_agree(tmp_path):
    path = tmp_path / "halos.ecsv"
    table = Table(ROWS)
    table["m"].unit = units.Msun
    table["x"].unit = table["y"].unit = table["z"].unit = units.kpc
    table.write(path, format="ascii.ecsv")
    result = read(path, columns=COLUMNS, cosmology=COSMOLOGY)
    np.testing.assert_allclose(10**result.lg_mass, ROWS["m"])
    np.testing.assert_allclose(result.position[:, 0], [0.007, 0.014, 0.021])
    with pytest.raises(InputError, match=r"units\.mass: is Msun/h, and .* says solMass"):
        read(path, columns=COLUMNS, mass_unit="Msun/h", cosmology=COSMOLOGY)


def test_groups_and_ranks_as_in_hbt(tmp_path):
    path = tmp_path / "halos.h5"
    with h5py.File(path, "w") as file:
        file["TrackId"] = [1, 2, 3, 4]
        file["HostHaloId"] = [10, 10, 20, 30]
        file["Rank"] = [0, 1, 0, 1]
        file["SO/200_crit/TotalMass"] = [1e13, 1e12, 2e12, 1e11]
        file["SO/200_crit/TotalMass"].attrs["unit"] = "Msun"
        file["pos"] = np.arange(12.0).reshape(4, 3)
    columns = (
        ("id", "TrackId"),
        ("group", "HostHaloId"),
        ("rank", "Rank"),
        ("mass", "SO/200_crit/TotalMass"),
    )
    positions = (("x", "pos[0]"), ("y", "pos[1]"), ("z", "pos[2]"))
    table = read(path, columns=columns + positions, length_unit="Mpc", cosmology=COSMOLOGY)
    assert table.host_id.tolist() == [-1, 1, -1, -2]  # the last one's central isn't there
    np.testing.assert_allclose(table.position[1], [3, 4, 5])


@pytest.mark.parametrize("size", [2, 10**6])
def test_a_group_may_be_spread_over_chunks(tmp_path, size):
    """HBT lists tracks by their names: a satellite may be rows before its central."""
    path = tmp_path / "halos.parquet"
    frame = pd.DataFrame({"id": [1, 2, 3, 4, 5], "fof": [30, 10, 10, -1, 30], "rank": [2, 1, 0, 0, 0]})
    frame.assign(mass=1e12).to_parquet(path)
    columns = (("id", "id"), ("group", "fof"), ("rank", "rank"), ("mass", "mass"))
    said = Asked(columns, "Msun", cosmology=COSMOLOGY)
    assert join_tables(list(open_halos([str(path)], asked=said).chunks(size))).host_id.tolist() == [
        5,
        3,
        -1,
        -1,
        -1,
    ]
    frame.assign(mass=1e12, rank=0).to_parquet(path)
    with pytest.raises(InputError, match="10 has two centrals"):
        list(open_halos([str(path)], asked=said).chunks(size))


def test_velocities_and_times_are_converted(tmp_path):
    path = tmp_path / "halos.ecsv"
    table = Table(ROWS | {"v": np.array([1e5, 2e5, 3e5]), "t": np.array([9e9, 1e10, 1.1e10])})
    table["m"].unit, table["v"].unit, table["t"].unit = units.Msun, units.m / units.s, units.yr
    for axis in "xyz":
        table[axis].unit = units.Mpc
    table.write(path, format="ascii.ecsv")
    columns = (*COLUMNS, ("vx", "v"), ("t_peak", "t"))
    result = read(path, columns=columns, cosmology=COSMOLOGY)
    np.testing.assert_allclose(result.velocity[:, 0], [100, 200, 300])
    np.testing.assert_allclose(result.mah_params.t_peak, [9, 10, 11])
    table["v"].unit = units.kpc
    table.write(path, format="ascii.ecsv", overwrite=True)
    with pytest.raises(InputError, match=r"column 'v': its unit is kpc; it has to be km/s"):
        read(path, columns=columns, cosmology=COSMOLOGY)


def test_physical_lengths_grow_with_the_scale_factor(tmp_path):
    path = tmp_path / "halos.parquet"
    pd.DataFrame(ROWS).drop(columns="zz").to_parquet(path)
    said = {
        "columns": COLUMNS[:-1],
        "mass_unit": "Msun",
        "length_unit": "physical Mpc",
        "cosmology": COSMOLOGY,
    }
    np.testing.assert_allclose(read(path, redshifts=(0.5,), **said).position[:, 0], [10.5, 21, 31.5])
    with pytest.raises(InputError, match="physical lengths, of halos without redshift"):
        read(path, **said)


def test_empty_cells_are_no_numbers(tmp_path):
    path = tmp_path / "halos.ecsv"
    table = Table(ROWS, masked=True)
    table["m"].unit = units.Msun
    for axis in "xyz":
        table[axis].unit = units.Mpc
    table["x"].mask[1] = table["m"].mask[2] = True
    table.write(path, format="ascii.ecsv")
    result = read(path, columns=COLUMNS, cosmology=COSMOLOGY)
    assert np.isnan(result.position[:, 0]).tolist() == [False, True, False]
    assert np.isnan(result.lg_mass).tolist() == [False, False, True]
    table["upid"].mask[1] = True
    table.write(path, format="ascii.ecsv", overwrite=True)
    with pytest.raises(InputError, match="'upid': names of halos have to be whole numbers"):
        read(path, columns=COLUMNS, cosmology=COSMOLOGY)


@pytest.mark.parametrize(
    "said", [{"columns": (("id", "n"), ("mass", "m"))}, {"mass_unit": "Msun"}, {"length_unit": "Mpc"}]
)
def test_what_a_format_says_itself_is_not_overruled(tmp_path, said):
    path = tmp_path / "hlist_0.95.list"
    write_hlist(path)
    with pytest.raises(InputError, match=r"halos\.source\.(columns|units\.\w+): .* is read as hlist"):
        open_halos([str(path)], asked=Asked(**said))


@pytest.mark.parametrize(
    ("here", "there", "expected"), [(0.156, 0.17, 0.17), (0.16, 0.156, 0.16), (0.16, 0.1604, 0.1604)]
)
def test_baryons_are_those_of_whichever_says_them(here, there, expected):
    said, file = COSMOLOGY._replace(fb=here), COSMOLOGY._replace(fb=there)
    assert Asked(cosmology=said).agreed(file, "box").fb == expected


def test_a_cosmology_is_of_plain_numbers():
    """NumPy's, as HDF5 attributes are, would be arrays to JAX, and programs compile for them anew."""
    numbers = type(COSMOLOGY)(*map(np.float64, COSMOLOGY))
    for said in (None, COSMOLOGY):
        agreed = Asked(cosmology=said).agreed(numbers, "box")
        assert agreed == COSMOLOGY and {type(x) for x in agreed} == {float}


def test_baryons_that_conflict_are_refused():
    with pytest.raises(InputError, match=r"cosmology\.Ob0: makes baryons 0\.16 of .* box has 0\.18"):
        Asked(cosmology=COSMOLOGY._replace(fb=0.16)).agreed(COSMOLOGY._replace(fb=0.18), "box")


@pytest.mark.parametrize(
    ("changed", "asked", "message"),
    [
        ({}, {"mass_unit": ""}, r"units\.mass: is missing"),
        ({}, {"length_unit": ""}, r"units\.length: is missing"),
        ({"m": np.log10(ROWS["m"])}, {}, "look like logarithms"),
        ({}, {"mass_unit": "log10 Msun"}, "can't be logarithms"),
        ({"name": np.array([1.5, 2, 3])}, {}, "whole numbers"),
        ({"name": np.array([1e17, 2, 3])}, {}, "floats"),
        ({}, {"cosmology": None}, "has no cosmology"),
        ({}, {"columns": (("id", "name"),)}, "no column for mass"),
        ({}, {"columns": (*COLUMNS[:-1], ("redshift", "nowhere"))}, "nowhere"),
        ({"m": ["1e12", "none", "2e12"]}, {}, "column 'm': has to hold numbers"),
        ({"name": ["a", "b", "c"]}, {}, "column 'name': has to hold numbers"),
        ({}, {"columns": (*COLUMNS[:1], COLUMNS[2], ("group", "upid"))}, "which halos of .* are centrals"),
    ],
)
def test_tables_that_are_refused(tmp_path, changed, asked, message):
    path = tmp_path / "halos.parquet"
    pd.DataFrame({**ROWS, **changed}).to_parquet(path)
    said = {"columns": COLUMNS, "mass_unit": "Msun", "length_unit": "Mpc", "cosmology": COSMOLOGY} | asked
    with pytest.raises(InputError, match=message):
        read(path, **said)


def test_a_cosmology_that_conflicts_is_refused(tmp_path):
    path = tmp_path / "tree_0_0_0.dat"
    write_trees(path)
    with pytest.raises(InputError, match=r"cosmology.H0: is 67\.74 in the run file and 70"):
        _ = open_halos([str(path)], asked=Asked(cosmology=COSMOLOGY._replace(h=0.6774))).header


def test_files_and_patterns(tmp_path):
    for name in ("b", "a"):
        write_hlist(tmp_path / f"hlist_{name}.list")
    assert [path.name for path in files_of([f"{tmp_path}/hlist_*.list"])] == ["hlist_a.list", "hlist_b.list"]
    assert len(join_tables(list(open_halos([f"{tmp_path}/hlist_*.list"]).chunks()))) == 6
    with pytest.raises(InputError, match="no file is called"):
        files_of([f"{tmp_path}/nothing_*"])
    with pytest.raises(InputError, match="is no file"):
        files_of([str(tmp_path)])
    (tmp_path / "some.dat").write_text("1 2 3", encoding="utf-8")
    with pytest.raises(InputError, match="format can't be told"):
        open_halos([str(tmp_path / "some.dat")])


def test_files_of_two_simulations_are_refused(tmp_path):
    write_hlist(tmp_path / "hlist_a.list")
    write_hlist(tmp_path / "hlist_b.list")
    text = (tmp_path / "hlist_b.list").read_text(encoding="utf-8")
    (tmp_path / "hlist_b.list").write_text(text.replace("h0 = 0.7", "h0 = 0.8"), encoding="utf-8")
    with pytest.raises(InputError, match="of one simulation"):
        _ = open_halos([f"{tmp_path}/hlist_*.list"]).header
