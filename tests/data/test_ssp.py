"""SSP and nebular grids: known colors, layout, units, refusals."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.data.embedded import asset_path
from popinfer.errors import InputError

FULL_GRID = Path(__file__).parents[2] / "../shared/data/ssp_bc03_miles_kroupa.h5"


def ab_magnitudes(wave, flux, filter_wave, filter_trans, z=0.0):
    """-2.5 log10 of the photon-weighted mean of L_nu, on a fine grid that resolves the filter."""
    grid = np.linspace(filter_wave[0], filter_wave[-1], 6000)
    weight = np.interp(grid, filter_wave, filter_trans) / grid
    at_grid = np.apply_along_axis(lambda row: np.interp(grid / (1 + z), wave, row), -1, flux)
    return -2.5 * np.log10(at_grid @ weight / weight.sum())


@pytest.fixture(scope="module")
def ssp():
    return load_ssp()


@pytest.fixture(scope="module")
def nebular():
    return load_nebular()


@pytest.fixture
def small_ssp_file(tmp_path):
    """A writable grid in the DSPS layout; returns a function that writes it with changes."""
    full = load_ssp()
    base = {
        "ssp_lgmet": full.ssp_lgmet[[2, 4]],
        "ssp_lg_age_gyr": full.ssp_lg_age_gyr[[20, 50, 90]],
        "ssp_wave": full.ssp_wave[::20],
        "ssp_flux": full.ssp_flux[np.ix_([2, 4], [20, 50, 90])][..., ::20],
    }

    def write(**changes):
        path = tmp_path / "grid.h5"
        with h5py.File(path, "w") as store:
            for name, values in {**base, **changes}.items():
                if values is not None:
                    store[name] = values
        return path

    return write


@pytest.mark.parametrize(("age_gyr", "u_g", "g_r"), [(10.0, 1.85, 0.81), (0.1, 0.62, -0.02)])
def test_solar_populations_have_the_known_sdss_colors(ssp, age_gyr, u_g, g_r):
    met = np.argmin(np.abs(ssp.ssp_lgmet - np.log10(0.02)))
    age = np.argmin(np.abs(ssp.ssp_lg_age_gyr - np.log10(age_gyr)))
    filters = load_filters(["sdss_u", "sdss_g", "sdss_r"])
    curves = zip(filters.wave, filters.trans, strict=True)
    u, g, r = (ab_magnitudes(ssp.ssp_wave, ssp.ssp_flux[met, age], wave, trans) for wave, trans in curves)
    assert abs(u - g - u_g) < 0.01
    assert abs(g - r - g_r) < 0.01


def test_embedded_grid_covers_what_surveys_need(ssp):
    assert ssp.ssp_flux.shape == (6, 94, ssp.ssp_wave.size)
    assert ssp.ssp_flux.dtype == np.float64
    assert ssp.ssp_wave[0] < 100 and ssp.ssp_wave[-1] >= 50_000
    np.testing.assert_allclose(10**ssp.ssp_lgmet, [1e-4, 4e-4, 4e-3, 8e-3, 0.02, 0.05], rtol=1e-6)
    assert ssp.ssp_lg_age_gyr[0] < -3.4 and ssp.ssp_lg_age_gyr[-1] > np.log10(13.8)
    assert "BC03" in ssp.source and len(ssp.sha256) == 64


def test_light_and_surviving_mass_fade_with_age(ssp):
    optical = (ssp.ssp_wave > 4000) & (ssp.ssp_wave < 7000)
    light = ssp.ssp_flux[..., optical].mean(axis=-1)
    at = [int(np.argmin(np.abs(ssp.ssp_lg_age_gyr - lg_age))) for lg_age in (-2.0, -1.0, 0.0, 1.0)]
    assert np.all(np.diff(light[:, at], axis=1) < 0)
    surviving = ssp.ssp_surviving_mstar_frac
    assert np.all((surviving > 0.3) & (surviving <= 1.0))
    # the published track at Z = 0.0001 rises once, by 0.0035
    assert np.diff(surviving, axis=1).max() < 0.005


def test_solar_luminosity_scale(ssp):
    # bolometric output of a 1 Gyr solar population: about 1.5 Lsun per Msun formed
    nu = 2.99792458e18 / ssp.ssp_wave
    age = np.argmin(np.abs(ssp.ssp_lg_age_gyr))
    total = -np.trapezoid(ssp.ssp_flux[4, age], nu)
    assert 1.2 < total < 1.9


def test_thinned_grid_agrees_with_the_full_one(ssp):
    if not FULL_GRID.is_file():
        pytest.skip("full-resolution grid is not available")
    full = load_ssp(FULL_GRID)
    filters = load_filters(["sdss_u", "sdss_r", "lsst_y", "vista_J"])
    ages = slice(0, None, 13)
    for wave, trans in zip(filters.wave, filters.trans, strict=True):
        for z in (0.0, 0.3, 0.75):
            thin = ab_magnitudes(ssp.ssp_wave, ssp.ssp_flux[::2, ages], wave, trans, z)
            fine = ab_magnitudes(full.ssp_wave, full.ssp_flux[::2, ages], wave, trans, z)
            assert np.abs(thin - fine).max() < 0.002


def test_dsps_layout_round_trip(small_ssp_file):
    lines = {
        "ssp_emline_name": np.array([b"Halpha", b"OIII"]),
        "ssp_emline_wave": np.array([6562.8, 5006.8]),
        "ssp_emline_luminosity": np.ones((2, 3, 2), dtype=np.float32),
    }
    read = load_ssp(small_ssp_file(**lines))
    np.testing.assert_array_equal(read.ssp_flux, load_ssp().ssp_flux[[2, 4]][:, [20, 50, 90], ::20])
    assert read.ssp_emline_name == ("Halpha", "OIII")
    assert read.ssp_emline_luminosity.dtype == np.float64
    assert read.ssp_surviving_mstar_frac is None
    plain = load_ssp(small_ssp_file())
    assert plain.ssp_emline_wave is None and plain.ssp_emline_name == ()
    assert plain.sha256 != read.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ssp_wave": None}, "lacks the dataset.*ssp_wave"),
        ({"ssp_flux": np.ones((3, 2, 9))}, "ssp_lgmet has shape"),
        ({"ssp_wave": np.linspace(9000.0, 1000.0, 53)}, "ssp_wave has to ascend"),
        ({"ssp_wave": np.linspace(0.1, 0.9, 53)}, "Angstrom"),
        ({"ssp_lgmet": np.array([0.001, 0.02])}, "log10 of the metal mass fraction"),
        ({"ssp_lg_age_gyr": np.array([7.0, 8.0, 10.0])}, "log10 of the age in Gyr"),
        ({"ssp_flux": np.full((2, 3, 53), np.nan)}, "NaN"),
        ({"ssp_flux": -np.ones((2, 3, 53))}, "positive"),
        ({"ssp_surviving_mstar_frac": np.ones(3)}, "ssp_surviving_mstar_frac has shape"),
        ({"ssp_emline_wave": np.ones(2)}, "emission lines need all of"),
    ],
)
def test_unusable_grids_are_refused(small_ssp_file, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        load_ssp(small_ssp_file(**changes))
    assert "grid.h5" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_garbage_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_ssp(tmp_path / "none.h5")
    garbage = tmp_path / "garbage.h5"
    garbage.write_bytes(b"not hdf5 at all")
    with pytest.raises(InputError, match="can't be read as HDF5"):
        load_nebular(garbage)


def test_nebular_grid_shares_axes_with_the_ssp(ssp, nebular):
    np.testing.assert_array_equal(nebular.cont_wave, ssp.ssp_wave)
    np.testing.assert_array_equal(nebular.neb_lgmet, ssp.ssp_lgmet)
    np.testing.assert_allclose(nebular.neb_lg_age_gyr[[0, -1]], [-3.0, np.log10(0.0251189)], atol=1e-5)
    np.testing.assert_allclose(nebular.neb_logu, np.arange(-4, 0.1, 0.5))
    assert len(nebular.line_name) == nebular.line_wave.size
    assert np.all(nebular.line_lum >= 0) and np.all(nebular.cont_flux >= 0)


def test_halpha_counts_ionising_photons(ssp, nebular):
    # case B: one H-alpha photon per 2.2 ionising photons, i.e. 1.37e-12 erg per ionising photon
    nu = 2.99792458e18 / ssp.ssp_wave
    ionising = ssp.ssp_wave < 911.5
    age = int(np.argmin(np.abs(ssp.ssp_lg_age_gyr + 3.0)))
    rate = ssp.ssp_flux[4, age, ionising] * 3.828e33 / (6.62607e-27 * nu[ionising])
    photons = -np.trapezoid(rate, nu[ionising])
    halpha = nebular.line_lum[4, 2, 0, np.argmin(np.abs(nebular.line_wave - 6562.8))] * 3.828e33
    assert 0.7 < halpha / (1.37e-12 * photons) < 1.3


def test_balmer_decrement_is_case_b(nebular):
    halpha, hbeta = (np.argmin(np.abs(nebular.line_wave - wave)) for wave in (6562.8, 4861.3))
    ratio = nebular.line_lum[:5, :, :8, halpha] / nebular.line_lum[:5, :, :8, hbeta]
    assert np.all((ratio > 2.7) & (ratio < 3.4))


def test_halpha_hardly_depends_on_the_ionisation_parameter(nebular):
    halpha = nebular.line_lum[..., np.argmin(np.abs(nebular.line_wave - 6562.8))]
    young = halpha[:, :, :8]  # to 5 Myr
    assert np.all(np.abs(young / young[:, :1] - 1) < 0.15)


def test_only_the_defective_cells_are_replaced(nebular):
    with h5py.File(asset_path("nebular")) as store:
        raw = np.asarray(store["line_lum"], dtype=np.float64)
        raw_continuum = np.asarray(store["cont_flux"], dtype=np.float64)
    changed = np.argwhere(np.any(nebular.line_lum != raw, axis=(2, 3)))
    assert {tuple(cell) for cell in changed.tolist()} == {(5, step) for step in range(3, 9)}
    for step in range(3, 9):
        np.testing.assert_array_equal(nebular.line_lum[5, step], raw[5, 2])
        np.testing.assert_array_equal(nebular.cont_flux[5, step], raw_continuum[5, 2])
