"""Values of catalogs: units that files state, magnitudes of every kind, and what is no measurement."""

import dataclasses

import astropy.units as u
import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from sedpy.observate import Filter

from popinfer.config import RunConfig
from popinfer.config.survey import BandConfig
from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.filters import vega_to_ab
from popinfer.errors import InputError
from popinfer.run.catalog import build_catalog, without
from tests.support.base_catalog import FORMATS, write

LN = np.log(10) / 2.5
every_format = pytest.mark.parametrize("suffix", FORMATS)
two_formats = pytest.mark.parametrize("suffix", ["fits", "parquet"])
SOFTENING = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}


def flux_band(**keys):
    return {"r": ("f_r", "s_r", keys)}


def in_units(base, value, error=None, power=1):
    """The r band's fluxes and errors as numbers in other units than nanomaggies."""
    error = value if error is None else error
    nmgy = 3.631e-6 * u.Jy
    return base.assign(
        f_r=base.f_r * nmgy.to_value(u.Unit(value)), s_r=(base.s_r * nmgy.to_value(u.Unit(error))) ** power
    )


# ---- units that the file states ----


@every_format
@pytest.mark.parametrize("unit", ["nJy", "uJy", "mJy", "Jy", "erg / (Hz s cm2)"])
def test_unit_of_the_file_is_used(load, base, suffix, unit):
    catalog = load(in_units(base, unit), suffix, {"f_r": unit, "s_r": unit}, flux_band())
    expected = (in_units(base, unit).f_r.to_numpy() * u.Unit(unit)).to(u.ABmag).value
    np.testing.assert_allclose(catalog.mag[:, 0], expected, atol=1e-4)  # astropy's AB is 3631 Jy to 1e-5
    np.testing.assert_allclose(catalog.mag[:, 0], base.r, atol=1e-9)
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)


@every_format
def test_another_unit_than_the_files_is_refused(refused, base, suffix):
    message = refused(in_units(base, "nJy"), suffix, {"f_r": "nJy", "s_r": "nJy"}, flux_band(unit="uJy"))
    assert "band r: column 'f_r' is in 'nJy'" in message and "unit: uJy" in message


@every_format
def test_errors_in_another_unit_than_the_values(load, base, suffix):
    frame = in_units(base, "nJy", "uJy")
    catalog = load(frame, suffix, {"f_r": "nJy", "s_r": "uJy"}, flux_band())
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)
    by_hand = load(frame, suffix, None, flux_band(unit="nJy", error_unit="uJy"))
    np.testing.assert_allclose(by_hand.mag_err, catalog.mag_err, rtol=1e-12)


@two_formats
def test_contradicting_unit_of_errors(refused, base, suffix):
    units = {"f_r": "nJy", "s_r": "nJy"}
    message = refused(in_units(base, "nJy"), suffix, units, flux_band(error_unit="uJy"))
    assert "'s_r' is in 'nJy'" in message and "error_unit: uJy" in message


@every_format
def test_inverse_variance_with_its_unit(load, refused, base, suffix):
    frame, units = in_units(base, "nJy", "uJy", -2), {"f_r": "nJy", "s_r": "1 / uJy2"}
    catalog = load(frame, suffix, units, flux_band(error_kind="ivar"))
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)
    assert "an inverse variance; set error_kind: ivar" in refused(frame, suffix, units, flux_band())
    units["s_r"] = "uJy"
    message = refused(frame, suffix, units, flux_band(error_kind="ivar"))
    assert "no inverse variance; leave error_kind: ivar out" in message


def test_inverse_variance_of_magnitudes_with_its_unit(load, base):
    bands = {"r": ("r", "ivar", {"error_kind": "ivar"})}
    catalog = load(base.assign(ivar=base.er**-2), "ecsv", {"r": "mag", "ivar": "1 / mag2"}, bands)
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)


@pytest.mark.parametrize(
    ("unit", "factor"), [("maggy", 1e-9), ("nmgy", 1.0), ("mJy", 3.631e-3), ("uJy", 3.631), ("nJy", 3631.0)]
)
def test_unit_of_the_run_file(load, base, unit, factor):
    frame = base.assign(f_r=factor * base.f_r, s_r=factor * base.s_r)
    catalog = load(frame, bands=flux_band(unit=unit))
    np.testing.assert_allclose(catalog.mag[:, 0], base.r, atol=1e-9)
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)


@every_format
@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("electron / s", "counts of a detector"),
        ("adu", "counts of a detector"),
        ("erg / (s cm2 Angstrom)", "no flux per frequency"),
        ("km / s", "no flux per frequency"),
        ("mag / arcsec2", "no flux per frequency"),
    ],
)
def test_units_that_are_no_photometry(refused, base, suffix, unit, says):
    message = refused(base, suffix, {"f_r": unit}, flux_band())
    assert says in message and "'f_r' is in '" in message


