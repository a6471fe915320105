"""Columns that aren't what the run file calls them: refused, or left out and counted, never used."""

import numpy as np
import pandas as pd
import pytest

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.catalog import MISSING
from popinfer.errors import InputError
from tests.support.base_catalog import BANDS, ROWS, bands, base, fluxes, read, refusal


@pytest.fixture
def write(tmp_path):
    """Write a frame as Parquet and return its path."""

    def to_parquet(frame):
        path = tmp_path / "base.parquet"
        frame.to_parquet(path)
        return path

    return to_parquet


@pytest.fixture
def changed(write):
    """Write the base catalog with some columns replaced or added."""

    def with_columns(**columns):
        return write(base().assign(**columns))

    return with_columns


def with_some(column, value, rows):
    """A column of the base catalog with a value in its first rows."""
    values = base()[column].to_numpy(copy=True)
    values[:rows] = value
    return values


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("eu", 9.9e99, "error of u above 3 mag"),
        ("eu", 50.0, "error of u above 3 mag"),
        ("eu", 3.5, "error of u above 3 mag"),
        ("eu", np.inf, "infinite value in u"),
        ("eu", 0.0, "no error in u"),
        ("u", 0.0, "value of exactly 0 in u"),
        ("u", -0.0, "value of exactly 0 in u"),
        ("u", 1.7976931348623157e308, "implausible magnitude in u"),
        ("u", 3.4028235e38, "implausible magnitude in u"),
        ("u", -np.inf, "infinite value in u"),
        ("u", 41.0, "implausible magnitude in u"),
        ("u", -30.0, "implausible magnitude in u"),
        ("u", -99.0, "no magnitude in u"),
        ("u", 999.0, "no magnitude in u"),
    ],
)
def test_values_that_measure_nothing_are_counted_apart(changed, column, value, reason):
    rows = 30  # 1.5 %: beyond that the 2nd and 98th percentiles are out of range, and the unit is doubted
    catalog = read(changed(**{column: with_some(column, value, rows)}))
    assert catalog.dropped == ((reason, rows),)
    np.testing.assert_array_equal(catalog.mag, base()[list(BANDS)].to_numpy()[rows:])


def test_three_percent_of_zeros_among_magnitudes(changed):
    catalog = read(changed(u=with_some("u", 0.0, 60)))
    assert catalog.dropped == (("value of exactly 0 in u", 60),)
    assert (catalog.mag[:, 0] - catalog.mag[:, 1]).min() > -1


def test_a_magnitude_of_37_pm_50(changed):
    catalog = read(changed(u=with_some("u", 37.0, 20), eu=with_some("eu", 50.0, 20)))
    assert catalog.dropped == (("error of u above 3 mag", 20),)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("column", "value"), [("u", 0.0), ("eu", 9.9e99)])
def test_mostly_junk_is_refused_even_where_bands_may_lack(changed, column, value, keep):
    path = changed(**{column: with_some(column, value, 1100)})
    message = refusal(path, keep_missing=keep)
    assert "band u" in message and ("1100" in message or "'eu' is 9.9e+99 mag" in message)
    assert "inverse variance" not in message


def test_junk_is_a_missing_value_where_bands_may_lack(changed):
    path = changed(u=with_some("u", 0.0, 500))
    catalog = read(path, keep_missing=True)
    assert catalog.z.size == ROWS and np.isnan(catalog.mag[:, 0]).sum() == 500


def test_fluxes_with_hopeless_errors(changed):
    catalog = read(changed(Su=with_some("Su", 1e6, 40)), fluxes(unit="nmgy"))
    assert catalog.dropped == (("error of u above 3 mag", 40),)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("unit", ["nmgy", "mag"])
