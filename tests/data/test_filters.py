"""Filter curves: names, files of every kind, refusals."""

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from sedpy.observate import Filter

from popinfer.data import load_filters
from popinfer.data.filters import known_filters, resolve_name
from popinfer.errors import InputError

WAVE = np.array([4000.0, 4500.0, 5000.0, 5500.0, 6000.0, 6500.0])
TRANS = np.array([0.0, 0.0, 0.6, 0.8, 0.0, 0.0])


def one(path):
    filters = load_filters([path])
    return filters.wave[0], filters.trans[0]


def write_hdf5(path, wave, trans):
    with h5py.File(path, "w") as store:
        store["wave"], store["transmission"] = wave, trans


def write_ascii(path, wave, trans):
    np.savetxt(path, np.column_stack([wave, trans]), header="Angstrom  transmission")


def write_csv(path, wave, trans):
    np.savetxt(path, np.column_stack([wave, trans]), delimiter=",")


def write_ecsv_in_nm(path, wave, trans):
    Table({"w": wave / 10 * units.nm, "t": trans}).write(path, format="ascii.ecsv")


WRITERS = {"a.h5": write_hdf5, "a.dat": write_ascii, "a.csv": write_csv, "a.ecsv": write_ecsv_in_nm}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_curve(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, WAVE[::-1], TRANS[::-1])
    wave, trans = one(path)
    # zeros at the edges are cut to one on each side
    np.testing.assert_allclose(wave, [4500, 5000, 5500, 6000])
    np.testing.assert_allclose(trans, [0, 0.6, 0.8, 0])
    assert wave.dtype == trans.dtype == np.float64


def test_every_sedpy_curve_loads_and_is_clean():
    filters = load_filters(known_filters())
    assert len(filters.names) > 150
    for name, wave, trans in zip(filters.names, filters.wave, filters.trans, strict=True):
        assert np.all(np.diff(wave) > 0), name
        assert trans.min() >= 0 and trans.max() > 0, name


@pytest.mark.parametrize("name", ["sdss_g0", "lsst_baseline_i", "hsc_y", "wise_w1"])
def test_curves_are_sedpys(name):
    reference = Filter(name)
    filters = load_filters([name])
    grid = np.linspace(filters.wave[0][0], filters.wave[0][-1], 5000)
    ours = np.interp(grid, filters.wave[0], filters.trans[0])
    theirs = np.interp(grid, reference.wavelength, reference.transmission)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("sdss_u", "sdss_u0"),
        ("lsst_u", "lsst_baseline_u"),
        ("vista_ks", "vista_vircam_Ks"),
        ("roman_f106", "roman_wfi_f106"),
        ("galex_nuv", "galex_NUV"),
        ("subaru_B", "subaru_suprimecam_B"),
        ("hsc_g", "hsc_g"),
    ],
)
def test_short_names(short, full):
    assert resolve_name(short) == full
    assert load_filters([short]).names == (full,)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("sdss_x", "sdss_g0"), ("lsst_baseline_uu", "lsst_baseline_u"), ("twomas_J", "twomass_J")],
)
def test_unknown_names_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(InputError, match=nearest):
        load_filters([name])


def test_ambiguous_short_names_are_refused():
    with pytest.raises(InputError, match="could be any of gaia_bp_dr2rev, gaia_g_dr2rev, gaia_rp_dr2rev"):
        load_filters(["gaia_dr2rev"])


def test_digits_are_no_abbreviation():
    assert resolve_name("spitzer_16") == "spitzer_irs_16"  # not spitzer_mips_160


def test_negative_transmissions_are_clipped(tmp_path):
    path = tmp_path / "f.h5"
    write_hdf5(path, WAVE, np.array([-0.01, 0.1, 0.6, -0.02, 0.3, -0.5]))
    _, trans = one(path)
    np.testing.assert_allclose(trans, [0, 0.1, 0.6, 0, 0.3, 0])


@pytest.mark.parametrize(
    ("wave", "trans", "message"),
    [
        (WAVE, np.where(WAVE == 5000, np.nan, TRANS), "NaN"),
        (WAVE, np.zeros(6), "no positive transmission"),
        (WAVE / 1e4, TRANS, "Angstrom"),
        (WAVE[:3], TRANS, "differ in shape"),
    ],
)
def test_unusable_curves_are_refused(tmp_path, wave, trans, message):
    path = tmp_path / "bad.h5"
    write_hdf5(path, wave, trans)
    with pytest.raises(InputError, match=message) as caught:
        load_filters([path])
    assert "bad.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.dat", b"these are words\n", "two columns of numbers"),
        ("bad.dat", b"1000\n2000\n", "two columns"),
        ("bad.h5", b"garbage", "can't be read as HDF5"),
        ("bad.ecsv", b"# nothing\n", "can't be read as ECSV"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_filters([path])
    assert "\n" not in str(caught.value)


def test_hdf5_without_the_datasets_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as store:
        store["lambda"] = WAVE
    with pytest.raises(InputError, match="wave and transmission"):
        load_filters([path])
    with pytest.raises(InputError, match="no such file"):
        load_filters([tmp_path / "none.dat"])


def test_ecsv_in_a_unit_that_is_no_length_is_refused(tmp_path):
    path = tmp_path / "f.ecsv"
    Table({"w": WAVE * units.s, "t": TRANS}).write(path, format="ascii.ecsv")
    with pytest.raises(InputError, match="no length"):
        load_filters([path])
