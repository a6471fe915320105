"""SOAP catalogs through swiftsimio, which knows units, cosmology and box; skipped where it is missing."""

import sys

import h5py
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.halos.formats import kind_of, open_halos
from popinfer.halos.table import Asked, join_tables

Z = 0.25
KMS_IN_MPC_GYR = 1 / 977.7922


def write_soap(path, physical: bool = False):
    """Two groups, one with a satellite, in 1e10 Msun, comoving or physical Mpc, and Mpc/Gyr."""
    with h5py.File(path, "w") as file:
        columns = ["BoundSubhalo", "InputHalos", "InputHalos/HBTplus", "SO/200_crit"]
        header = {
            "OutputType": "SOAP",
            "Redshift": [Z],
            "Scale-factor": [1 / (1 + Z)],
            "BoxSize": [100.0] * 3,
            "NumSubhalos_ThisFile": [3],
            "NumPart_ThisFile": [0] * 7,
            "NumFilesPerSnapshot": [1],
            "SubhaloTypes": columns,
        }
        file.create_group("Header").attrs.update(header)
        sizes = {
            "mass": "(U_M)",
            "length": "(U_L)",
            "time": "(U_t)",
            "current": "(U_I)",
            "temperature": "(U_T)",
        }
        cgs = (1.98841e43, 3.0856776e24, 3.1557e16, 1.0, 1.0)
        units = {
            f"Unit {name} in cgs {letter}": [x] for (name, letter), x in zip(sizes.items(), cgs, strict=True)
        }
        file.create_group("Units").attrs.update(units)
        cosmology = {
            "H0 [internal units]": [0.0696489],  # 68.1 km/s/Mpc in 1/Gyr
            **{"Omega_m": [0.3046], "Omega_b": [0.0486], "Omega_lambda": [0.6953], "Omega_r": [7.8e-5]},
            **{"w_0": [-1.0], "w_a": [0.0], "h": [0.681], "Cosmological run": [1]},
        }
        file.create_group("Cosmology").attrs.update(cosmology)
        position = np.array([[10.0, 20.0, 30.0], [10.1, 20.0, 30.0], [60.0, 70.0, 80.0]])
        put(file, "InputHalos/HaloCatalogueIndex", np.array([5, 7, 9]))
        put(file, "InputHalos/IsCentral", np.array([1, 0, 1]))
        put(file, "InputHalos/HBTplus/HostFOFID", np.array([40, 40, 41]))
        put(file, "InputHalos/HBTplus/LastMaxMass", np.array([1200.0, 130.0, 100.0]), M=1)
        put(file, "SO/200_crit/TotalMass", np.array([1000.0, 0.0, 90.0]), M=1)
        scale = 1 / (1 + Z) if physical else 1.0
        put(file, "InputHalos/HaloCentre", position * scale, L=1, a=1, physical=physical)
        velocity = np.array([[100.0, 200.0, 300.0]] * 3) * KMS_IN_MPC_GYR
        put(file, "BoundSubhalo/CentreOfMassVelocity", velocity, L=1, t=-1)
    return path


def put(file, name, values, a=0, physical=False, **powers):
    """A column with the attributes of SWIFT's files."""
    column = file.create_dataset(name, data=values)
    exponents = {f"U_{letter} exponent": [float(powers.get(letter, 0))] for letter in "ILMTt"}
    column.attrs.update(exponents | {"a-scale exponent": [float(a)], "h-scale exponent": [0.0]})
    column.attrs.update({"Value stored as physical": [int(physical)]})
    column.attrs["Description"] = name


@pytest.fixture
def swiftsimio():
    return pytest.importorskip("swiftsimio")


@pytest.mark.parametrize("physical", [False, True])
def test_a_soap_catalog(swiftsimio, tmp_path, physical):
    path = write_soap(tmp_path / "soap.hdf5", physical)
    assert kind_of(path) == "swift"
    reader = open_halos([str(path)])
    header = reader.header
    assert (header.format, header.side) == ("swift", pytest.approx(100.0))
    assert header.redshifts == (pytest.approx(Z),)
    assert header.cosmology.h == pytest.approx(0.681, rel=1e-4)
    assert header.cosmology.om0 == 0.3046 and header.cosmology.fb == pytest.approx(0.0486 / 0.3046)
    for size in (1, 100):
        table = join_tables(list(reader.chunks(size)))
        assert table.halo_id.tolist() == [5, 7, 9] and table.host_id.tolist() == [-1, 5, -1]
        np.testing.assert_allclose(10**table.lg_mass, [1.2e13, 1.3e12, 1e12], rtol=1e-6)
        np.testing.assert_allclose(table.position[1], [10.1, 20.0, 30.0], rtol=1e-6)
        np.testing.assert_allclose(table.velocity, [[100, 200, 300]] * 3, rtol=1e-4)
        np.testing.assert_allclose(table.z, Z)


def test_columns_can_be_named(swiftsimio, tmp_path):
    path = write_soap(tmp_path / "soap.hdf5")
    with h5py.File(path, "r+") as file:
        put(file, "InputHalos/Host", np.array([-1, 9, -1]))
    columns = (("mass", "SO/200_crit/TotalMass"), ("host", "InputHalos/Host"))
    (table,) = open_halos([str(path)], "swift", Asked(columns)).chunks()
    assert table.host_id.tolist() == [-1, 9, -1]
    np.testing.assert_allclose(10**table.lg_mass, [1e13, 0, 9e11], rtol=1e-6)
    wrong = (("mass", "InputHalos/HaloCentre[0]"),)
    with pytest.raises(InputError, match="column 'InputHalos/HaloCentre' is no mass"):
        list(open_halos([str(path)], "swift", Asked(wrong)).chunks())
    with pytest.raises(InputError, match=r"has no column 'InputHalos/Mass'"):
        list(open_halos([str(path)], "swift", Asked((("mass", "InputHalos/Mass"),))).chunks())


def test_what_swiftsimio_cant_load_is_refused(swiftsimio, tmp_path):
    path = write_soap(tmp_path / "soap.hdf5")
    with h5py.File(path, "r+") as file:
        del file["Units"]
    with pytest.raises(InputError, match="swiftsimio can't load it"):
        _ = open_halos([str(path)]).header


def test_without_swiftsimio_the_extra_is_named_and_a_table_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "swiftsimio", None)
    path = write_soap(tmp_path / "soap.hdf5")
    with pytest.raises(InputError, match=r"needs the package swiftsimio .* pip install 'popinfer\[swift\]'"):
        open_halos([str(path)])
    columns = (("id", "InputHalos/HaloCatalogueIndex"), ("mass", "SO/200_crit/TotalMass"))
    from popinfer.cosmology import PLANCK15

    said = Asked(columns, "1e10 Msun", cosmology=PLANCK15)
    assert len(next(open_halos([str(path)], asked=said).chunks())) == 3
