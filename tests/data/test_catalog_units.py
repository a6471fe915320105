"""Units: the file's are believed, contradictions are refused, and every scale gives the same magnitudes."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits as pyfits
from astropy.table import Table

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.filters import vega_to_ab
from popinfer.data.photometric_units import (
    AB_OF_UNIT,
    UnitError,
    from_luptitudes,
    parse_unit,
    to_luptitudes,
)
from tests.support.base_catalog import BANDS, NMGY, bands, base, fluxes, read, refusal, with_units


@pytest.fixture
def fits(tmp_path):
    """Write the base catalog with units as FITS; fluxes and errors are scaled to theirs."""

    def write(suffix=".ecsv", flux=1.0, error=1.0, **units):
        frame = base()
        for b in BANDS:
            frame[f"F{b}"] *= flux
            frame[f"S{b}"] *= error
        path = tmp_path / f"base{suffix}"
        table = with_units(frame, **units)
        table.write(path, overwrite=True, **({"format": "ascii.ecsv"} if suffix == ".ecsv" else {}))
        return path

    return write


def assert_base(catalog, rtol=1e-6):
    frame = base()
    np.testing.assert_allclose(catalog.mag, frame[list(BANDS)], atol=1e-3 if rtol > 1e-9 else 1e-9)
    np.testing.assert_allclose(catalog.mag_err, frame[[f"e{b}" for b in BANDS]], rtol=rtol)


@pytest.mark.parametrize(
    ("text", "jansky"),
    [
        ("nJy", 1e-9),
        ("uJy", 1e-6),
        ("µJy", 1e-6),
        ("microJy", 1e-6),
        ("microjansky", 1e-6),
        ("nanoJansky", 1e-9),
        ("mJy", 1e-3),
        ("Jy", 1.0),
        ("Jansky", 1.0),
        ("MJy", 1e6),
        ("nanomaggies", NMGY),
        ("nanomaggy", NMGY),
        ("nmgy", NMGY),
        ("nMgy", NMGY),
        ("maggies", 3631.0),
        ("Mgy", 3631.0),
        ("3.631e-6 Jy", NMGY),
        ("3.631*10^-6 Jy", NMGY),
        ("erg / (s cm2 Hz)", 1e23),
        ("ergs/s/cm^2/Hz", 1e23),
        ("erg cm^-2 sec^-1 Hz^-1", 1e23),
        ("1e-29 erg / (s cm2 Hz)", 1e-6),
        ("10**-29 erg/(s cm2 Hz)", 1e-6),
        ("W / (m2 Hz)", 1e26),
    ],
)
def test_flux_units_of_files(text, jansky):
    scale = parse_unit(text)
    assert scale.kind == "flux" and scale.power == 1
    expected = u.Quantity(jansky, "Jy").to_value(u.ABmag)
    assert scale.ab == pytest.approx(expected, abs=3e-4)  # astropy's AB zero is 3630.78 Jy


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("1/nJy2", -2),
        ("1 / nJy2", -2),
        ("nJy**-2", -2),
        ("nJy-2", -2),
        ("nJy^2", 2),
        ("1/nanomaggies^2", -2),
        ("nanomaggies^-2", -2),
        ("1/nanomaggy^2", -2),
    ],
)
def test_powers_of_flux_units(text, power):
    scale = parse_unit(text)
    assert (scale.kind, scale.power) == ("flux", power)
    assert scale.ab == pytest.approx(AB_OF_UNIT["nJy" if "nJy" in text else "nmgy"])


@pytest.mark.parametrize(
    ("text", "kind", "system"),
    [
        ("mag", "mag", None),
        ("Magnitudes", "mag", None),
        ("[mag]", "mag", None),
        ("mag(AB)", "mag", "ab"),
        ("AB mag", "mag", "ab"),
        ("ABmag", "mag", "ab"),
        ("mag_AB", "mag", "ab"),
        ("AB", "mag", "ab"),
        ("mag(Vega)", "mag", "vega"),
        ("Vega mag", "mag", "vega"),
        ("luptitudes", "luptitude", None),
        ("asinh mag", "luptitude", None),
    ],
)
def test_magnitude_units_of_files(text, kind, system):
    scale = parse_unit(text)
    assert (scale.kind, scale.system, scale.power) == (kind, system, 1)


@pytest.mark.parametrize("text", [None, "", " ", "-", "---", "None", "unitless", "dimensionless"])
def test_files_that_say_nothing(text):
    assert parse_unit(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("electron/s", "isn't calibrated"),
        ("ADU", "isn't calibrated"),
        ("counts", "isn't calibrated"),
        ("DN/s", "isn't calibrated"),
        ("e-/s", "isn't calibrated"),
        ("mag(ct/s)", "instrumental"),
        ("STmag", "ST magnitudes"),
        ("mag(ST)", "ST magnitudes"),
        ("erg / (s cm2 Angstrom)", "per wavelength"),
        ("1e-17 erg/s/cm2/Angstrom", "per wavelength"),
        ("km/s", "no magnitude and no flux"),
        ("MJy/sr", "no magnitude and no flux"),
        ("mag/arcsec2", "no magnitude and no flux"),
        ("%", "fraction"),
        ("furlong per fortnight", "isn't a unit that is known"),
    ],
)
def test_units_that_are_no_photometry(text, why):
    with pytest.raises(UnitError, match=why):
        parse_unit(text)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".hdf5", ".parquet"])
def test_the_files_unit_is_used(fits, suffix, tmp_path):
    if suffix in (".ecsv", ".fits"):
        path = fits(suffix, flux=3631.0, error=3631.0, F="nJy", S="nJy")
    else:
        frame = base()
        table = with_units(frame, F="nJy", S="nJy")
        for b in BANDS:
            for kind in "FS":
                table[f"{kind}{b}"] *= 3631.0
        path = tmp_path / f"base{suffix}"
        table.write(path, **({"path": "t", "serialize_meta": True} if suffix == ".hdf5" else {}))
    assert_base(read(path, fluxes()))


def test_a_unit_that_contradicts_the_file_is_refused(fits):
    path = fits(flux=3631.0, error=3631.0, F="nJy", S="nJy")
    message = refusal(path, fluxes(unit="uJy"))
    assert "unit: uJy" in message and "'Fu' is in 'nJy'" in message and "leave unit out" in message
    assert_base(read(path, fluxes(unit="nJy")))
    assert_base(read(path, fluxes(unit="nJy", error_unit="nJy")))


def test_the_file_can_be_overruled(fits):
    path = fits(flux=1.0, error=1.0, F="nJy", S="nJy")
    assert_base(read(path, fluxes(unit="nmgy"), file_units="ignore"))


@pytest.mark.parametrize("unit", ["mag", "maggies", "nmgy", "cgs", "luptitude"])
def test_other_kinds_of_units_contradict_the_file_too(fits, unit):
    settings = {"softening": 1e-10} if unit == "luptitude" else {}
    message = refusal(fits(F="uJy", S="uJy"), fluxes(unit=unit, **settings))
    assert f"unit: {unit}" in message and "'uJy'" in message


def test_flux_and_error_in_different_units(fits):
    path = fits(flux=3631.0, error=3.631, F="nJy", S="uJy")
    assert_base(read(path, fluxes()))
    assert_base(read(path, fluxes(unit="nJy", error_unit="uJy")))
    assert "error_unit: nJy" in refusal(path, fluxes(error_unit="nJy"))


def test_error_unit_without_a_word_of_the_file(fits):
    path = fits(flux=3631.0, error=3.631)
    assert_base(read(path, fluxes(unit="nJy", error_unit="uJy")))


def test_inverse_variances_in_another_unit(tmp_path):
    frame = base()
    for b in BANDS:
        frame[f"S{b}"] = (frame[f"S{b}"] * 3.631) ** -2.0  # 1/uJy^2
        frame[f"F{b}"] *= 3631.0
    path = tmp_path / "base.ecsv"
    with_units(frame, F="nJy", S="1 / uJy2").write(path, format="ascii.ecsv")
    assert_base(read(path, fluxes(error_kind="ivar")))
    message = refusal(path, fluxes())
    assert "error_kind: sigma" in message and "'Su'" in message and "ivar" in message


def test_variances_and_inverse_variances_are_told_by_their_units(fits):
    assert "is a variance" in refusal(fits(F="nJy", S="nJy2"), fluxes())
    assert "is a variance" in refusal(fits(F="nJy2", S="nJy"), fluxes())
    assert "that of error_kind: sigma" in refusal(fits(F="nJy", S="nJy"), fluxes(error_kind="ivar"))


def test_a_flux_with_its_error_in_magnitudes(fits):
    path = fits(F="nmgy", e="mag")
    assert_base(read(path, bands("F{}", "e{}")))


def test_a_magnitude_with_its_error_in_flux_is_refused(fits):
    message = refusal(fits(S="nmgy"), bands("{}", "S{}"))
    assert "'u' is a magnitude" in message and "'Su' a flux" in message


@pytest.mark.parametrize("unit", ["electron/s", "ADU", "erg / (s cm2 Angstrom)", "MJy/sr"])
@pytest.mark.parametrize("given", [None, "nmgy"])
def test_columns_that_are_not_calibrated(fits, unit, given):
    message = refusal(fits(F=unit), fluxes(unit=given))
    assert "'Fu'" in message and "file_units: ignore" in message


def test_unknown_units(fits):
    path = fits(".fits", F="bananas")
    message = refusal(path, fluxes())
    assert "'bananas'" in message and "run file has to say" in message
    catalog = read(path, fluxes(unit="nmgy"))
    assert_base(catalog)
    assert any("'bananas'" in text and "unit: nmgy is used" in text for text in catalog.warnings)


def test_maggies_and_millijansky(fits):
    assert_base(read(fits(flux=1e-9, error=1e-9), fluxes(unit="maggies")))
    assert_base(read(fits(".fits", flux=3.631e-3, error=3.631e-3), fluxes(unit="mJy")))


def test_fluxes_in_units_without_a_name(fits):
    path = fits(flux=10.0, error=10.0)
    assert_base(read(path, fluxes(ab_of_unit=25.0)))
    with_file = fits(flux=10.0, error=10.0, F="nmgy", S="nmgy")
    assert "ab_of_unit_mag: 25" in refusal(with_file, fluxes(ab_of_unit=25.0))
    assert "keep one" in refusal(with_file, fluxes(ab_of_unit=25.0, unit="nmgy"))


SOFTENING = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}


def luptitudes():
    """The base catalog with asinh magnitudes from the published formulae."""
    frame = base()
    for b, soft in SOFTENING.items():
        x = frame[f"F{b}"] * 1e-9 / (2 * soft)
        frame[b] = -2.5 / np.log(10) * (np.arcsinh(x) + np.log(soft))
        frame[f"e{b}"] = 2.5 / np.log(10) * frame[f"S{b}"] * 1e-9 / (2 * soft) / np.sqrt(1 + x**2)
    return frame


def test_asinh_magnitudes(tmp_path):
    path = tmp_path / "base.parquet"
    luptitudes().to_parquet(path)
    assert_base(read(path, bands(unit="luptitude")), rtol=1e-10)
    named = {b: BandColumns("hsc_r", b, f"e{b}", unit="luptitude", softening=SOFTENING[b]) for b in BANDS}
    assert_base(read(path, named), rtol=1e-10)
    del named["g"], named["u"]
    named["r"] = BandColumns("hsc_r", "r", "er", unit="luptitude")
    assert "band r: asinh magnitudes need their softening" in refusal(path, named)
    assert "softening is for asinh magnitudes" in refusal(path, bands(softening=1e-10))


def test_asinh_magnitudes_that_the_file_declares(tmp_path):
    path = tmp_path / "base.ecsv"
    table = Table.from_pandas(luptitudes())
    for b in BANDS:
        table[b].unit = "mag" if b in "ug" else None
    table.write(path, format="ascii.ecsv")
    assert_base(read(path, bands(unit="luptitude")), rtol=1e-10)


def test_asinh_magnitudes_of_no_flux_are_no_detections(tmp_path):
    frame = luptitudes()
    frame.loc[:9, "u"], frame.loc[:9, "eu"] = 24.63, 0.5  # SDSS' magnitude of zero flux
    frame.loc[10:19, "u"] = 25.5
    path = tmp_path / "base.parquet"
    frame.to_parquet(path)
    catalog = read(path, bands(unit="luptitude"))
    assert dict(catalog.dropped)["flux of u not positive"] >= 10
    assert catalog.z.size + sum(n for _, n in catalog.dropped) == len(frame)


@pytest.mark.parametrize("soft", [0.9e-10, 7.4e-10])
def test_asinh_magnitudes_there_and_back(soft):
    flux = np.array([-3e-10, 0.0, 1e-11, 1e-9, 1e-6])
    err = np.full(5, 1e-10)
    mag, mag_err = to_luptitudes(flux, err, soft)
    back, back_err = from_luptitudes(mag, mag_err, soft)
    np.testing.assert_allclose(back, flux, rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(back_err, err, rtol=1e-9)
    step = 1e-16
    derivative = (to_luptitudes(flux + step, err, soft)[0] - mag) / step
    np.testing.assert_allclose(mag_err, np.abs(derivative) * err, rtol=1e-3)


def test_vega_magnitudes(tmp_path):
    frame = base()
    for b in BANDS:
        frame[b] -= vega_to_ab(f"sdss_{b}0")
    path = tmp_path / "base.parquet"
    frame.to_parquet(path)
    assert_base(read(path, bands(system="vega")), rtol=1e-10)
    assert 0.85 < vega_to_ab("sdss_u0") < 1.0  # 0.91 in the literature


def write_fits(path, frame, **units):
    """FITS whose TUNIT are written as they are; a key is the first letter of its columns' names."""
    columns = [
        pyfits.Column(
            name, "D", array=frame[name].to_numpy(), unit=units.get(name[0] if len(name) < 3 else name)
        )
        for name in frame
        if name == "zs" or len(name) <= 2
    ]
    pyfits.BinTableHDU.from_columns(columns).writeto(path)