def test_an_inverse_variance_called_an_error(changed, band, unit):
    name = f"S{band}" if unit == "nmgy" else f"e{band}"
    path = changed(**{name: base()[name] ** -2.0})
    columns = fluxes(unit=unit) if unit == "nmgy" else bands(unit=unit)
    message = refusal(path, columns)
    assert f"band {band}" in message and "is it an inverse variance?" in message and f"'{name}'" in message
    assert "error_kind: ivar" in message


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("unit", ["nmgy", "mag"])
def test_an_error_called_an_inverse_variance(write, band, unit):
    frame = base()
    start = "S" if unit == "nmgy" else "e"
    for b in BANDS.replace(band, ""):
        frame[f"{start}{b}"] **= -2.0
    columns = fluxes(unit=unit, error_kind="ivar") if unit == "nmgy" else bands(unit=unit, error_kind="ivar")
    message = refusal(write(frame), columns)
    assert f"band {band}" in message and "is it a standard deviation?" in message
    assert "error_kind: sigma" in message


def test_the_right_kind_of_error_is_not_doubted(write):
    frame = base()
    for b in BANDS:
        frame[f"S{b}"] **= -2.0
        frame[f"e{b}"] **= -2.0
    path = write(frame)
    assert read(path, fluxes(unit="nmgy", error_kind="ivar")).warnings == ()
    assert read(path, bands(error_kind="ivar")).warnings == ()


def test_constant_errors_of_magnitudes_and_of_fluxes_are_not_doubted(write):
    frame = base()
    for b in BANDS:
        frame[f"S{b}"], frame[f"e{b}"] = 2.0, 0.05
    path = write(frame)
    for kind in ("sigma", "ivar"):
        assert read(path, bands(error_kind=kind) if kind == "sigma" else fluxes(unit="nmgy")).z.size


def test_plausibility_can_be_overruled(changed):
    path = changed(er=base().er ** -2.0)
    assert "plausibility: warn lets it pass" in refusal(path, bands(only="gi") | bands(only="r"))
    columns = {"r": BandColumns("sdss_r0", "Fr", "Sr", unit="nmgy")}
    path = changed(Sr=base().Sr ** -2.0)
    assert "is it an inverse variance" in refusal(path, columns)
    catalog = read(path, columns, plausibility="warn")
    assert any("is it an inverse variance?" in text for text in catalog.warnings)


@pytest.mark.parametrize("factor", [1000.0, 100.0])
def test_errors_in_millimagnitudes_or_percent(changed, factor):
    path = changed(**{f"e{b}": factor * base()[f"e{b}"] for b in BANDS})
    assert "median error from column 'eu'" in refusal(path)


def test_errors_that_are_too_good(changed):
    path = changed(er=base().er * 1e-3)
    assert "better than any survey's" in refusal(path)


@pytest.mark.parametrize(("unit", "right"), [("Jy", "as nmgy"), ("maggies", "as nmgy"), ("cgs", "as nmgy")])
def test_fluxes_in_another_unit(changed, unit, right):
    message = refusal(changed(), fluxes(unit=unit), selection_band="r", mag_bright=14.0, mag_faint=17.5)
    assert "median AB magnitude" in message and f"check unit ({unit})" in message and right in message


def test_nothing_left_says_what_there_is(changed):
    message = refusal(changed(), selection_band="r", mag_bright=10.0, mag_faint=11.0)
    assert "none of its 2000 rows is left" in message and "fainter than r = 11" in message
    assert "magnitude r runs from" in message and "zs runs from" in message


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_galaxies(write, copies):
    path = write(pd.concat([base()] * copies, ignore_index=True))
    message = refusal(path)
    n = (copies - 1) * ROWS
    assert f"{n} of {copies * ROWS} galaxies" in message and "catalog.duplicates: allow" in message
    catalog = read(path, duplicates="allow")
    assert catalog.z.size == copies * ROWS and any(f"{n} of" in text for text in catalog.warnings)


def test_few_copies_are_said(write):
    path = write(pd.concat([base(), base().head(10)], ignore_index=True))
    catalog = read(path)
    assert catalog.z.size == ROWS + 10
    assert "10 of 2010 galaxies in use equal another" in catalog.warnings[0]


