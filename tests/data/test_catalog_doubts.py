"""Columns that aren't what they are called: stand-ins among values, errors, units, systems, twins."""

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from popinfer.data import load_catalog
from popinfer.data.filters import vega_to_ab
from popinfer.errors import InputError
from tests.support.base_catalog import FORMATS, spec_of, write

every_format = pytest.mark.parametrize("suffix", FORMATS)
U_BAND = {"u": ("u", "eu", {})}


def some_rows(base, column, value, share):
    """The frame with a value in a share of its rows, anywhere; and which rows these are."""
    frame = base.copy()
    rows = np.random.default_rng(2).random(len(base)) < share
    frame.loc[rows, column] = value
    return frame, rows


# ---- stand-ins for "not measured" within the range of magnitudes ----


@every_format
@pytest.mark.parametrize("value", [-1.0, 1.0, 0.001, 19.5, 25.0, 30.0])
@pytest.mark.parametrize("share", [0.03, 0.2])
def test_one_value_in_many_rows(load, refused, base, suffix, value, share):
    frame, rows = some_rows(base, "u", value, share)
    if value < 5:  # no galaxy among these has such a magnitude
        assert dict(load(frame, suffix, bands=U_BAND).dropped) == {"implausible magnitude in u": rows.sum()}
    else:  # some galaxy may
        message = refused(frame, suffix, bands=U_BAND)
        assert f"column 'u' holds exactly {value:g} in {rows.sum()} of 2000 rows" in message
        assert f"list it: missing: [{value:g}]" in message
    listed = load(frame, suffix, bands=U_BAND, missing=(value,))
    assert dict(listed.dropped) == {"no magnitude in u": rows.sum()}
    np.testing.assert_array_equal(listed.mag[:, 0], base.u[~rows])


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.001, 4.9, 36.0])
def test_far_brighter_or_fainter_than_the_others(load, base, value):
    """In few rows, and not the same in all of them."""
    frame = base.copy()
    frame.loc[:9, "u"] = value + 0.001 * np.arange(10)
    catalog = load(frame, bands=U_BAND)
    assert dict(catalog.dropped) == {"implausible magnitude in u": 10}
    np.testing.assert_array_equal(catalog.mag[:, 0], base.u[10:])


def test_a_band_of_one_value(refused, load, base):
    frame = base.assign(u=19.0)
    bands = {**U_BAND, "r": ("r", "er", {})}
    assert "band u: column 'u' holds 19 in every row" in refused(frame, bands=bands)
    assert "holds 19 in every row" in load(frame, bands=bands, implausible="warn").warnings[0]


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1])
def test_rounded_magnitudes_are_no_doubt(load, base, step):
    frame = pd.concat([base] * 20, ignore_index=True)
    rng = np.random.default_rng(3)
    for band in "ugr":  # twenty times as many galaxies, each another
        frame[band] = (np.round((frame[band] + rng.normal(0, 0.2, len(frame))) / step) * step).round(3)
    frame["zs"] += rng.uniform(0, 1e-3, len(frame))
    catalog = load(frame, bands={b: (b, f"e{b}", {}) for b in "ugr"})
    assert catalog.z.size == len(frame) and catalog.warnings == () and catalog.dropped == ()


def test_a_stand_in_among_rounded_magnitudes(refused, base):
    frame = pd.concat([base] * 20, ignore_index=True)
    frame["u"] = (frame.u + np.random.default_rng(3).normal(0, 0.2, len(frame))).round(2)
    frame, _ = some_rows(frame, "u", 19.0, 0.06)
    assert "column 'u' holds exactly 19 in" in refused(frame, bands=U_BAND)


def test_two_stand_ins_beside_each_other(refused, load, base):
    frame, _ = some_rows(base, "u", 25.0, 0.05)
    frame.loc[::20, "u"] = 26.0
    assert "column 'u' holds exactly 2" in refused(frame, bands=U_BAND)
    kept = load(frame, bands=U_BAND, missing=(25, 26))
    assert kept.mag.max() < 23


@pytest.mark.parametrize("value", [1.0, 20.0, 250.0])
def test_one_flux_in_many_rows(load, refused, base, value):
    frame, rows = some_rows(base, "f_u", value, 0.05)
    bands = {"u": ("f_u", "s_u", {"unit": "nmgy"})}
    assert f"column 'f_u' holds exactly {value:g} in {rows.sum()} of" in refused(frame, bands=bands)
    assert load(frame, bands=bands, missing=(value,)).z.size == (~rows).sum()