@two_formats
@pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")
@pytest.mark.filterwarnings("ignore:The unit:astropy.utils.exceptions.AstropyUserWarning")
def test_a_unit_that_nobody_knows(refused, load, base, suffix, tmp_path):
    path = tmp_path / f"b.{suffix}"
    write(path, base, {"f_r": "nJy"})
    if suffix == "fits":
        fits.setval(path, "TUNIT" + str(list(base).index("f_r") + 1), value="FLUXCAL", ext=1)
    else:
        frame = base.copy()
        frame.attrs["units"] = {"f_r": "FLUXCAL"}
        frame.to_parquet(path)
    bands = {"r": BandColumns("sdss_r0", "f_r", "s_r")}
    with pytest.raises(InputError, match="'FLUXCAL', as the file says, which is no unit that is known"):
        load_catalog(CatalogSpec(path, bands, redshift="zs"))
    bands = {"r": dataclasses.replace(bands["r"], unit="nmgy")}
    with pytest.raises(InputError, match=r"'FLUXCAL', .* the run file has unit: nmgy; .* file_units: ignore"):
        load_catalog(CatalogSpec(path, bands, redshift="zs"))
    catalog = load_catalog(CatalogSpec(path, bands, redshift="zs", file_units="ignore"))
    np.testing.assert_allclose(catalog.mag[:, 0], base.r, atol=1e-9)


@two_formats
def test_magnitudes_in_the_file_and_fluxes_in_the_run_file(refused, base, suffix):
    bands = {"r": ("r", "er", {"unit": "nmgy"})}
    assert "'r' is in 'mag'" in refused(base, suffix, {"r": "mag"}, bands)
    assert "unit: mag" in refused(in_units(base, "nJy"), suffix, {"f_r": "nJy"}, flux_band(unit="mag"))


def test_errors_in_magnitudes_of_fluxes(load, base):
    catalog = load(base, "ecsv", {"f_r": "3.631 uJy", "er": "mag"}, {"r": ("f_r", "er", {})})
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)
    by_hand = load(base, bands={"r": ("f_r", "er", {"unit": "nmgy", "error_unit": "mag"})})
    np.testing.assert_allclose(by_hand.mag_err[:, 0], base.er, rtol=1e-9)


def test_flux_errors_of_magnitudes(refused, base):
    message = refused(base, "ecsv", {"r": "mag", "s_r": "uJy"}, {"r": ("r", "s_r", {})})
    assert "both have to be of one kind" in message


def test_redshift_with_a_unit(refused, base):
    assert "'zs' is in 'km / s'" in refused(base, "ecsv", {"zs": "km/s"})


# ---- magnitudes of other kinds ----


def luptitude(maggies, b):
    """The published relation of asinh magnitudes (Lupton, Gunn & Szalay 1999, equation 3)."""
    return -2.5 / np.log(10) * (np.arcsinh(maggies / (2 * b)) + np.log(b))


@pytest.mark.parametrize("band", "ugriz")
def test_luptitudes_round_trip(load, base, band):
    b = SOFTENING[band]
    maggies, sigma = 1e-9 * base[f"f_{band}"], 1e-9 * base[f"s_{band}"]
    step = 1e-6 * maggies
    slope = (luptitude(maggies + step, b) - luptitude(maggies - step, b)) / (2 * step)
    frame = base.assign(lup=luptitude(maggies, b), elup=sigma * np.abs(slope))
    catalog = load(frame, bands={band: ("lup", "elup", {"unit": "luptitude"})})
    np.testing.assert_allclose(catalog.mag[:, 0], base[band], atol=1e-9)
    np.testing.assert_allclose(catalog.mag_err[:, 0], base[f"e{band}"], rtol=1e-5)


def test_faint_luptitudes_differ_from_pogsons(load, base):
    """At zero flux an asinh magnitude is -2.5 log10 b; at F = 2 b it is 0.96 mag brighter."""
    b = 1e-9
    frame = base.assign(lup=luptitude(2 * b, b), elup=0.2, zs=np.linspace(0.06, 0.12, 2000))
    frame.loc[:9, "lup"] = luptitude(np.linspace(-b, 0, 10), b)
    band = {"r": ("lup", "elup", {"unit": "luptitude", "softening": b})}
    catalog = load(frame, bands=band, implausible="warn")  # of one value in every row
    assert dict(catalog.dropped) == {"flux of r not positive": 10}
    np.testing.assert_allclose(catalog.mag[:, 0], -2.5 * np.log10(2 * b), atol=1e-9)
    # sigma_F / F = LN sigma sqrt(1 + (2 b / F)^2) with F = 2 b
    np.testing.assert_allclose(catalog.mag_err[:, 0], 0.2 * np.sqrt(2), rtol=1e-9)


