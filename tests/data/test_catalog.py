"""Catalogs: every format and unit gives the same magnitudes; every dropped row is counted."""

import dataclasses
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from hypothesis import given, settings

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.photometry_columns import convert
from popinfer.data.tables.request import Column

ROWS = 60
UNITS = {"nmgy": 22.5, "Jy": 8.90, "uJy": 23.90, "nJy": 31.40, "cgs": -48.60}
NATIVE_TO_AB = {"u": -0.036, "g": 0.012, "r": 0.010, "i": 0.028, "z": 0.040}


def sample():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "redshift": rng.uniform(0.02, 0.3, ROWS),
            "g": rng.uniform(16, 21, ROWS),
            "r": rng.uniform(15, 20, ROWS),
            "eg": rng.uniform(0.01, 0.1, ROWS),
            "er": rng.uniform(0.01, 0.1, ROWS),
            "ag": rng.uniform(0.0, 0.3, ROWS),
            "name": ["galaxy"] * ROWS,
        }
    )


def spec(path, **changes):
    bands = {"g": BandColumns("sdss_g0", "g", "eg"), "r": BandColumns("sdss_r0", "r", "er")}
    return CatalogSpec(path=path, bands=bands, redshift="redshift", **changes)


def write_columns(path, frame):
    with h5py.File(path, "w") as store:
        for name in frame.columns.drop("name"):
            store[f"photometry/{name}"] = frame[name].to_numpy()


WRITERS = {
    "a.parquet": lambda path, frame: frame.to_parquet(path),
    "a.csv": lambda path, frame: frame.to_csv(path, index=False),
    "a.ecsv": lambda path, frame: Table.from_pandas(frame).write(path, format="ascii.ecsv"),
    "a.fits": lambda path, frame: Table.from_pandas(frame).write(path),
    "a.fits.gz": lambda path, frame: Table.from_pandas(frame).write(path, format="fits"),
    "a.hdf5": write_columns,
    "a.h5": lambda path, frame: Table.from_pandas(frame.drop(columns="name")).write(
        path, format="hdf5", path="table"
    ),
}


@pytest.fixture
def parquet(tmp_path):
    """Write a frame as Parquet and return its path."""

    def write(frame):
        path = tmp_path / "catalog.parquet"
        frame.to_parquet(path)
        return path

    return write


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_alike(tmp_path, name):
    frame = sample()
    WRITERS[name](tmp_path / name, frame)
    catalog = load_catalog(spec(tmp_path / name))
    np.testing.assert_allclose(catalog.z, frame.redshift, rtol=1e-12)
    np.testing.assert_allclose(catalog.mag, frame[["g", "r"]], rtol=1e-12)
    np.testing.assert_allclose(catalog.mag_err, frame[["eg", "er"]], rtol=1e-12)
    assert catalog.mag.dtype == np.float64
    assert catalog.bands == ("g", "r") and catalog.filter_names == ("sdss_g0", "sdss_r0")
    assert catalog.dropped == () and len(catalog.sha256) == 64 and catalog.source.endswith(name)


def test_format_can_be_named(tmp_path):
    path = tmp_path / "catalog.txt"
    sample().to_csv(path, index=False)
    assert load_catalog(spec(path, format="csv")).z.size == ROWS


@pytest.mark.parametrize("header", ["# redshift,g,r,eg,er\n", "#Table1\nredshift,g,r,eg,er\n"])
def test_csv_headers_in_and_after_comments(tmp_path, header):
    frame = sample()
    path = tmp_path / "catalog.csv"
    rows = frame[["redshift", "g", "r", "eg", "er"]].to_csv(index=False, header=False)
    path.write_text(header + rows)
    np.testing.assert_allclose(load_catalog(spec(path)).mag[:, 1], frame.r)


def test_nullable_parquet_columns(parquet):
    frame = sample()
    frame["g"] = frame.g.round().astype("Int64")
    frame.loc[4, "g"] = pd.NA
    catalog = load_catalog(spec(parquet(frame)))
    assert catalog.dropped == (("no magnitude in g", 1),)
    np.testing.assert_array_equal(catalog.mag[:, 0], frame.g.dropna().astype(float))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("error_kind", ["sigma", "ivar"])