def test_zero_fluxes_in_many_rows_are_counted(load, base):
    frame, rows = some_rows(base, "f_u", 0.0, 0.05)
    catalog = load(frame, bands={"u": ("f_u", "s_u", {"unit": "nmgy"})})
    assert dict(catalog.dropped) == {"flux of u not positive": rows.sum()}


def test_stand_ins_in_errors(load, refused, base):
    for value in (0.0, np.nan):
        frame, rows = some_rows(base, "eu", value, 0.05)
        assert dict(load(frame, bands=U_BAND).dropped) == {"no error in u": rows.sum()}
    frame, _ = some_rows(base, "eu", -1.0, 0.05)
    assert "negative errors" in refused(frame, bands=U_BAND)
    load(base.assign(eu=0.05), bands=U_BAND)  # one error for all is what some tables hold


def test_limits_of_bands_not_detected_are_no_doubt(load, base):
    """Values at one limit in the rows of galaxies that are too faint, which detection_mag takes out."""
    frame, rows = some_rows(base, "u", 23.5, 0.2)
    bands = {"u": ("u", "eu", {"detection": 23.0}), **{b: (b, f"e{b}", {}) for b in "gr"}}
    kept = load(frame, bands=bands, keep_missing=True, selection_band="r", mag_faint=18.0)
    assert kept.z.size == len(base)
    np.testing.assert_array_equal(np.isnan(kept.mag[:, 0]), rows)


def test_stand_ins_in_the_extinction(load, base):
    frame = base.assign(a_u=0.1 + 0.01 * np.arange(len(base)) / len(base))
    frame.loc[:99, "a_u"] = -1.0
    catalog = load(frame, bands={"u": ("u", "eu", {"extinction": "a_u"})})
    assert dict(catalog.dropped) == {"implausible extinction in u": 100}


# ---- errors ----


@pytest.mark.parametrize("band", "ugriz")
def test_errors_a_thousand_times_too_small(refused, load, base, band):
    frame = base.assign(**{f"e{band}": base[f"e{band}"] / 1000})
    bands = {band: (band, f"e{band}", {})}
    message = refused(frame, bands=bands)
    assert f"band {band}: the median error is" in message and "below any survey's 0.0003" in message
    assert "set error_unit if values and errors are in different units" in message
    assert "below any survey's" in load(frame, bands=bands, implausible="warn").warnings[0]


def test_errors_of_fluxes_in_another_unit(refused, base):
    """Fluxes in nJy, errors in uJy, and nothing in the file says it."""
    frame = base.assign(f_r=3631 * base.f_r, s_r=3.631 * base.s_r)
    message = refused(frame, bands={"r": ("f_r", "s_r", {"unit": "nJy"})})
    assert "below any survey's 0.0003; check its unit (values are read in nJy)" in message


def test_variances_given_as_sigma(refused, base):
    assert "if it is a variance, give its root" in refused(base.assign(er=base.er**2))


def test_a_number_as_error_of_fluxes(refused, load, base):
    frame = base.assign(f_r=3631 * base.f_r)
    message = refused(frame, bands={"r": ("f_r", 0.03, {"unit": "nJy"})})
    assert "error (0.03) is taken in the unit of the values, nJy; set error_unit: mag" in message
    message = refused(base.assign(f_r=1e-9 * base.f_r), bands={"r": ("f_r", 0.03, {"unit": "maggy"})})
    assert "error (0.03) is taken in the unit of the values, maggy; set error_unit: mag" in message
    catalog = load(frame, bands={"r": ("f_r", 0.03, {"unit": "nJy", "error_unit": "mag"})})
    np.testing.assert_allclose(catalog.mag_err, 0.03)
    assert catalog.notes == ()
    catalog = load(frame, bands={"r": ("f_r", 3000.0, {"unit": "nJy"})})
    assert catalog.notes == (
        "the error of r, 3000, is in nJy as its values are; for magnitudes set error_unit: mag",
    )


# ---- units of all columns ----