def test_luptitudes_need_a_softening(tmp_path, base):
    path = write(tmp_path / "b.parquet", base)
    bands = {"r": BandColumns("hsc_r", "r", "er", unit="luptitude")}
    with pytest.raises(InputError, match="band r: unit: luptitude needs softening, in maggies"):
        load_catalog(CatalogSpec(path, bands, redshift="zs"))


@pytest.mark.parametrize("band", "ugriz")
def test_vega_magnitudes_as_sedpy_has_them(load, base, band):
    offset = Filter(f"sdss_{band}0").ab_to_vega  # m_Vega - m_AB
    bands = {band: (band, f"e{band}", {"system": "vega"})}
    catalog = load(base, bands=bands)
    np.testing.assert_allclose(catalog.mag[:, 0], base[band] - offset, atol=2e-3)
    assert (
        f"magnitudes of {band} are relative to Vega: {vega_to_ab(f'sdss_{band}0'):+.3f}" in catalog.notes[0]
    )


def test_vega_in_the_file_and_ab_in_the_file(load, refused, base, tmp_path):
    frame = base.copy()
    frame.attrs["units"] = {"r": "Vega mag"}
    frame.to_parquet(tmp_path / "v.parquet")
    spec = CatalogSpec(tmp_path / "v.parquet", {"r": BandColumns("sdss_r0", "r", "er")}, redshift="zs")
    np.testing.assert_allclose(load_catalog(spec).mag[:, 0], base.r + vega_to_ab("sdss_r0"), atol=1e-9)
    message = refused(base, "ecsv", {"r": "mag(AB)"}, {"r": ("r", "er", {"system": "vega"})})
    assert "'mag(AB)'" in message and "system: vega" in message
    message = refused(in_units(base, "nJy"), "ecsv", {"f_r": "nJy"}, flux_band(system="vega"))
    assert "system: vega is of magnitudes" in message


# ---- values that are no measurements ----


def spoilt(base, column, value, rows=60):
    frame = base.copy()
    frame.loc[: rows - 1, column] = value
    return frame


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("eu", 9.9e99, "error of u above 3 mag"),
        ("eu", 3.5, "error of u above 3 mag"),
        ("u", 0.0, "zero for a magnitude in u"),
        ("u", 99.0, "no magnitude in u"),
        ("u", np.nan, "no magnitude in u"),
        ("u", -np.inf, "infinite value in u"),
        ("eu", 0.0, "no error in u"),
        ("eu", np.inf, "infinite value in u"),
        ("u", 45.5, "implausible magnitude in u"),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv"])
def test_accidents_are_counted(load, base, column, value, reason, suffix, tmp_path):
    rows = 60 if value != 45.5 else 30  # 1.5 % that are no magnitude don't make a flux of a column
    frame = spoilt(base, column, value, rows)
    if suffix == "csv":
        frame.to_csv(tmp_path / "b.csv", index=False)
        spec = CatalogSpec(tmp_path / "b.csv", {"u": BandColumns("sdss_u0", "u", "eu")}, redshift="zs")
        catalog = load_catalog(spec)
    else:
        catalog = load(frame, suffix, bands={"u": ("u", "eu", {})})
    assert dict(catalog.dropped) == {reason: rows}
    np.testing.assert_allclose(catalog.mag[:, 0], base.u[rows:])


def test_a_magnitude_of_37_with_an_error_of_50(load, base):
    frame = base.copy()
    frame.loc[:9, ["u", "eu"]] = [37.0, 50.0]
    bands = {name: (name, f"e{name}", {}) for name in "ugr"}
    assert dict(load(frame, bands=bands).dropped) == {"error of u above 3 mag": 10}
    kept = load(frame, bands=bands, keep_missing=True, selection_band="r", mag_faint=17.5)
    assert np.isnan(kept.mag[:10, 0]).all()


@pytest.mark.parametrize(
    ("flux", "reason"),
    [(0.0, "flux of r not positive"), (-3.0, "flux of r not positive"), (1e-12, "error of r above 3 mag")],
)
def test_fluxes_that_are_no_measurements(load, base, flux, reason):
    catalog = load(spoilt(base, "f_r", flux), bands=flux_band(unit="nmgy"))
    assert dict(catalog.dropped) == {reason: 60}


def test_a_zero_point_that_carries_magnitudes_beyond_all(load, base):
    frame = spoilt(base, "u", 44.5, 30)
    catalog = load(frame, bands={"u": ("u", "eu", {"zero_point": 1.5})})
    assert dict(catalog.dropped) == {"implausible magnitude in u": 30}
    assert np.isfinite(catalog.mag).all()


