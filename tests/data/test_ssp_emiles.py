"""E-MILES spectra become a grid that loads here; its colors and light are those that its authors publish."""

import io
import os
import tarfile

import numpy as np
import pytest
from astropy import constants, units
from astropy.io import fits

from popinfer.data import load_filters, load_ssp, ssp_from_emiles, write_ssp
from popinfer.errors import InputError

AGES, METS = (0.0631, 1.0, 10.0), {"m0.40": (-0.4, 0.008), "p0.00": (0.0, 0.019)}
REAL = os.environ.get("POPINFER_EMILES", "")  # path of ppxf-8.2.1.tar.gz
KROUPA = 1.3049  # 5.814 Msun from 0.1 to 100 Msun with m^-2.3 over Kroupa's 4.455
SDSS = ("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0")


def spectrum_file(level):
    """A FITS file in E-MILES' layout whose L_lambda is the same everywhere."""
    image = fits.PrimaryHDU(np.full(53689, level, dtype=np.float32))
    image.header["CRVAL1"], image.header["CDELT1"] = 1680.2, 0.9
    stream = io.BytesIO()
    image.writeto(stream)
    return stream.getvalue()


@pytest.fixture
def files():
    """Name -> content of a small library: L_lambda is 0.001 x number of the age x Z / 0.019."""
    made, rows = {}, ["#IMF slope [M/H] Age Mtotal M(*+remn) M* Mremn Mgas"]
    for label, (met, z) in METS.items():
        for i, age in enumerate(AGES):
            name = f"Eun1.30Z{label}T{age:07.4f}_iPp0.00_baseFe_linear_FWHM_variable.fits"
            made[name] = spectrum_file(1e-3 * (i + 1) * z / 0.019)
            rows.append(f"UN  1.30 {met - 0.0007:7.4f} {age:8.4f} 1.0 0.9 {0.8 - 0.1 * i:.4f} 0.1 0.1")
            rows.append(f"UN  0.30 {met - 0.0007:7.4f} {age:8.4f} 1.0 0.2 0.2 0.1 0.1")
    made["Vazdekis2012_ssp_mass_Padova00_UN_baseFe_v10.0.txt"] = "\n".join(rows).encode()
    made["README.rst"] = b"not a spectrum"
    return made


def in_folder(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_light_is_per_hz_and_per_mass_formed_with_kroupa(tmp_path, files):
    ssp = ssp_from_emiles(in_folder(tmp_path, files))
    np.testing.assert_allclose(10**ssp.ssp_lgmet, [0.008, 0.019])
    old = np.asarray(ssp.ssp_lg_age_gyr) > np.log10(0.062)
    np.testing.assert_allclose(10 ** ssp.ssp_lg_age_gyr[old], AGES)
    wave = np.asarray(ssp.ssp_wave)
    inside = (wave > 1700) & (wave < 49_000)
    per_hz = 1e-3 * KROUPA * wave[inside] ** 2 / constants.c.to_value("Angstrom/s")
    np.testing.assert_allclose(
        np.asarray(ssp.ssp_flux)[1][old][:, inside], np.outer([1, 2, 3], per_hz), rtol=2e-4
    )


def test_stars_below_half_a_solar_mass_are_as_many_as_kroupas(tmp_path, files):
    ssp = ssp_from_emiles(in_folder(tmp_path, files))
    # living stars of 4.455 Msun formed: those of 5.814 Msun with slope 2.3 but for 1.359 Msun of small ones
    expected = (5.8138 * np.array([0.8, 0.7, 0.6]) - (5.8138 - 4.4552)) / 4.4552
    np.testing.assert_allclose(np.asarray(ssp.ssp_surviving_mstar_frac)[0, -3:], expected, rtol=1e-3)


def test_young_populations_and_far_wavelengths_are_the_other_grids(tmp_path, files):
    ssp, other = ssp_from_emiles(in_folder(tmp_path, files)), load_ssp()
    lg_age = np.asarray(ssp.ssp_lg_age_gyr)
    young = lg_age < np.log10(0.062)
    np.testing.assert_allclose(lg_age[young], np.asarray(other.ssp_lg_age_gyr)[: young.sum()])
    same = int(np.argmin(np.abs(other.ssp_lgmet - ssp.ssp_lgmet[0])))  # Z = 0.008 is a node of both
    np.testing.assert_allclose(
        np.asarray(ssp.ssp_flux)[0, young], np.asarray(other.ssp_flux)[same, : young.sum()], rtol=1e-6
    )
    wave = np.asarray(ssp.ssp_wave)
    edge = int(np.flatnonzero(wave >= 1680.2)[0])
    theirs = [np.interp(lg_age[-1], other.ssp_lg_age_gyr, np.asarray(other.ssp_flux)[same, :, i])
              for i in (edge - 20, edge)]  # fmt: skip
    ours = np.asarray(ssp.ssp_flux)[0, -1, [edge - 20, edge]]
    np.testing.assert_allclose(ours[0] / ours[1], theirs[0] / theirs[1], rtol=1e-6)


def test_archive_and_folder_are_the_same(tmp_path, files):
    folder = tmp_path / "ppxf-8.2.1" / "miles_models"
    folder.mkdir(parents=True)
    in_folder(folder, files)
    archive = tmp_path / "ppxf-8.2.1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder.parent, arcname="ppxf-8.2.1")
    packed, unpacked = ssp_from_emiles(archive), ssp_from_emiles(folder.parent)
    np.testing.assert_array_equal(packed.ssp_flux, unpacked.ssp_flux)
    assert len(packed.sha256) == 64 and "E-MILES" in packed.source


def without(files, part):
    return {name: content for name, content in files.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: without(f, "Eun"), "holds no E-MILES spectra"),
        (lambda f: without(f, "Zp0.00T10"), r"lacks E-MILES' spectrum of \[M/H\] 0, 10 Gyr"),
        (lambda f: without(f, "ssp_mass"), "its table of masses .* lacks"),
        (lambda f: {name: content[:3000] for name, content in f.items()}, "is no E-MILES spectrum"),
        (lambda f: f | {"Eun1.30Zp0.30T10.0000_iPp0.00_baseFe.fits": spectrum_file(1.0)}, "lacks|none of"),
        (
            lambda f: f | {next(name for name in f if "Zp" in name): spectrum_file(-1.0)},
            "is no E-MILES spectrum .*positive",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, files, change, words):
    with pytest.raises(InputError, match=words) as error:
        ssp_from_emiles(in_folder(tmp_path, change(files)))
    assert str(tmp_path) in str(error.value) and len(error.value.lines) == 1


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "ppxf.tar.gz").write_bytes(b"no archive")
    for source in (tmp_path / "ppxf.tar.gz", tmp_path / "absent.tar.gz"):
        with pytest.raises(InputError, match=r"has to be ppxf-8\.2\.1\.tar\.gz or a folder"):
            ssp_from_emiles(source)


