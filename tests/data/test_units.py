"""Units as files write them, against astropy's own conversion to AB magnitudes."""

import numpy as np
import pytest
from astropy import units as u

from popinfer.data.units import FLUX_UNITS, FileUnit, flux_factor, parse_unit

AB_OF_JY = {"Jy": 1.0, "mJy": 1e-3, "uJy": 1e-6, "nJy": 1e-9, "MJy": 1e6}


@pytest.mark.parametrize(("text", "jy"), AB_OF_JY.items())
def test_fluxes_as_astropy_converts_them(text, jy):
    expected = (1 * u.Unit(text)).to(u.ABmag).value
    unit = parse_unit(text)
    assert unit is not None and unit.kind == "flux" and not unit.inverse_variance
    # astropy's AB zero point is 3631 Jy to a part in 1e5
    assert unit.ab == pytest.approx(expected, abs=1e-4)
    assert unit.ab == pytest.approx(-2.5 * np.log10(jy / 3631), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "ab"),
    [
        ("nanomaggies", 22.5),
        ("Nanomaggy", 22.5),
        ("nMgy", 22.5),
        ("nmgy", 22.5),
        ("maggies", 0.0),
        ("mgy", 0.0),
        ("3.631 uJy", 22.5),
        ("3.631e-6 Jy", 22.5),
        ("\u00b5Jy", FLUX_UNITS["uJy"]),
        ("\u03bcJy", FLUX_UNITS["uJy"]),
        ("microJy", FLUX_UNITS["uJy"]),
        ("microjanskys", FLUX_UNITS["uJy"]),
        ("nanojansky", FLUX_UNITS["nJy"]),
        ("micro-Jansky", FLUX_UNITS["uJy"]),
        ("Milli Jansky", FLUX_UNITS["mJy"]),
        ("MJy", FLUX_UNITS["Jy"] - 15.0),
        ("1e-9 MJy", FLUX_UNITS["mJy"]),
        ("JY", FLUX_UNITS["Jy"]),
        ("[uJy]", FLUX_UNITS["uJy"]),
        ("maggie", 0.0),
        ("nmaggies", 22.5),
        ("nanomaggie", 22.5),
        ("nano-maggies", 22.5),
        ("1e-9 maggie", 22.5),
        ("1.0e-9 maggies", 22.5),
        ("10^-9 maggies", 22.5),
        ("10**(-9) mgy", 22.5),
        ("micromaggies", 15.0),
        ("cgs", FLUX_UNITS["cgs"]),
        ("ergs / sec / cm^2 / Hz", FLUX_UNITS["cgs"]),
        (" nJy \n", FLUX_UNITS["nJy"]),
        ("erg / (Hz s cm2)", FLUX_UNITS["cgs"]),
        ("erg s-1 cm-2 Hz-1", FLUX_UNITS["cgs"]),
        ("10**-29 erg/s/cm2/Hz", FLUX_UNITS["uJy"]),
        ("1e-32 W / (Hz m2)", FLUX_UNITS["uJy"]),
    ],
)
def test_fluxes_as_surveys_write_them(text, ab):
    unit = parse_unit(text)
    assert unit is not None and unit.kind == "flux" and not unit.inverse_variance
    assert unit.ab == pytest.approx(ab, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mag", "mag"),
        ("mags", "mag"),
        ("Magnitude", "mag"),
        ("mag(1)", "mag"),
        ("mag(AB)", "ab"),
        ("ABmag", "ab"),
        ("AB mag", "ab"),
        ("vegamag", "vega"),
        ("mag(Vega)", "vega"),
        ("Vega mag", "vega"),
        ("luptitude", "luptitude"),
        ("asinh mag", "luptitude"),
        ("mag(ST)", "other"),
        ("STmag", "other"),
        ("mag_AB", "ab"),
        ("mag [AB]", "ab"),
        ("AB magnitudes", "ab"),
        ("magnitude (Vega)", "vega"),
        ("[mag]", "mag"),
        ("mag(Jy)", "other"),
        ("dex(Jy)", "other"),
        ("mag/arcsec2", "other"),
        ("dex", "other"),
        ("dB", "other"),
        ("Jy2", "other"),
        ("1/Jy", "other"),
        ("erg/s/cm2/Angstrom", "other"),
        ("MJy/sr", "other"),
        ("mJy/beam", "other"),
        ("km/s", "other"),
        ("%", "other"),
        ("electron/s", "uncalibrated"),
        ("e-/s", "uncalibrated"),
        ("counts", "uncalibrated"),
        ("ct", "uncalibrated"),
        ("ADU", "uncalibrated"),
        ("DN/s", "uncalibrated"),
        ("photons", "uncalibrated"),
        ("log10(Jy)", "unknown"),
        ("FLUXCAL", "unknown"),
        ("3.631*10^-6 Jy", "unknown"),
        ("(" * 3000, "unknown"),
        ("10**400 Jy", "unknown"),
        ("1/" * 2000 + "Jy", "unknown"),
    ],
)
def test_kinds(text, kind):
    assert parse_unit(text).kind == kind
    assert not parse_unit(text).inverse_variance


@pytest.mark.parametrize("text", [None, "", "  ", "1", "None", "-", "--", "n/a", "null", "dimensionless"])
def test_no_unit(text):
    assert parse_unit(text) is None


@pytest.mark.parametrize(
    "text",
    ["1 / nanomaggy^2", "1/nanomaggies**2", "nanomaggies^-2", "nanomaggy^(-2)", "nmgy-2", "1 / (nanomaggy2)"],
)
def test_inverse_variances_of_nanomaggies(text):
    assert parse_unit(text) == FileUnit("flux", 22.5, inverse_variance=True)


@pytest.mark.parametrize(
    ("text", "kind", "ab"),
    [
        ("uJy-2", "flux", FLUX_UNITS["uJy"]),
        ("1 / uJy2", "flux", FLUX_UNITS["uJy"]),
        ("1/mag^2", "mag", np.nan),
        ("mag-2", "mag", np.nan),
        ("ABmag-2", "ab", np.nan),
    ],
)
def test_other_inverse_variances(text, kind, ab):
    unit = parse_unit(text)
    assert unit is not None and (unit.kind, unit.inverse_variance) == (kind, True)
    np.testing.assert_allclose(unit.ab, ab, atol=1e-9)


def test_factor_between_units():
    assert flux_factor(FLUX_UNITS["uJy"], FLUX_UNITS["nJy"]) == pytest.approx(1000.0)
    assert flux_factor(FLUX_UNITS["nmgy"], FLUX_UNITS["uJy"]) == pytest.approx(3.631)


@pytest.mark.parametrize("text", ["mmag", "mmags", "millimag", "milli-magnitudes", "0.001 mag"])
def test_thousandths_of_magnitudes(text):
    assert parse_unit(text) == FileUnit("mag", in_mag=1e-3)


@pytest.mark.parametrize("text", ["mmag-2", "1/mmag^2", "1 / millimag**2"])
def test_inverse_variances_of_thousandths(text):
    assert parse_unit(text) == FileUnit("mag", inverse_variance=True, in_mag=1e-3)
