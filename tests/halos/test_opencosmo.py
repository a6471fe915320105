"""Files in the OpenCosmo layout: units by attribute and by convention, and hosts by row."""

import h5py
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.halos.formats import kind_of, open_halos
from popinfer.halos.table import join_tables

COLUMNS = {
    "core_tag": (np.array([11, 12, 13, 14]), ""),
    "central": (np.array([1, 0, 1, 0]), ""),
    "top_host_idx": (np.array([0, 0, 2, 2]), ""),
    "logmp_obs": (np.array([13.0, 12.0, 12.5, 11.5]), "dex(Msun)"),
    **{axis: (np.array([1.0, 2.0, 3.0, 4.0]), "Mpc") for axis in "xyz"},
}


def write(path, columns=COLUMNS, **said):
    """A file of columns with units, and attributes of its header's section on the file."""
    with h5py.File(path, "w") as file:
        for name, (values, unit) in columns.items():
            file[f"data/{name}"] = values
            file[f"data/{name}"].attrs["unit"] = unit
        attributes = {"is_lightcone": False, "redshift": 0.5, "unit_convention": "comoving"} | said
        file.create_group("header/file").attrs.update(attributes)
        file.create_group("header/cosmology").attrs.update({"omega_m": 0.3, "h": 0.7, "omega_b": 0.045})
        file.create_group("header/simulation").attrs["box_size"] = 70.0
    return path


def read(path, size=10):
    return join_tables(list(open_halos([str(path)]).chunks(size)))


@pytest.mark.parametrize("size", [1, 3, 10])
def test_hosts_are_rows_of_the_file(tmp_path, size):
    path = write(tmp_path / "halos.h5")
    assert kind_of(path) == "opencosmo"
    assert read(path, size).host_id.tolist() == [-1, 11, -1, 13]
    header = open_halos([str(path)]).header
    assert (header.side, header.redshifts) == (pytest.approx(100.0), (0.5,))
    assert header.cosmology.fb == pytest.approx(0.15)


@pytest.mark.parametrize("row", [-1, 1])
def test_a_satellite_without_a_host_is_no_central(tmp_path, row):
    """Row -1, or its own."""
    columns = COLUMNS | {"top_host_idx": (np.array([0, row, 2, 2]), "")}
    table = read(write(tmp_path / "halos.h5", columns))
    assert table.is_central.tolist() == [True, False, True, False]
    assert table.host_id[1] == -2


@pytest.mark.parametrize(
    ("convention", "unit", "scale"),
    [
        ("comoving", "Mpc", 1.0),
        ("physical", "Mpc", 1.5),
        ("scalefree", "", 1 / 0.7),
        ("comoving", "kpc", 1e-3),
    ],
)
def test_lengths_are_comoving_without_h(tmp_path, convention, unit, scale):
    columns = COLUMNS | {axis: (COLUMNS[axis][0], unit) for axis in "xyz"}
    table = read(write(tmp_path / "halos.h5", columns, unit_convention=convention))
    np.testing.assert_allclose(table.position[:, 1], scale * np.array([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize(
    ("unit", "shift"), [("Msun", 0.0), ("Msun / littleh", -np.log10(0.7)), ("log10(Msun)", 0.0)]
)
def test_masses_by_their_unit(tmp_path, unit, shift):
    values = np.array([13.0, 12.0, 12.5, 11.5])
    columns = {name: value for name, value in COLUMNS.items() if name != "logmp_obs"}
    columns["fof_halo_mass"] = (values if "log10" in unit else 10**values, unit)
    np.testing.assert_allclose(read(write(tmp_path / "halos.h5", columns)).lg_mass, values + shift)


def test_masses_without_a_unit_are_refused(tmp_path):
    columns = {name: value for name, value in COLUMNS.items() if name != "logmp_obs"}
    columns["fof_halo_mass"] = (np.full(4, 1e12), "")
    with pytest.raises(InputError, match="column 'fof_halo_mass' has no attribute unit"):
        read(write(tmp_path / "halos.h5", columns))