def test_copies_with_other_errors_or_without_a_band_are_copies(write):
    frame = base()
    again = frame.assign(er=frame.er * 1.1)
    assert "equal another" in refusal(write(pd.concat([frame, again], ignore_index=True)))
    frame["u"] = np.nan
    both = pd.concat([frame, frame], ignore_index=True)
    both.loc[:100, "u"] = np.linspace(18, 19, 101)
    assert "equal another" in refusal(write(both), keep_missing=True)


def test_copies_outside_the_sample_do_not_matter(write):
    frame = base()
    bright = frame[frame.r < 15.5]
    path = write(pd.concat([frame, bright, bright], ignore_index=True))
    assert read(path, selection_band="r", mag_bright=15.5).warnings == ()


def test_names_of_galaxies_are_kept(write):
    frame = base()
    frame["name"] = [f"J{i:04d}#a" for i in range(ROWS)]
    frame["number"] = np.arange(ROWS) + 2**60
    path = write(frame)
    bright = frame.r <= 16.5
    catalog = read(path, id="name", selection_band="r", mag_faint=16.5)
    assert catalog.id == tuple(frame.name[bright])
    catalog = read(path, id="number", selection_band="r", mag_faint=16.5)
    assert catalog.id == tuple(str(x) for x in frame.number[bright])
    assert "has no column 'nam'" in refusal(path, id="nam")
    assert "used as a number too" in refusal(path, id="r")


def test_names_that_occur_twice(write):
    frame = base()
    frame["name"] = [f"J{i % 1500:04d}" for i in range(ROWS)]
    message = refusal(write(frame), id="name")
    assert "500 of 2000 galaxies in use have the id of another, as the one with id 'J0000'" in message
    assert len(read(write(frame), id="name", duplicates="allow").id) == ROWS


def test_galaxies_without_a_name(write):
    frame = base()
    frame["name"] = [None if i < 5 else f"J{i}" for i in range(ROWS)]
    catalog = read(write(frame), id="name")
    assert catalog.id[:6] == ("",) * 5 + ("J5",)
    assert catalog.warnings == ("5 galaxies have no id",)


def test_markers_of_missing_values_add_to_the_usual_ones(changed):
    path = changed(u=with_some("u", 99.0, 20), g=with_some("g", -77.0, 20), r=with_some("r", -9999.0, 10))
    catalog = read(path, missing=(-77.0,))
    assert dict(catalog.dropped) == {"no magnitude in u": 20}
    assert MISSING == (-9999.0, -999.0, -99.0, 99.0, 999.0)


def test_markers_of_missing_values_that_are_words(tmp_path):
    frame = base()
    for b in "ug":
        frame[b] = frame[b].astype(object)
    frame.loc[:9, "u"] = "BAD_FIT"
    path = tmp_path / "base.csv"
    frame.to_csv(path, index=False)
    message = refusal(path)
    assert "'BAD_FIT'" in message and "row 0" in message
    catalog = read(path, missing=("BAD_FIT",))
    assert catalog.dropped == (("no magnitude in u", 10),)


@pytest.mark.parametrize(
    ("where", "kept", "reason"),
    [
        (("clean",), lambda f: f.clean, "not clean"),
        (("not clean",), lambda f: ~f.clean, "not not clean"),
        (("!clean",), lambda f: ~f.clean, "not !clean"),
        (("flag == 0",), lambda f: f.flag == 0, "without flag == 0"),
        (("flag != 0",), lambda f: f.flag != 0, "without flag != 0"),
        (("flag<2",), lambda f: f.flag < 2, "without flag<2"),
        (("flag <= 2",), lambda f: f.flag <= 2, "without flag <= 2"),
        (("flag > 1",), lambda f: f.flag > 1, "without flag > 1"),
        (("r >= 16.5",), lambda f: f.r >= 16.5, "without r >= 16.5"),
        (("s n > 1e1",), lambda f: f["s n"] > 10, "without s n > 1e1"),
        (("byte == 1",), lambda f: f.clean, "without byte == 1"),
        (("byte",), lambda f: f.clean, "not byte"),
        (("byte == true",), lambda f: f.clean, "not byte == true"),
    ],
)
def test_conditions_choose_rows(write, where, kept, reason):
    frame = base()
    frame["flag"] = np.arange(ROWS) % 4
    frame["clean"] = frame.flag < 3
    frame["byte"] = frame.clean.astype("int8")
    frame["s n"] = np.linspace(1, 100, ROWS)
    catalog = read(write(frame), where=where)
    expected = kept(frame).to_numpy()
    np.testing.assert_array_equal(catalog.z, frame.zs[expected])
    assert catalog.dropped == ((reason, int((~expected).sum())),)