@pytest.mark.skipif(not REAL, reason="POPINFER_EMILES doesn't name ppxf-8.2.1.tar.gz")
def test_colors_and_light_are_those_its_authors_publish(tmp_path):
    """The table of SDSS magnitudes per Msun (Vazdekis et al. 2012) that lies beside the spectra.

    It was made of an earlier version of the spectra, MIUSCAT, which has less light in u.
    """
    write_ssp(ssp_from_emiles(REAL), tmp_path / "emiles.h5")
    ssp = load_ssp(tmp_path / "emiles.h5")
    with tarfile.open(REAL) as archive:
        name = next(name for name in archive.getnames() if "sdss_miuscat_UN1.30" in name)
        member = archive.extractfile(name)
        assert member is not None
        lines = [line.split() for line in member.read().decode().splitlines() if not line.startswith("#")]
    published = {(round(float(row[2]), 2), float(row[3])): np.array(row[4:8], dtype=float) for row in lines}
    distance = 4 * np.pi * (10 * units.pc).to_value("cm") ** 2
    zero = -2.5 * np.log10(constants.L_sun.to_value("erg/s") / distance) - 48.6 + 2.5 * np.log10(KROUPA)
    compared = 0
    for met, label in enumerate((-1.71, -1.31, -0.71, -0.40, 0.0, 0.22)):
        for age, lg_age in enumerate(ssp.ssp_lg_age_gyr):
            theirs = [
                mags
                for (at, t), mags in published.items()
                if abs(at - label) < 0.015 and abs(t / 10**lg_age - 1) < 2e-3
            ]
            if not theirs or lg_age < np.log10(0.062):
                continue
            off = magnitudes(ssp, met, age) + zero - theirs[0]
            assert np.all(np.abs(off) < [0.06, 0.04, 0.01, 0.01]), (label, 10**lg_age, off)
            compared += 1
    assert compared == 150


def magnitudes(ssp, met, age):
    """AB magnitudes of Lsun/Hz, by an integral of its own."""
    filters, mags = load_filters(SDSS), []
    for wave, trans in zip(filters.wave, filters.trans, strict=True):
        grid = np.arange(float(wave[0]), float(wave[-1]), 1.0)
        weight = np.interp(grid, wave, trans) / grid
        light = np.interp(grid, ssp.ssp_wave, np.asarray(ssp.ssp_flux)[met, age])
        mags.append(-2.5 * np.log10(light @ weight / weight.sum()))
    return np.array(mags)