@pytest.mark.parametrize("keep", [False, True])
def test_accidents_in_most_of_a_band(refused, base, keep):
    bands = {name: (name, f"e{name}", {}) for name in "ur"}
    keys = {"keep_missing": keep, "selection_band": "r", "mag_faint": 17.5, "implausible": "warn"}
    message = refused(spoilt(base, "u", 0.0, 1200), bands=bands, **keys)
    assert "1200 of 2000" in message and "zero for a magnitude in u (1200)" in message
    message = refused(spoilt(base, "eu", 9.9e99, 1200), bands=bands)
    assert "the median error is 9.9e+99 mag in column 'eu'" in message


def test_a_word_for_missing_that_isnt_listed(refused, base):
    message = refused(spoilt(base, "u", -9.0e8, 300), bands={"u": ("u", "eu", {})})
    assert "'u' holds -9e+08 in 300 rows" in message and "list it under missing" in message


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("zs", -9.0, "redshift not positive"),
        ("zs", -1.0, "redshift not positive"),
        ("u", 99.99, "implausible magnitude in u"),
        ("u", 3.4028235e38, "implausible magnitude in u"),
        ("u", 1.7976931348623157e308, "implausible magnitude in u"),
        ("u", -30.0, "implausible magnitude in u"),
        ("eu", 1e108, "error of u above 3 mag"),
        ("eu", 99.9, "error of u above 3 mag"),
        ("eu", 5e-324, None),
    ],
)
def test_further_words_of_surveys(load, base, column, value, reason):
    """What photometric pipelines and photo-z codes write for a value that wasn't measured."""
    catalog = load(spoilt(base, column, value, 30), bands={"u": ("u", "eu", {})})
    assert dict(catalog.dropped) == ({reason: 30} if reason else {})


@pytest.mark.parametrize("value", [99.99, 3.4028235e38, -30.0])
def test_such_words_in_many_rows(load, refused, base, value):
    """In more than 2 % of the rows the word has to be listed; then all are counted as not measured."""
    frame, bands = spoilt(base, "u", value, 300), {"u": ("u", "eu", {})}
    assert "in 300 rows; if that value means 'not measured', list it" in refused(frame, bands=bands)
    assert dict(load(frame, bands=bands, missing=(value,)).dropped) == {"no magnitude in u": 300}


def test_inverse_variances_of_zero_and_fluxes_of_bands_not_observed(load, base):
    frame = base.assign(ivar=base.s_u**-2)
    frame.loc[:9, "ivar"] = 0.0
    frame.loc[10:19, ["f_u", "ivar"]] = 0.0
    catalog = load(frame, bands={"u": ("f_u", "ivar", {"unit": "nmgy", "error_kind": "ivar"})})
    assert dict(catalog.dropped) == {"no error in u": 10, "flux of u not positive": 10}


def test_negative_errors_say_how_to_call_them_missing(refused, load, base):
    frame = spoilt(base, "eu", -9.0, 30)
    message = refused(frame, bands={"u": ("u", "eu", {})})
    assert "30 negative errors, the first in row 0 (-9)" in message and "list it under missing" in message
    assert dict(load(frame, bands={"u": ("u", "eu", {})}, missing=(-9,)).dropped) == {"no error in u": 30}


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("dex(Jy)", "no flux per frequency"),
        ("STmag", "no flux per frequency"),
        ("MJy/sr", "no flux per frequency"),
    ],
)
def test_further_units_that_are_no_photometry(refused, base, unit, says):
    for suffix in ("fits", "parquet"):
        assert says in refused(base, suffix, {"f_r": unit}, flux_band())


# ---- errors that are something else ----


def test_inverse_variance_given_as_sigma_of_magnitudes(refused, base):
    message = refused(base.assign(er=base.er**-2))
    assert "band r: the median error is 3.69e+04 mag in column 'er'" in message
    assert "is it an inverse variance? Then set error_kind: ivar" in message


def test_sigma_given_as_inverse_variance_of_magnitudes(refused, base):
    message = refused(base, bands={"r": ("r", "er", {"error_kind": "ivar"})})
    assert "the median error is 13.9 mag in column 'er'" in message
    assert "is it no inverse variance? Then leave error_kind: ivar out" in message


@pytest.mark.parametrize("band", "ugriz")
@pytest.mark.parametrize(("power", "kind"), [(-2, "sigma"), (1, "ivar")])
def test_inverse_variances_and_sigmas_of_fluxes_are_told_apart(refused, base, band, power, kind):
    """Medians are plausible there: it is the trend with brightness that tells."""
    frame = base.assign(error=base[f"s_{band}"] ** power)
    bands = {band: (f"f_{band}", "error", {"unit": "nmgy", "error_kind": kind})}
    message = refused(frame, bands=bands)
    assert "brighter galaxies have smaller errors of their flux" in message and "inverse variance?" in message


def test_errors_that_only_the_sky_makes_are_no_doubt(load, base):
    frame = base.assign(s_r=3.0 + 1e-9 * np.random.default_rng(1).normal(size=len(base)))
    catalog = load(frame, bands=flux_band(unit="nmgy"), implausible="warn")
    assert catalog.warnings == ()