def test_vega_magnitudes_that_the_file_declares(tmp_path):
    frame = base()
    for b in BANDS:
        frame[b] -= vega_to_ab(f"sdss_{b}0")
    path = tmp_path / "base.fits"
    write_fits(path, frame, **dict.fromkeys(BANDS, "mag(Vega)"))
    assert_base(read(path, bands()), rtol=1e-10)
    assert_base(read(path, bands(system="vega")), rtol=1e-10)
    assert "system: ab" in refusal(path, bands(system="ab"))


@pytest.mark.parametrize("word", ["nanomaggies", "nanomaggy", "3.631*10^-6 Jy"])
def test_nanomaggies_in_the_header_of_a_fits_file(tmp_path, word):
    path = tmp_path / "base.fits"
    write_fits(path, base(), F=word, S=word)
    assert_base(read(path, fluxes()))
    assert "'Fu' is in" in refusal(path, fluxes(unit="uJy"))


def test_systems_that_contradict_the_file(fits):
    path = fits(".ecsv", u="mag(AB)")
    assert_base(read(path, bands()))
    message = refusal(path, bands(system="vega"))
    assert "system: vega" in message and "AB magnitudes" in message


def test_vega_fluxes_are_refused(fits):
    assert "system: vega is for magnitudes" in refusal(fits(), fluxes(unit="nmgy", system="vega"))


