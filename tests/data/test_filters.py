"""Filter curves: names, files of every kind, refusals."""

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from sedpy.observate import Filter

from popinfer.data import load_filters
from popinfer.data.filters import known_filters, resolve_name, vega_to_ab
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
    filters = load_filters(known_filters("sedpy"))
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
    write_hdf5(path, WAVE, np.array([-0.001, 0.1, 0.6, -0.002, 0.3, -0.001]))
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


def test_vega_is_as_bright_as_sedpy_says():
    beyond = []
    for name in known_filters("sedpy"):
        try:
            ours = vega_to_ab(name)
        except InputError as error:
            beyond.append(name)
            assert "Vega's spectrum is known from 900 to" in str(error)
            continue
        theirs = -Filter(name).ab_to_vega  # not a number beyond 100 micron
        if name == "hipparcos_B":  # sedpy integrates AB zero on the curve's own nodes, 500 and 3550 first
            continue
        assert np.isnan(theirs) or ours == pytest.approx(theirs, abs=3e-3), name
    # these alone look where Vega's spectrum isn't known
    assert beyond == ["herschel_spire_350", "herschel_spire_500"]


@pytest.mark.parametrize(
    ("name", "published"),
    # Blanton & Roweis (2007, AJ 133, 734), table 1; their Vega is 0.02 mag fainter
    [
        ("sdss_u", 0.91),
        ("sdss_g", -0.08),
        ("sdss_r", 0.16),
        ("sdss_i", 0.37),
        ("sdss_z", 0.54),
        ("twomass_J", 0.91),
        ("twomass_H", 1.39),
        ("twomass_Ks", 1.85),
    ],
)
def test_vega_is_as_bright_as_published(name, published):
    assert vega_to_ab(name) == pytest.approx(published, abs=0.03)


def test_vega_through_a_curve_of_ones_own_is_a_mean_over_photons(tmp_path):
    """A narrow band sees the flux density at its wavelength: CALSPEC's Vega, 3.46e-9 at 5556 Angstrom."""
    path = tmp_path / "narrow.dat"
    write_ascii(path, np.linspace(5546.0, 5566.0, 11), np.r_[0, np.ones(9), 0])
    expected = -2.5 * np.log10(3.46e-9 * 5556**2 / 2.99792458e18) - 48.6
    assert vega_to_ab(path) == pytest.approx(expected, abs=0.01)