def test_several_conditions_all_hold_and_missing_values_fulfil_none(write):
    frame = base()
    frame["snr"] = np.where(np.arange(ROWS) < 100, np.nan, 20.0)
    frame.loc[100:149, "snr"] = -99.0
    frame["flag"] = np.where(np.arange(ROWS) >= 1000, 99.0, 0.0)
    catalog = read(write(frame), where=("snr < 50", "flag != 99"))
    assert dict(catalog.dropped) == {"without snr < 50": 150, "without flag != 99": 1000}


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("flag = 0", "write == for equal"),
        ("flag == 0 and clean", "a column is compared with one number"),
        ("0 < flag < 2", "a column is compared with one number"),
        ("flag == nan", "a column is compared with one number"),
        ("flag > r", "a column is compared with one number"),
        ("__import__('os').system('x') == 1", "has no column"),
        ("clean & flag", "is no condition"),
        ("", "is no condition"),
        ("flag > true", "true and false can only be equal"),
        ("flagg == 0", "the nearest are 'flag'"),
        ("name == 1", "'name'"),
        ("flag", "'flag'"),
        ("flag == 17", "holds for none of 2000 rows; its values run from 0 to 3"),
        ("r < 3", "holds for none of 2000 rows"),
    ],
)
def test_conditions_that_are_none(write, where, why):
    frame = base().assign(flag=np.arange(ROWS) % 4, name="x")
    frame["clean"] = frame.flag < 3
    with pytest.raises(InputError) as caught:
        read(write(frame), where=(where,))
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_extinction_that_is_none(changed):
    def columns(name, only="gr"):
        return {b: BandColumns(f"sdss_{b}0", b, f"e{b}", extinction=name.format(b)) for b in only}

    path = changed(**{"A_g": -0.1, "A_r": -0.1, "E(B-V)": 0.03, "EBV": 0.03, "AV": 4.0, "A": 0.1})
    assert "is negative (median -0.1 mag)" in refusal(path, columns("A_{}"))
    for name in ("E(B-V)", "EBV"):
        assert "looks like E(B-V)" in refusal(path, columns(name, "g"))
    assert "median of extinction 'AV' is 4 mag" in refusal(path, columns("AV", "g"))
    assert "E(B-V) is no extinction" in refusal(path, columns("A"))
    assert "is the value of band" in refusal(path, columns("{}", "g"))
    catalog = read(path, columns("A", "g"))
    assert catalog.extinction == (0.1,)


def test_columns_that_play_two_parts(changed):
    path = changed()
    assert "'r' is the value here and the error of band r" in refusal(path, {"r": BandColumns("f", "r", "r")})
    assert "is the value of band g too" in refusal(
        path, {"g": BandColumns("f", "r", "eg"), "r": BandColumns("f", "r", "er")}
    )
    assert "'zs' is the redshift too" in refusal(path, {"r": BandColumns("f", "zs", "er")})
    assert "'zs' is the redshift, not an error" in refusal(path, {"r": BandColumns("f", "r", "zs")})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"error_floor": 50.0}, "error_floor 50"),
        ({"error_floor": np.nan}, "error_floor"),
        ({"zero_point": 5.0}, "a flux scale is said with unit"),
        ({"zero_point": -22.5}, "Vega magnitudes with system: vega"),
        ({"softening": 1.0, "unit": "luptitude"}, "softening 1"),
    ],
)
def test_settings_of_a_band_that_can_not_be(changed, settings, why):
    assert why in refusal(changed(), {"r": BandColumns("sdss_r0", "r", "er", **settings)})


