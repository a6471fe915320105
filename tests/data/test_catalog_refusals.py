"""Input that can only be a mistake is refused in one line that says what would be right."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.errors import InputError

ROWS = 40


@pytest.fixture
def frame():
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "redshift": rng.uniform(0.02, 0.3, ROWS),
            "mag_g": rng.uniform(16, 21, ROWS),
            "err_g": rng.uniform(0.01, 0.1, ROWS),
            "flux_g": 10 ** rng.uniform(-1, 3, ROWS),
            "label": ["text"] * ROWS,
        }
    )


@pytest.fixture
def refused(tmp_path):
    """Load a frame and return the message it is refused with, after checking the message's form."""

    def load(frame, band=None, **changes):
        path = tmp_path / "sample.parquet"
        frame.to_parquet(path)
        bands = {"g": band or BandColumns("sdss_g0", "mag_g", "err_g")}
        with pytest.raises(InputError) as caught:
            load_catalog(CatalogSpec(**{"path": path, "bands": bands, "redshift": "redshift", **changes}))
        message = str(caught.value)
        assert "sample.parquet" in message and "\n" not in message
        return message

    return load


def test_negative_errors(frame, refused):
    frame.loc[[7, 9], "err_g"] = -0.5
    message = refused(frame)
    assert "'err_g'" in message and "2 negative errors" in message and "row 7" in message


def test_negative_errors_are_refused_even_without_a_magnitude(frame, refused):
    frame.loc[7, ["mag_g", "err_g"]] = [np.nan, -1.0]
    assert "negative errors" in refused(frame)


def test_negative_sentinels_in_errors_are_missing(frame, tmp_path):
    frame.loc[7, "err_g"] = -99.0
    frame.to_parquet(tmp_path / "c.parquet")
    bands = {"g": BandColumns("sdss_g0", "mag_g", "err_g")}
    catalog = load_catalog(CatalogSpec(tmp_path / "c.parquet", bands, redshift="redshift"))
    assert catalog.dropped == (("no error in g", 1),)


def test_sentinels_and_accidents_among_magnitudes_are_left_out(frame, tmp_path):
    frame = pd.concat([frame, frame, frame], ignore_index=True)
    frame["mag_g"] = frame["mag_g"].astype(np.float32)
    frame.loc[7, "mag_g"], frame.loc[9, "mag_g"] = -99.9, -9.99999488e8
    frame.to_parquet(tmp_path / "c.parquet")
    bands = {"g": BandColumns("sdss_g0", "mag_g", "err_g")}
    spec = CatalogSpec(
        tmp_path / "c.parquet", bands, redshift="redshift", missing=(-99.9,), duplicates="allow"
    )
    assert load_catalog(spec).dropped == (("no magnitude in g", 1), ("implausible magnitude in g", 1))


def test_mostly_missing_magnitudes(frame, refused):
    frame.loc[:20, "mag_g"] = np.nan
    message = refused(frame)
    assert "21 of 40" in message and "no magnitude in g (21)" in message


def test_half_missing_magnitudes_are_dropped(frame, tmp_path):
    frame.loc[:19, "mag_g"] = np.nan
    frame.to_parquet(tmp_path / "c.parquet")
    bands = {"g": BandColumns("sdss_g0", "mag_g", "err_g")}
    catalog = load_catalog(CatalogSpec(tmp_path / "c.parquet", bands, redshift="redshift"))
    assert catalog.z.size == 20


def test_no_rows(frame, refused):
    assert "has no rows" in refused(frame.iloc[:0])


def test_no_row_left_says_why(frame, refused):
    frame["redshift"] = np.where(np.arange(ROWS) < 10, np.nan, frame.redshift)
    message = refused(frame, z_min=1.0, z_max=2.0)
    assert "no redshift (10)" in message and "redshift outside 1..2 (30)" in message


@pytest.mark.parametrize(
    ("column", "nearest"),
    [({"redshift": "redshfit"}, "redshift"), ({"band": BandColumns("f", "mag_G", "err_g")}, "mag_g")],
)
def test_unknown_columns_name_the_nearest(frame, refused, column, nearest):
    message = refused(frame, **column)
    assert "has no column" in message and nearest in message.partition("nearest")[2]