def test_implausible_values_can_be_allowed(load, base):
    catalog = load(base.assign(er=base.er**-2 / 2e4), implausible="warn")
    assert len(catalog.warnings) == 1 and "inverse variance?" in catalog.warnings[0]


@pytest.mark.parametrize(("unit", "middle"), [("Jy", "3.2"), ("maggy", "-5.7")])
def test_nanomaggies_in_another_unit(refused, base, unit, middle):
    message = refused(base, bands=flux_band(unit=unit))
    assert f"the median AB magnitude from column 'f_r' is {middle}" in message and f"unit ({unit})" in message


def test_jansky_for_nanomaggies_leaves_no_galaxy_and_says_where_they_are(refused, base):
    message = refused(
        in_units(base, "Jy"),
        bands=flux_band(unit="nmgy"),
        selection_band="r",
        mag_faint=17.5,
        mag_bright=14.0,
    )
    assert "none of its 2000 rows is left" in message and "fainter than r = 17.5 (2000)" in message
    assert "r 30.4" in message


# ---- the same galaxy several times, names of galaxies ----


@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv", "hdf5"])
def test_four_copies(load, refused, base, suffix, tmp_path):
    frame = pd.concat([base] * 4, ignore_index=True)
    if suffix == "csv":
        path = tmp_path / "b.csv"
        frame.to_csv(path, index=False)
        with pytest.raises(InputError) as caught:
            load_catalog(CatalogSpec(path, {"r": BandColumns("sdss_r0", "r", "er")}, redshift="zs"))
        message = str(caught.value)
    else:
        message = refused(frame, suffix)
    assert "6000 of 8000 galaxies repeat another's redshift and all magnitudes, first in row 2000" in message
    assert "duplicates: allow" in message
    allowed = load(frame, duplicates="allow")
    assert allowed.z.size == 8000 and "6000 of 8000" in allowed.warnings[0]


def test_few_copies_are_said(load, base):
    catalog = load(pd.concat([base, base.iloc[:1]], ignore_index=True))
    assert catalog.z.size == 2001
    (said,) = catalog.warnings
    assert "1 of 2001 galaxies repeat another's redshift and all magnitudes, first in row 2000" in said


def test_copies_that_are_left_out_dont_count(load, base):
    frame = pd.concat([base, base.assign(zs=0.5)] * 2, ignore_index=True).iloc[: len(base) * 2]
    assert load(frame, z_max=0.2).warnings == ()
    twice = pd.concat([base.assign(zs=0.5)] * 2 + [base], ignore_index=True)
    assert load(twice, z_max=0.2).warnings == ()


BIG = 2**53 + 1 + 2 * np.arange(2000, dtype=np.int64)


@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv", "hdf5", "ecsv"])
def test_ids_keep_all_their_digits(load, base, suffix, tmp_path):
    frame = base.assign(objid=BIG, label=[f"J{i}#a" for i in range(2000)])
    if suffix == "csv":
        path = tmp_path / "b.csv"
        frame.to_csv(path, index=False)
        spec = CatalogSpec(path, {"r": BandColumns("sdss_r0", "r", "er")}, redshift="zs", id="objid")
        catalog = load_catalog(spec)
    else:
        catalog = load(frame, suffix, id="objid")
        assert load(frame, suffix, id="label").id[3] == "J3#a"
    assert catalog.id == tuple(str(i) for i in BIG)


def test_ids_stay_with_their_galaxies(load, base):
    frame = spoilt(base.assign(objid=BIG), "r", np.nan, 5)
    catalog = load(frame, id="objid")
    assert catalog.id[0] == str(BIG[5])
    bad = np.zeros(1995, bool)
    bad[[0, 2]] = True
    rest = without(catalog, bad, "a reason")
    assert rest.id[:2] == (str(BIG[6]), str(BIG[8])) and len(rest.id) == rest.z.size == 1993
    assert load(frame).id is None and without(load(frame), bad, "a reason").id is None