def with_unit(path, frame, column, unit):
    """A Parquet or FITS file whose column has a unit in any words."""
    if path.suffix == ".parquet":
        frame = frame.copy()
        frame.attrs["units"] = {column: unit}
        frame.to_parquet(path)
        return path
    write(path, frame, {column: "mag"})
    fits.setval(path, "TUNIT" + str(list(frame).index(column) + 1), value=unit, ext=1)
    return path


two_formats = pytest.mark.parametrize("suffix", ["parquet", "fits"])


@two_formats
@pytest.mark.parametrize("unit", ["micro-Jansky", "uJy", "1e-6 Jansky", "microjanskys"])
def test_spellings_are_converted(base, suffix, unit, tmp_path):
    frame = base.assign(f_r=3.631 * base.f_r, s_r=3.631 * base.s_r)
    path = with_unit(tmp_path / f"b.{suffix}", frame, "f_r", unit)
    for keys in ({}, {"unit": "uJy"}):
        catalog = load_catalog(spec_of(path, {"r": ("f_r", "s_r", keys)}))
        np.testing.assert_allclose(catalog.mag[:, 0], base.r, atol=1e-9)
    with pytest.raises(InputError, match=f"'{unit}', as the file says, but the run file has unit: nJy"):
        load_catalog(spec_of(path, {"r": ("f_r", "s_r", {"unit": "nJy"})}))


@two_formats
def test_unknown_units_of_errors(base, suffix, tmp_path):
    path = with_unit(tmp_path / f"b.{suffix}", base, "s_r", "FLUXCAL")
    for keys in ({"unit": "nmgy"}, {"unit": "nmgy", "error_unit": "nmgy"}):
        with pytest.raises(InputError, match=r"'s_r' is in 'FLUXCAL', .* no unit that is known.*file_units"):
            load_catalog(spec_of(path, {"r": ("f_r", "s_r", keys)}))
    catalog = load_catalog(spec_of(path, {"r": ("f_r", "s_r", {"unit": "nmgy"})}, file_units="ignore"))
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)


@every_format
@pytest.mark.parametrize("unit", ["mag", "mmag"])
def test_thousandths_of_a_magnitude(load, refused, base, suffix, unit):
    factor = 1000.0 if unit == "mmag" else 1.0
    frame = base.assign(m=1000 * base.r, em=factor * base.er, a=1000 * (0.1 + 0.01 * base.zs))
    units = {"m": "mmag", "em": unit, "a": "mmag"}
    bands = {"r": ("m", "em", {"extinction": "a"})}
    catalog = load(frame, suffix, units, bands)
    np.testing.assert_allclose(catalog.mag[:, 0], base.r - 0.1 - 0.01 * base.zs, atol=1e-9)
    np.testing.assert_allclose(catalog.mag_err[:, 0], base.er, rtol=1e-9)
    assert "0.101 mag in the median" in catalog.notes[0]
    assert "'mmag', as the file says, but the run file has unit: mag" in refused(
        frame, suffix, units, {"r": ("m", "em", {"unit": "mag"})}
    )


@every_format
def test_errors_in_thousandths(load, base, suffix):
    """Of magnitudes, of fluxes, as inverse variances, and said by the run file only."""
    frame = base.assign(em=1000 * base.er, ivar=(1000 * base.er) ** -2)
    units = {"em": "mmag", "ivar": "1 / mmag2", "r": "mag", "f_r": "3.631 uJy"}
    for bands in (
        {"r": ("r", "em", {})},
        {"r": ("f_r", "em", {})},
        {"r": ("r", "ivar", {"error_kind": "ivar"})},
    ):
        np.testing.assert_allclose(load(frame, suffix, units, bands).mag_err[:, 0], base.er, rtol=1e-9)
    by_hand = load(frame, suffix, None, {"r": ("r", "em", {"error_unit": "mmag"})})
    np.testing.assert_allclose(by_hand.mag_err[:, 0], base.er, rtol=1e-9)
    both = load(frame.assign(m=1000 * base.r), suffix, None, {"r": ("m", "em", {"unit": "mmag"})})
    np.testing.assert_allclose(both.mag[:, 0], base.r, rtol=1e-12)
    np.testing.assert_allclose(both.mag_err[:, 0], base.er, rtol=1e-9)