def test_fluxes_and_magnitudes_agree(parquet, unit, error_kind):
    frame = sample()
    for band in "gr":
        frame[f"f{band}"] = 10 ** (-0.4 * (frame[band] - UNITS[unit]))
        sigma = frame[f"e{band}"] * frame[f"f{band}"] * np.log(10) / 2.5
        frame[f"s{band}"] = sigma if error_kind == "sigma" else sigma**-2
    bands = {
        band: BandColumns("sdss_r0", f"f{band}", f"s{band}", unit=unit, error_kind=error_kind)
        for band in "gr"
    }
    path = parquet(frame)
    from_fluxes = load_catalog(CatalogSpec(path=path, bands=bands, redshift="redshift"))
    from_magnitudes = load_catalog(spec(path))
    np.testing.assert_allclose(from_fluxes.mag, from_magnitudes.mag, atol=2e-3)  # 3631 Jy against rounded
    np.testing.assert_allclose(from_fluxes.mag_err, from_magnitudes.mag_err, rtol=1e-9)


def test_flux_units_agree_with_each_other():
    # 1 uJy in all units; a nanomaggie is 3.631 uJy
    mags = []
    for unit, one_ujy in {"nmgy": 1 / 3.631, "Jy": 1e-6, "uJy": 1.0, "nJy": 1e3, "cgs": 1e-29}.items():
        columns = {"f": Column(np.array([one_ujy])), "e": Column(np.array([one_ujy / 10]))}
        mags.append(convert(Path("file"), "r", BandColumns("sdss_r0", "f", "e", unit=unit), columns).mag[0])
    np.testing.assert_allclose(mags, -2.5 * np.log10(1e-6 / 3631), rtol=1e-12)


def test_zero_point_extinction_and_floor(parquet):
    frame = sample()
    band = BandColumns("sdss_g0", "g", "eg", extinction="ag", zero_point=0.25, error_floor=0.05)
    catalog = load_catalog(CatalogSpec(path=parquet(frame), bands={"g": band}, redshift="redshift"))
    np.testing.assert_allclose(catalog.mag[:, 0], frame.g + 0.25 - frame.ag)
    np.testing.assert_allclose(catalog.mag_err[:, 0], np.hypot(frame.eg, 0.05))


def test_vector_columns_are_read_by_element(tmp_path):
    frame = sample()
    table = Table({"redshift": frame.redshift, "mag": frame[["g", "r"]], "err": frame[["eg", "er"]]})
    table.write(tmp_path / "v.fits")
    bands = {"r": BandColumns("sdss_r0", "mag[1]", "err[1]")}
    catalog = load_catalog(CatalogSpec(path=tmp_path / "v.fits", bands=bands, redshift="redshift"))
    np.testing.assert_allclose(catalog.mag[:, 0], frame.r)


def test_masked_entries_are_missing(tmp_path):
    table = Table.from_pandas(sample(), index=False)
    table = Table(table, masked=True)
    table["g"].mask[:3] = True
    table.write(tmp_path / "m.ecsv", format="ascii.ecsv")
    assert load_catalog(spec(tmp_path / "m.ecsv")).dropped == (("no magnitude in g", 3),)