def test_repeated_and_empty_ids(load, refused, base):
    frame = base.assign(objid=np.arange(2000) // 2)
    message = refused(frame, id="objid")
    assert "1000 of 2000 galaxies repeat another's id (column 'objid'), first in row 1" in message
    assert load(frame, id="objid", duplicates="allow").z.size == 2000
    nameless = base.assign(objid=[None if i % 2 else f"g{i}" for i in range(2000)])
    assert load(nameless, id="objid").warnings == ()


@pytest.mark.parametrize("where", [(), ("objid > 5",)])
def test_an_id_that_is_a_number_too(refused, base, where):
    changes = {"id": "objid" if where else "er", "where": where}
    assert "is named as id and as numbers" in refused(base.assign(objid=BIG), **changes)


# ---- values that stand for missing, errors without a column ----


@pytest.mark.parametrize("missing", [(-77.0,), ("-77",), (-77,), ("-77.0", "INDEF")])
@pytest.mark.parametrize("suffix", ["parquet", "fits"])
def test_missing_adds_to_the_usual_values(load, base, missing, suffix):
    frame = base.copy()
    frame.loc[:2, "r"], frame.loc[3:4, "r"], frame.loc[5, "er"] = -77.0, -99.0, 999.0
    catalog = load(frame, suffix, missing=missing)
    assert dict(catalog.dropped) == {"no magnitude in r": 5, "no error in r": 1}


@pytest.mark.parametrize("word", ["INDEF", "--", "n/d"])
def test_words_for_missing_in_csv(base, word, tmp_path):
    frame = base.astype({"r": object})
    frame.loc[:2, "r"] = word
    frame.to_csv(tmp_path / "b.csv", index=False)
    spec = CatalogSpec(tmp_path / "b.csv", {"r": BandColumns("sdss_r0", "r", "er")}, redshift="zs")
    catalog = load_catalog(dataclasses.replace(spec, missing=(word,)))
    assert dict(catalog.dropped) == {"no magnitude in r": 3}


def test_error_that_is_a_number(load, base):
    catalog = load(base, bands={"r": ("r", 0.03, {})})
    np.testing.assert_allclose(catalog.mag_err[:, 0], 0.03)
    catalog = load(base, bands={"r": ("f_r", 0.03, {"unit": "nmgy", "error_unit": "mag"})})
    np.testing.assert_allclose(catalog.mag_err[:, 0], 0.03)
    catalog = load(base, bands={"r": ("f_r", 2.0, {"unit": "nmgy", "error_floor": 0.01})})
    np.testing.assert_allclose(catalog.mag_err[:, 0], np.hypot(2.0 / base.f_r / LN, 0.01), rtol=1e-9)


def test_extinction_that_is_none(refused, load, base):
    bands = {"r": ("r", "er", {"extinction": "a_r"})}
    assert "median extinction in column 'a_r' is -0.1 mag" in refused(base.assign(a_r=-0.1), bands=bands)
    assert "median extinction in column 'a_r' is 90 mag" in refused(base.assign(a_r=90.0), bands=bands)
    assert "extinction subtracted in r: 0.100 mag in the median (column 'a_r')" in (
        load(base.assign(a_r=0.1), bands=bands).notes
    )


# ---- conditions on rows ----


@pytest.fixture
def flagged(base):
    return base.assign(
        clean=np.arange(2000) % 2 == 0,
        flag=np.arange(2000) % 4,
        label="a",
        **{"my flag": np.arange(2000) % 4},
    )


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("clean", 1000),
        ("not clean", 1000),
        ("clean == True", 1000),
        ("clean != true", 1000),
        ("clean==false", 1000),
        ("flag == 0", 500),
        ("flag==0", 500),
        ("flag != 0", 1500),
        ("flag < 1", 500),
        ("flag <= 1", 1000),
        (" flag >= 1.0 ", 1500),
        ("flag > 1e0", 1000),
        ("my flag < 1", 500),
        ("r < 17.5", 2000),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "fits", "hdf5", "ecsv"])
def test_conditions(load, flagged, where, rows, suffix):
    catalog = load(flagged, suffix, where=(where,))
    assert catalog.z.size == rows
    assert dict(catalog.dropped) == ({f"not {where}": 2000 - rows} if rows < 2000 else {})


def test_several_conditions(load, flagged):
    catalog = load(flagged, where=("clean", "flag > 0", "r > 15"))
    expected = flagged[flagged.clean & (flagged.flag > 0) & (flagged.r > 15)]
    np.testing.assert_allclose(catalog.mag[:, 0], expected.r)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("celan", "has no column 'celan'; the nearest are 'clean'"),
        ("label", "'label'"),
        ("label == a", "has to be a column of true and false"),
        ("label < 3", "'label'"),
        ("flag = 0", "has to be a column of true and false"),
        ("flag & 4 == 0", "has to be a column of true and false"),
        ("0.1 < zs < 0.2", "write several conditions as a list"),
        ("zs > 0.1 and r < 17", "write several conditions as a list"),
        ("~clean", "'not column'"),
        ("", "has to be a column of true and false"),
        ("r < inf", "has to be a column"),
        ("r < nan", "has to be a column"),
        ("r < 1e400", "no finite number"),
        ("r < 1.2.3", "no finite number"),
        ("r < -", "no finite number"),
        ("flag > 9", "none of its 2000 rows is left: not flag > 9 (2000)"),
        ("r", "'r'"),
    ],
)
def test_conditions_that_are_refused(refused, flagged, where, says):
    assert says in refused(flagged, where=(where,))


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_masked_flags_are_not_met(tmp_path, flagged, suffix):
    table = Table(Table.from_pandas(flagged.drop(columns="label")), masked=True)
    table["flag"].mask[:100] = True
    path = tmp_path / f"m.{suffix}"
    table.write(path, format="fits" if suffix == "fits" else "ascii.ecsv")
    spec = CatalogSpec(path, {"r": BandColumns("sdss_r0", "r", "er")}, redshift="zs", where=("flag < 4",))
    assert dict(load_catalog(spec).dropped) == {"not flag < 4": 100}