@every_format
@pytest.mark.parametrize("unit", ["nJy", "1 / mag2", "km / s", "adu"])
def test_extinctions_in_units_of_something_else(refused, load, base, suffix, unit):
    bands = {"r": ("r", "er", {"extinction": "a"})}
    frame = base.assign(a=0.1 + 0.01 * base.zs)
    message = refused(frame, suffix, {"a": unit}, bands)
    assert "column 'a' is in '" in message and "which is no extinction" in message
    assert load(frame, suffix, {"a": unit}, bands, file_units="ignore").z.size == len(base)
    assert load(frame, suffix, {"a": "mag"}, bands).z.size == len(base)


@two_formats
def test_an_extinction_in_a_unit_that_nobody_knows(base, suffix, tmp_path):
    path = with_unit(tmp_path / f"b.{suffix}", base.assign(a=0.1 + 0.01 * base.zs), "a", "galactic")
    with pytest.raises(InputError, match="'galactic', as the file says, which is no unit that is known"):
        load_catalog(spec_of(path, {"r": ("r", "er", {"extinction": "a"})}))


@pytest.mark.parametrize("column", ["ebv", "EBV", "e_bv", "E(B-V)", "sfd_ebv", "ebmv", "E_B_V"])
def test_reddening_given_as_extinction(refused, load, base, column):
    frame, bands = base.assign(**{column: 0.03 + 0.1 * base.zs}), {"r": ("r", "er", {"extinction": column})}
    message = refused(frame, bands=bands)
    assert f"column '{column}' looks like E(B-V)" in message and "coefficient" in message
    assert load(frame, bands=bands, implausible="warn").z.size == len(base)


@pytest.mark.parametrize("column", ["a_r", "extinction_r", "AV", "ebvcorr_a", "A_EBVR"])
def test_names_of_extinctions_that_are_no_reddening(load, base, column):
    load(base.assign(**{column: 0.03 + 0.1 * base.zs}), bands={"r": ("r", "er", {"extinction": column})})


# ---- columns of two bands ----


def two_bands(**keys):
    return {b: (b, f"e{b}", dict(keys)) for b in "gr"}


def test_one_error_column_for_two_bands(refused, load, base):
    bands = {"g": ("g", "er", {}), "r": ("r", "er", {})}
    assert "bands g and r share the error column 'er'; each needs its own" in refused(base, bands=bands)
    warned = load(base, bands=bands, implausible="warn")
    assert "share the error column" in warned.warnings[0] and warned.doubtful_bands == ("g", "r")
    constant = load(base.assign(er=0.02), bands=bands)  # a number that the table holds as a column
    assert constant.warnings == () and constant.doubtful_bands == ()


def test_one_extinction_column_for_two_bands(refused, load, base):
    frame = base.assign(a=0.1 + 0.01 * base.zs)
    assert "share the extinction column 'a'" in refused(frame, bands=two_bands(extinction="a"))
    load(base.assign(a=0.1), bands=two_bands(extinction="a"))


def test_a_value_column_twice_under_two_names(refused, base):
    message = refused(base.assign(g=base.r), bands=two_bands())
    assert "bands g and r: columns 'g' and 'r' hold the same numbers" in message


@pytest.mark.parametrize("other", ["r", "er"])
def test_an_extinction_that_is_another_bands_column(refused, base, other):
    bands = {"g": ("g", "eg", {"extinction": other}), "r": ("r", "er", {})}
    assert f"column '{other}' is named as extinction, and as the" in refused(base, bands=bands)


# ---- magnitude systems that the file describes ----


def described(path, frame, column, text):
    """A file of the suffix's format in which a column has a description."""
    if path.suffix == ".parquet":
        table = pa.Table.from_pandas(frame, preserve_index=False)
        fields = [f.with_metadata({"description": text}) if f.name == column else f for f in table.schema]
        pq.write_table(table.cast(pa.schema(fields)), path)
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as store:
            for name in frame:
                store[name] = frame[name].to_numpy()
            store[column].attrs["description"] = text
    elif path.suffix == ".fits":
        write(path, frame)
        fits.setval(path, f"TCOMM{list(frame).index(column) + 1}", value=text, ext=1)
    else:
        table = Table.from_pandas(frame)
        table[column].description = text
        table.write(path, format="ascii.ecsv", overwrite=True)
    return path