def test_text_columns(frame, refused):
    assert "not numbers" in refused(frame, BandColumns("f", "label", "err_g"))


def test_fluxes_called_magnitudes(frame, refused):
    message = refused(frame, BandColumns("f", "flux_g", "err_g"))
    assert "is it a flux" in message and "nmgy" in message


@pytest.mark.parametrize("unit", ["nmgy", "uJy", "cgs"])
def test_magnitudes_called_fluxes(frame, refused, unit):
    frame["mag_g"] = np.linspace(16, 21, ROWS)
    message = refused(frame, BandColumns("f", "mag_g", "err_g", unit=unit))
    assert "unit: mag" in message


def test_fluxes_in_another_unit(frame, refused):
    message = refused(frame, BandColumns("f", "flux_g", "err_g", unit="cgs"))
    assert "median AB magnitude" in message and "check unit (cgs)" in message


def test_a_column_that_is_no_redshift(frame, refused):
    frame["redshift"] = 3e5 * frame.redshift
    message = refused(frame)
    assert "outside 0..20" in message and "'redshift'" in message


def test_nonexistent_element_of_a_scalar_column(frame, refused):
    assert "no such element" in refused(frame, BandColumns("f", "mag_g[3]", "err_g"))


@pytest.mark.parametrize("name", ["c.fits", "c.h5", "c.parquet", "c.ecsv"])
def test_garbage_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x00garbage that is no table\xff" * 50)
    with pytest.raises(InputError, match="can't be read as") as caught:
        load_catalog(CatalogSpec(path, {"g": BandColumns("f", "g", "eg")}))
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_truncated_fits(frame, tmp_path):
    from astropy.table import Table

    path = tmp_path / "c.fits"
    Table.from_pandas(pd.concat([frame] * 200)).write(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(InputError, match=r"c\.fits"):
        load_catalog(CatalogSpec(path, {"g": BandColumns("f", "mag_g", "err_g")}, redshift="redshift"))


def test_missing_file_and_unknown_suffix(tmp_path):
    bands = {"g": BandColumns("f", "g", "eg")}
    with pytest.raises(InputError, match="no such file"):
        load_catalog(CatalogSpec(tmp_path / "none.fits", bands))
    for name in ("sdss_msg", "SDSS_MGS"):
        with pytest.raises(InputError, match="the embedded sample is called sdss_mgs"):
            load_catalog(CatalogSpec(name, bands))
    with pytest.raises(InputError, match=r"sdss_mgs\.csv: no such file$"):
        load_catalog(CatalogSpec(tmp_path / "sdss_mgs.csv", bands))
    path = tmp_path / "catalog.dat"
    path.write_text("z,g,eg\n")
    with pytest.raises(InputError, match="can't be told from the suffix"):
        load_catalog(CatalogSpec(path, bands))
    with pytest.raises(InputError, match="'votable' is unknown"):
        load_catalog(CatalogSpec(path, bands, format="votable"))


def untyped(**wrong):
    """Columns with values that their annotations forbid, as a caller without type checks may pass them."""
    band = BandColumns("f", "mag_g", "err_g")
    for name, value in wrong.items():
        object.__setattr__(band, name, value)
    return band


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": {}}, "at least one band"),
        ({"z_min": 0.5, "z_max": 0.2}, "z_min"),
        ({"z_min": -1.0}, "z_min"),
        ({"selection_band": "k"}, "'k' is not one of g"),
        ({"mag_faint": 17.5}, "need a selection_band"),
        ({"selection_band": "g", "mag_bright": 18.0, "mag_faint": 15.0}, "below mag_faint"),
        ({"bands": {"g": untyped(unit="kJy")}}, "unit 'kJy' is unknown"),
        ({"bands": {"g": untyped(error_kind="var")}}, "sigma or ivar"),
        ({"bands": {"g": BandColumns("f", "mag_g", "err_g", error_floor=-0.1)}}, "error_floor"),
        ({"bands": {"g": BandColumns("f", "mag_g", "err_g", zero_point=np.nan)}}, "zero_point"),
    ],
)
def test_specifications_that_contradict_themselves(changes, message):
    base = CatalogSpec("never_opened.fits", {"g": BandColumns("f", "mag_g", "err_g")})
    with pytest.raises(InputError, match=message):
        load_catalog(dataclasses.replace(base, **changes))