def test_every_dropped_row_is_counted_once(parquet):
    frame = sample()
    frame.loc[0, "redshift"] = np.nan
    frame.loc[1, "redshift"] = -99.0
    frame.loc[2, "redshift"] = -0.001
    frame.loc[3, "redshift"] = 25.0
    frame.loc[4, ["redshift", "g"]] = [0.5, np.nan]  # counts as out of range only
    frame.loc[5, "g"] = 99.0
    frame.loc[6, "r"] = np.inf
    frame.loc[7, "er"] = np.nan
    frame.loc[8, "eg"] = 0.0
    frame.loc[9:, "r"] = np.linspace(16.5, 17.5, ROWS - 9)
    frame.loc[9, "r"] = 19.0
    frame.loc[10, "r"] = 14.0
    chosen = spec(parquet(frame), z_min=0.01, z_max=0.4, selection_band="r", mag_bright=15.0, mag_faint=18.0)
    catalog = load_catalog(chosen)
    assert dict(catalog.dropped) == {
        "no redshift": 2,
        "redshift not positive": 1,
        "redshift above 20": 1,
        "redshift outside 0.01..0.4": 1,
        "no magnitude in g": 1,
        "no error in g": 1,
        "infinite value in r": 1,
        "no error in r": 1,
        "fainter than r = 18": 1,
        "brighter than r = 15": 1,
    }
    assert catalog.z.size + sum(rows for _, rows in catalog.dropped) == ROWS
    assert np.isfinite(catalog.mag).all() and np.all(catalog.mag_err > 0)


def test_fluxes_that_are_not_positive_are_counted(parquet):
    frame = sample()
    frame["fg"] = 10 ** (-0.4 * (frame.g - 22.5))
    frame.loc[:1, "fg"] = [-0.3, 0.0]
    band = BandColumns("sdss_g0", "fg", "eg", unit="nmgy")
    catalog = load_catalog(CatalogSpec(path=parquet(frame), bands={"g": band}, redshift="redshift"))
    assert catalog.dropped == (("flux of g not positive", 2),)


def test_missing_bands_can_be_kept(parquet):
    frame = sample()
    frame["i"], frame["ei"] = frame.r - 0.3, frame.er
    frame.loc[:39, "i"] = np.nan  # more than half, on purpose
    frame.loc[0, "g"] = np.nan  # nothing but r left
    frame.loc[50, "r"] = np.nan  # no selection possible
    bands = {name: BandColumns(f"sdss_{name}0", name, f"e{name}") for name in "gri"}
    path = parquet(frame)
    kept = load_catalog(
        CatalogSpec(path, bands, redshift="redshift", selection_band="r", mag_faint=25.0, keep_missing=True)
    )
    assert dict(kept.dropped) == {"no magnitude in r": 1, "fewer than two bands measured": 1}
    missing = np.isnan(kept.mag)
    assert missing[:, 2].sum() == 39 and not missing[:, :2].any()
    np.testing.assert_array_equal(missing, np.isnan(kept.mag_err))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.1, 5.0, -1.0, np.nan, np.inf, -np.inf, 99.0]), min_size=3, max_size=12))
def test_no_bad_redshift_survives(tmp_path_factory, bad):
    frame = pd.concat([sample()] * 2, ignore_index=True)
    frame.loc[: len(bad) - 1, "redshift"] = bad
    path = tmp_path_factory.mktemp("z") / "catalog.parquet"
    frame.to_parquet(path)
    catalog = load_catalog(spec(path, z_min=0.0, z_max=1.0, duplicates="allow"))
    assert np.all((catalog.z > 0) & (catalog.z <= 1))
    assert catalog.z.size + sum(rows for _, rows in catalog.dropped) == len(frame)


def test_embedded_sdss_sample():
    bands = {
        name: BandColumns(f"sdss_{name}0", name, f"e{name}", zero_point=zero)
        for name, zero in NATIVE_TO_AB.items()
    }
    chosen = CatalogSpec("sdss_mgs", bands, redshift="zs")
    catalog = load_catalog(chosen)
    assert catalog.z.size == 5_000 and catalog.dropped == ()
    assert 0.09 < np.median(catalog.z) < 0.1
    colors = np.median(-np.diff(catalog.mag, axis=1), axis=0)
    np.testing.assert_allclose(colors, [1.59, 0.83, 0.38, 0.28], atol=0.01)
    limited = load_catalog(dataclasses.replace(chosen, selection_band="r", mag_faint=17.5, z_max=0.16))
    assert limited.mag[:, 2].max() <= 17.5 and limited.z.max() <= 0.16
    assert limited.sha256 == catalog.sha256