def test_null_flags_are_not_met_either_way(load, flagged):
    flagged["clean"] = flagged.clean.astype("boolean")
    flagged.loc[:9, "clean"] = pd.NA
    assert load(flagged, where=("clean",)).z.size == 995
    assert load(flagged, where=("not clean",)).z.size == 995


def test_a_condition_sees_values_that_mean_missing_elsewhere(load, flagged):
    """-99 may be a flag's own value; a magnitude of -99 is none."""
    flagged.loc[:9, "flag"] = -99
    assert load(flagged, where=("flag == -99",)).z.size == 10
    flagged.loc[:9, "r"] = -99.0
    assert dict(load(flagged, where=("r < 18",)).dropped) == {"not r < 18": 10}


# ---- redshifts ----


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda z: 299792.458 * z, "is it a velocity in km/s? Divide by 299792.458"),
        (np.log10, "not its logarithm"),
        (lambda z: 0 * z + 0.1, "holds 0.1 in every row"),
        (lambda z: 0 * z, "holds 0 in every row"),
        (lambda z: z + np.nan, "none of its 2000 rows is left: no redshift (2000)"),
    ],
)
@two_formats
def test_columns_that_are_no_redshift(refused, base, changed, says, suffix):
    message = refused(base.assign(zs=changed(base.zs)), suffix)
    assert says in message


def test_a_magnitude_called_redshift(refused, base):
    bands = {"r": ("r", "er", {})}
    assert "'r' is named as the redshift and in band r" in refused(base, bands=bands, redshift="r")
    message = refused(base, bands=bands, redshift="i", z_max=0.2)
    assert "none of its 2000 rows is left" in message and "redshift 16.46" in message


# ---- descriptions that can't be right ----


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"zero_point": 5.0}, "zero_point 5 has to lie within +-2 mag"),
        ({"zero_point": np.nan}, "zero_point nan"),
        ({"error_floor": 50.0}, "error_floor 50 has to lie within 0..1 mag"),
        ({"error_floor": np.nan}, "error_floor nan"),
        ({"error": "r"}, "column 'r' is named as value and as error"),
        ({"error": 0.0}, "error 0 has to be a number above 0"),
        ({"error": np.inf}, "error inf has to be a number above 0"),
        ({"error": 0.03, "error_kind": "ivar"}, "give it as a sigma"),
        ({"extinction": "r"}, "column 'r' is named as extinction too"),
        ({"extinction": "er"}, "column 'er' is named as extinction too"),
        ({"unit": "luptitude", "softening": 25.0}, "softening 25 has to be between 0 and 1e-3 maggies"),
        ({"unit": "nmgy", "system": "vega"}, "system: vega is of magnitudes"),
    ],
)
def test_descriptions_of_bands(tmp_path, base, keys, says):
    path = write(tmp_path / "b.parquet", base)
    band = dataclasses.replace(BandColumns("sdss_r0", "r", "er"), **keys)
    with pytest.raises(InputError) as caught:
        load_catalog(CatalogSpec(path, {"r": band}, redshift="zs"))
    assert says in str(caught.value) and "band r" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"g": ("r", "eg"), "r": ("r", "er")}, "column 'r' is the value of bands g and r"),
        ({"g": ("g", "r"), "r": ("r", "er")}, "band g: column 'r' is named as error"),
    ],
)
def test_columns_of_two_bands(refused, base, columns, says):
    bands = {name: (value, error, {}) for name, (value, error) in columns.items()}
    assert says in refused(base, bands=bands)


# ---- run files ----


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"error": "r"}, "column 'r' is the value's"),
        ({"error": float("inf")}, "error"),
        ({"error": -0.03}, "has to be above 0"),
        ({"error": 0.03, "error_kind": "ivar"}, "give it as a sigma"),
        ({"zero_point_mag": 5}, "less than or equal to 2"),
        ({"error_floor_mag": 50}, "less than or equal to 1"),
        ({"faint_mag": float("nan")}, "faint_mag"),
        ({"faint_mag": 41}, "faint_mag"),
        ({"bright_mag": 18, "faint_mag": 17}, "bright_mag: 18 has to be below faint_mag 17"),
        ({"softening": 1e-10}, "softening: belongs to asinh magnitudes"),
        ({"system": "vega", "unit": "nmgy"}, "system: vega is of magnitudes"),
    ],
)
def test_bands_of_run_files(keys, says):
    with pytest.raises(ValueError, match="validation error") as caught:
        BandConfig.model_validate({"filter": "sdss_r0", "value": "r", "error": "er", **keys})
    assert says in str(caught.value)