@pytest.mark.parametrize(
    ("z", "why"),
    [
        (lambda f: 299792.458 * f.zs, "not a velocity"),
        (lambda f: np.log10(f.zs), "not a velocity or a logarithm"),
        (lambda f: -f.zs, "negative in 2000 rows"),
        (lambda f: f.zs * 0 + 0.08, "is 0.08 in every row"),
        (lambda f: 1e-4 + 1e-5 * f.zs, "is it the error of the redshift"),
        (lambda f: f.r, "equals column 'r' in every row"),
        (lambda f: f.zs * np.nan, "no redshift (2000)"),
    ],
)
def test_columns_that_are_no_redshift(changed, z, why):
    assert why in refusal(changed(zs=z(base())))


def test_a_scale_factor_for_the_redshift(changed):
    rng = np.random.default_rng(2)
    z = base().zs.to_numpy() * 8  # to 0.96; dimming makes distant galaxies fainter
    faint = 5 * np.log10(z) + rng.normal(0, 0.3, ROWS) + 22
    shift = {b: faint + i * 0.1 for i, b in enumerate(BANDS)}
    assert read(changed(zs=z, **shift)).warnings == ()
    warnings = read(changed(zs=1 / (1 + z), **shift)).warnings
    assert len(warnings) == 1 and "is it a scale factor" in warnings[0]


def test_columns_of_flags_or_of_the_same_number(changed):
    path = changed(r=(np.arange(ROWS) % 2).astype(float), u=17.0)
    assert "'r' holds 0 and 1 only; is it a flag?" in refusal(path, bands(only="r"))
    assert "'u' is 17 in every row" in refusal(path, bands(only="u"))


def test_true_and_false_are_no_magnitudes(changed):
    assert "'r'" in refusal(changed(r=np.arange(ROWS) % 2 == 0), bands(only="r"))


def test_rows_left_out_are_counted_by_slice(changed):
    frame = base()
    low = (frame.zs < 0.09).to_numpy()
    path = changed(u=np.where(np.arange(ROWS) < 40, 0.0, frame.u))
    slices = ((0.06, 0.09), (0.09, 0.12))
    catalog = read(path, selection_band="r", mag_faint=17.0, slices=slices)
    for (limits, dropped), inside in zip(catalog.dropped_by_slice, (low, ~low), strict=True):
        zero = inside & (np.arange(ROWS) < 40)
        assert dict(dropped) == {
            "value of exactly 0 in u": zero.sum(),
            "fainter than r = 17": (inside & ~zero & (frame.r > 17.0)).sum(),
        }
        assert limits in slices


def test_tables_are_chosen(tmp_path):
    from astropy.io import fits

    frame = base()
    hdus = [
        fits.BinTableHDU.from_columns(
            [fits.Column(n, "D", array=f[n].to_numpy()) for n in ("zs", "r", "er", "g", "eg")], name=name
        )
        for name, f in (("OLD", frame.assign(r=frame.r + 0.5)), ("NEW", frame))
    ]
    path = tmp_path / "two.fits"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    message = refusal(path, bands(only="gr"))
    assert "OLD" in message and "NEW" in message
    for table in ("NEW", 2):
        np.testing.assert_allclose(read(path, bands(only="gr"), table=table).mag[:, 1], frame.r)


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    base().to_parquet(tmp_path / "mine.parquet")
    spec = CatalogSpec("~/mine.parquet", bands(only="r"), redshift="zs")
    assert load_catalog(spec).z.size == ROWS