def test_units_of_extinction_and_redshift(tmp_path):
    frame = base()
    frame["a"] = 0.1
    table = Table.from_pandas(frame)
    table["a"].unit = "nJy"
    path = tmp_path / "base.ecsv"
    table.write(path, format="ascii.ecsv")
    columns = {"r": BandColumns("sdss_r0", "r", "er", extinction="a")}
    assert "'a' is in 'nJy'; extinction has to be in mag" in refusal(path, columns)
    table["a"].unit, table["zs"].unit = "mag", "km/s"
    table.write(path, format="ascii.ecsv", overwrite=True)
    message = refusal(path, columns)
    assert "'zs' is in 'km / s'" in message and "299792.458" in message
    table["zs"].unit = "Mpc"
    table.write(path, format="ascii.ecsv", overwrite=True)
    assert "has no unit" in refusal(path, columns)
    table["zs"].unit = ""
    table.write(path, format="ascii.ecsv", overwrite=True)
    np.testing.assert_allclose(read(path, columns).mag[:, 0], frame.r - 0.1)


def test_a_constant_error_is_in_the_values_unit(fits):
    path = fits(F="nmgy")
    catalog = read(path, {b: BandColumns(f"sdss_{b}0", f"F{b}", 2.0) for b in "gr"})
    np.testing.assert_allclose(catalog.mag_err[:, 1], 2.0 / base().Fr * 2.5 / np.log(10))
    catalog = read(path, {b: BandColumns(f"sdss_{b}0", b, 0.03) for b in "gr"})
    np.testing.assert_array_equal(catalog.mag_err, 0.03)
    catalog = read(path, {"r": BandColumns("sdss_r0", "Fr", 0.03, error_unit="mag")})
    np.testing.assert_allclose(catalog.mag_err, 0.03)
    for error, why in ((0.0, "above 0"), (-1.0, "above 0"), (np.nan, "above 0"), (np.inf, "above 0")):
        assert why in refusal(path, {"r": BandColumns("sdss_r0", "r", error)})
    message = refusal(path, {"r": BandColumns("sdss_r0", "r", 0.1, error_kind="ivar")})
    assert "standard deviation" in message


def test_embedded_sample_by_its_name():
    catalog = load_catalog(CatalogSpec("sdss_mgs", bands(only="gr"), redshift="zs", id=None))
    assert catalog.id is None and catalog.warnings == () and catalog.extinction == (None, None)