@pytest.fixture
def config_of(tmp_path, base):
    """A run file on a catalog in two bands, with keys of the catalog and of the g band changed."""

    def build(frame=base, g=None, **changes):
        write(tmp_path / "b.parquet", frame)
        bands = {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in "gr"}
        bands["g"] |= g or {}
        catalog = {
            "path": str(tmp_path / "b.parquet"),
            "redshift": "zs",
            "bands": bands,
            "selection": {"band": "r", "bright_mag": 14.0, "faint_mag": 17.5, "width_mag": 0.05},
        }
        raw = {
            "name": "values",
            "catalog": catalog | changes,
            "slices": [[0.06, 0.12]],
            "features": ["g-r", "r"],
            "free": {"dust.lg_av": {"loc": -0.4, "scale": 0.2}},
            "halos": {"lgm_min": 11.2},
        }
        return RunConfig.model_validate(raw)

    return build


def test_limits_of_a_band_act_on_data_and_model_alike(config_of, base):
    from popinfer.run.cuts import build_selection

    config = config_of(g={"bright_mag": 16.5, "faint_mag": 18.0, "zero_point_mag": 0.1})
    catalog = build_catalog(config)
    g = base.g + 0.1
    inside = (g >= 16.5) & (g <= 18.0)
    np.testing.assert_allclose(catalog.mag[:, 0], g[inside])
    beyond = {"fainter than g = 18": int((g > 18.0).sum()), "brighter than g = 16.5": int((g < 16.5).sum())}
    assert dict(catalog.dropped) == beyond
    sharp = build_selection(config).sharp(np.column_stack([g, base.r]))
    np.testing.assert_array_equal(np.asarray(sharp) > 0, inside & (base.r <= 17.5))


def test_where_id_and_missing_of_a_run_file(config_of, base):
    frame = base.assign(clean=np.arange(2000) % 2 == 0, objid=BIG)
    frame.loc[:9, "g"] = -77.0
    catalog = build_catalog(config_of(frame, where="clean", id="objid", missing=[-77]))
    assert catalog.id[0] == str(BIG[10]) and catalog.z.size == 995
    assert dict(catalog.dropped) == {"not clean": 1000, "no magnitude in g": 5}
    both = build_catalog(config_of(frame, where=["not clean", "r < 17"], missing=[-77]))
    assert both.z.size == int((~frame.clean & (frame.r < 17) & (frame.g > 0)).sum())


def test_a_number_for_the_error_in_a_run_file(config_of):
    np.testing.assert_allclose(build_catalog(config_of(g={"error": 0.03})).mag_err[:, 0], 0.03)


@pytest.mark.parametrize("table", [1, "SECOND"])
def test_table_of_a_run_file_in_fits(config_of, base, tmp_path, table):
    hdus = [
        fits.PrimaryHDU(),
        *(fits.table_to_hdu(Table.from_pandas(f)) for f in (base, base.assign(r=base.r - 0.04))),
    ]
    hdus[2].name = "SECOND"
    fits.HDUList(hdus).writeto(tmp_path / "two.fits")
    path = str(tmp_path / "two.fits")
    with pytest.raises(InputError, match="several tables have all the columns"):
        build_catalog(config_of(path=path))
    catalog = build_catalog(config_of(path=path, table=table))
    np.testing.assert_allclose(catalog.mag[:, 1], base.r if table == 1 else base.r - 0.04)


def test_table_of_a_run_file_in_hdf5(config_of, base, tmp_path):
    path = tmp_path / "two.hdf5"
    with h5py.File(path, "w") as store:
        for group, shift in (("a", 0.0), ("b/c", -0.04)):
            for name in ("zs", "g", "r", "eg", "er"):
                store[f"{group}/{name}"] = base[name] + (shift if name == "r" else 0)
    with pytest.raises(InputError, match="several tables"):
        build_catalog(config_of(path=str(path)))
    catalog = build_catalog(config_of(path=str(path), table="b/c"))
    np.testing.assert_allclose(catalog.mag[:, 1], base.r - 0.04)


@pytest.mark.parametrize(
    ("key", "value"),
    [("faint_mag", float("nan")), ("faint_mag", 41), ("width_mag", float("inf")), ("width_mag", 1e-300)],
)
def test_selections_of_run_files(config_of, key, value):
    selection = {"band": "r", "bright_mag": 14.0, "faint_mag": 17.5, key: value}
    with pytest.raises(ValueError, match=rf"selection\.{key}"):
        config_of(selection=selection)