@every_format
@pytest.mark.parametrize("text", ["Vega magnitude", "r magnitude (VEGA)", "magnitude in the Vega system"])
def test_vega_in_the_description(base, suffix, text, tmp_path):
    path = described(tmp_path / f"b.{suffix}", base, "r", text)
    with pytest.raises(InputError) as caught:
        load_catalog(spec_of(path, {"r": ("r", "er", {})}))
    assert f"described as '{text}'" in str(caught.value) and "set system: vega" in str(caught.value)
    catalog = load_catalog(spec_of(path, {"r": ("r", "er", {"system": "vega"})}))
    np.testing.assert_allclose(catalog.mag[:, 0], base.r + vega_to_ab("sdss_r0"), atol=1e-9)
    catalog = load_catalog(spec_of(path, {"r": ("r", "er", {})}, file_units="ignore"))
    np.testing.assert_array_equal(catalog.mag[:, 0], base.r)


def test_vega_beside_the_name_of_a_fits_column(base, tmp_path):
    path = write(tmp_path / "b.fits", base)
    key = f"TTYPE{list(base).index('r') + 1}"
    fits.setval(path, key, value="r", comment="Vega magnitude in r", ext=1)
    with pytest.raises(InputError, match="'Vega magnitude in r' in the file; set system: vega"):
        load_catalog(spec_of(path, {"r": ("r", "er", {})}))


def test_vega_in_the_attributes_of_a_data_frame(base, tmp_path):
    frame = base.copy()
    frame.attrs["descriptions"] = {"r": "Vega magnitude"}
    frame.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="described as 'Vega magnitude'"):
        load_catalog(spec_of(tmp_path / "b.parquet", {"r": ("r", "er", {})}))


def test_vega_in_a_votable_header_of_parquet(base, tmp_path):
    header = (
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE><FIELD name="r" unit="mag">'
        "<DESCRIPTION>magnitude in the Vega system</DESCRIPTION></FIELD></TABLE></RESOURCE></VOTABLE>"
    )
    table = pa.Table.from_pandas(base, preserve_index=False)
    pq.write_table(
        table.replace_schema_metadata({"IVOA.VOTable-Parquet.content": header}), tmp_path / "b.parquet"
    )
    with pytest.raises(InputError, match="described as 'magnitude in the Vega system'"):
        load_catalog(spec_of(tmp_path / "b.parquet", {"r": ("r", "er", {})}))


@every_format
def test_ab_in_the_description(base, suffix, tmp_path):
    path = described(tmp_path / f"b.{suffix}", base, "r", "Kron magnitude, AB")
    with pytest.raises(InputError, match=r"'Kron magnitude, AB' in the file, but .* system: vega"):
        load_catalog(spec_of(path, {"r": ("r", "er", {"system": "vega"})}))
    assert load_catalog(spec_of(path, {"r": ("r", "er", {})})).z.size == len(base)


@every_format
@pytest.mark.parametrize("text", ["magnitude", "AB = Vega + 0.16", "in the constellation of Abell"])
def test_descriptions_that_name_no_system(base, suffix, text, tmp_path):
    path = described(tmp_path / f"b.{suffix}", base, "r", text)
    for keys in ({}, {"system": "vega"}):
        assert load_catalog(spec_of(path, {"r": ("r", "er", keys)})).z.size == len(base)


def test_a_flux_relative_to_vega(base, tmp_path):
    path = described(tmp_path / "b.parquet", base, "f_r", "flux in Vega nanomaggies")
    with pytest.raises(InputError, match="'flux in Vega nanomaggies' in the file"):
        load_catalog(spec_of(path, {"r": ("f_r", "s_r", {"unit": "nmgy"})}))


def test_unit_and_description_that_differ(base, tmp_path):
    table = Table.from_pandas(base)
    table["r"].unit, table["r"].description = "mag(AB)", "Vega magnitude"
    table.write(tmp_path / "b.ecsv", format="ascii.ecsv")
    with pytest.raises(InputError, match=r"'Vega magnitude' in the file, and its unit there is 'mag\(AB\)'"):
        load_catalog(spec_of(tmp_path / "b.ecsv", {"r": ("r", "er", {})}))


def test_a_column_called_after_vega(load, refused, base):
    frame = base.assign(r_vega=base.r)
    message = refused(frame, bands={"r": ("r_vega", "er", {})})
    assert "column 'r_vega' is called after Vega, and read as AB; set system: vega" in message
    load(frame, bands={"r": ("r_vega", "er", {"system": "vega"})})
