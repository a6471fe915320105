"""FITS tables: scales, null values, masks, units and several tables, against astropy's own reading."""

import bz2
import gzip
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from table_reading import assert_columns, refusal, values

from popinfer.data.catalog_io import read_columns

ROWS = 50


@pytest.fixture
def numbers():
    return np.random.default_rng(2).normal(18, 2, ROWS)


@pytest.fixture
def written(tmp_path):
    def write(*tables, name="c.fits"):
        hdus = [
            hdu if isinstance(hdu, fits.hdu.base.ExtensionHDU) else fits.BinTableHDU(hdu) for hdu in tables
        ]
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
        return path

    return write


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8", "u2", "u4", "u8"])
def test_every_numeric_type(written, numbers, dtype):
    expected = (numbers * 5).astype(dtype)
    path = written(Table({"g": expected, "v": np.stack([expected, expected + 1], axis=1)}))
    assert_columns(path, {"g": expected, "v[1]": expected + np.ones(1, dtype)})


@pytest.mark.parametrize("form", ["I", "J", "K", "B"])
def test_scales_and_null_values(written, form):
    raw = np.array([1, 7, 120, 3])
    column = fits.Column("g", form, null=7, array=raw)
    hdu = fits.BinTableHDU.from_columns([column])
    hdu.header["TSCAL1"], hdu.header["TZERO1"] = 0.25, 12.0
    path = written(hdu)
    assert_columns(path, {"g": [12.25, np.nan, 42.0, 12.75]})  # astropy forgets the null value here


@pytest.mark.parametrize("form", ["I", "J", "K", "B"])
def test_null_values_as_astropy_reads_them(written, form):
    path = written(
        fits.BinTableHDU.from_columns([fits.Column("g", form, null=7, array=np.array([1, 7, 120]))])
    )
    assert_columns(path, {"g": np.ma.filled(Table.read(path)["g"].astype(float), np.nan)})
    assert_columns(path, {"g": [1, np.nan, 120]})


def test_signed_bytes(written):
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column("g", "B", bzero=-128, array=np.array([-5, 0, 100], np.int8))]
    )
    assert_columns(written(hdu), {"g": [-5, 0, 100]})


def test_scaled_floats(written):
    hdu = fits.BinTableHDU.from_columns([fits.Column("g", "E", array=np.array([1.5, np.nan, 2.5]))])
    hdu.header["TSCAL1"], hdu.header["TZERO1"] = 2.0, -1.0
    assert_columns(written(hdu), {"g": [2.0, np.nan, 4.0]})


def test_masks(written, tmp_path):
    table = Table(
        {
            "z": MaskedColumn([0.1, 0.2, 0.3], mask=[True, False, False]),
            "n": MaskedColumn([1, 2, 3], mask=[False, True, False]),
        }
    )
    table.write(tmp_path / "a.fits")
    assert_columns(tmp_path / "a.fits", {"z": [np.nan, 0.2, 0.3], "n": [1, np.nan, 3]})
    beside = Table({"z": [0.1, 0.2], "z.mask": [False, True], "v": [[1.0, 2], [3, 4]]})
    beside["v.mask"] = [[True, False], [False, True]]
    assert_columns(written(beside), {"z": [0.1, np.nan], "v[0]": [np.nan, 3], "v[1]": [2, np.nan]})


def test_units_and_descriptions(tmp_path):
    table = QTable({"f": [1.0] * u.nJy, "m": [17.0] * u.ABmag, "n": [1.0] * u.nanomaggy, "z": [0.1]})
    table["f"].info.description = "flux"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(tmp_path / "c.fits")
    columns = read_columns(tmp_path / "c.fits", ["f", "m", "n", "z"])
    assert [column.unit for column in columns.values()] == ["nJy", "mag(AB)", "nmgy", None]
    assert columns["f"].description == "flux"


def test_units_as_they_are_written(written):
    hdu = fits.BinTableHDU(Table({"f": [1.0], "g": [2.0]}))
    hdu.header["TUNIT1"], hdu.header["TUNIT2"], hdu.header["TCOMM1"] = "nanomaggies ", "   ", "a flux"
    columns = read_columns(written(hdu), ["f", "g"])
    assert (columns["f"].unit, columns["g"].unit, columns["f"].description) == ("nanomaggies", None, "a flux")


def named(table, name):
    return fits.BinTableHDU(table, name=name)


def test_several_tables(written):
    other = Table({"ra": [1.0], "z": [9.0]})
    both = Table({"z": [0.1], "g": [17.0]})
    path = written(named(other, "FIRST"), fits.ImageHDU(np.zeros((4, 4))), named(both, "PHOT"))
    assert_columns(path, {"z": [0.1], "g": [17.0]})
    message = refusal(path, "z")
    assert "several tables have all the columns: 1 'FIRST', 3 'PHOT'" in message and "table" in message
    for table, expected in {"first": 9.0, "PHOT": 0.1, 1: 9.0, 3: 0.1, "3": 0.1}.items():
        assert_columns(path, {"z": [expected]}, table=table)
    assert "has no table 2; there are 1 'FIRST', 3 'PHOT'" in refusal(path, "z", table=2)
    assert "has no table 'SPEC'" in refusal(path, "z", table="SPEC")
    assert "no column 'g'; the nearest are" in refusal(path, "g", table="FIRST")
    assert "the nearest are 'g'" in refusal(path, "z", "gg")
    assert "no table has all the columns: 1 'FIRST' lacks 'g', 3 'PHOT' lacks 'ra'" in refusal(
        path, "g", "ra"
    )
    twice = written(named(both, "SAME"), named(both, "SAME"))
    assert "several tables called 'SAME'" in refusal(twice, "z", table="SAME")


def test_images_only(written):
    assert "no table, only images" in refusal(written(fits.ImageHDU(np.zeros((4, 4)))), "z")
    assert "no table, only images" in refusal(written(fits.CompImageHDU(np.zeros((64, 64)))), "z")


def test_compressed_tables_are_named(written):
    hdu = fits.BinTableHDU(Table({"z": [0.1]}))
    hdu.header["ZTABLE"] = True
    assert "funpack" in refusal(written(hdu), "z")


@pytest.mark.parametrize(
    ("form", "array", "said"),
    [
        ("L", [True, False], "true and false, not numbers"),
        ("C", [1 + 1j, 2], "complex numbers, not numbers"),
        ("M", [1 + 1j, 2], "complex numbers, not numbers"),
        ("8X", np.zeros((2, 8), bool), "bits, not numbers"),
        ("PE()", np.array([np.ones(2), np.ones(3)], object), "variable length"),
        ("QD()", np.array([np.ones(2), np.ones(3)], object), "variable length"),
        ("5A", ["one", "two"], "'one' in row 0"),
        ("3E", np.ones((2, 3)), "name one element, as in g[0]"),
        ("4E", np.ones((2, 4)), "name one element"),
        ("K", [1237648702966988820, 1], "1237648702966988820 in row 0"),
    ],
)
def test_types_that_are_no_numbers(written, form, array, said):
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column("g", form, array=array), fits.Column("z", "E", array=[1, 2])]
    )
    path = written(hdu)
    assert said in refusal(path, "g")
    assert_columns(path, {"z": [1, 2]})


def test_text_and_flags(written):
    table = Table(
        {"id": [1237648702966988820, -5], "name": ["a ", "b#"], "ok": [True, False], "n": ["12.3 ", ""]}
    )
    table["u"] = np.array([2**64 - 1, 3], np.uint64)
    found = values(written(table), "id", "name", "ok", "n", "u", text=["id", "name", "u"], flags=["ok"])
    assert found["id"].tolist() == ["1237648702966988820", "-5"]
    assert found["name"].tolist() == ["a", "b#"]
    assert found["u"].tolist() == ["18446744073709551615", "3"]
    assert found["ok"].tolist() == [1.0, 0.0]
    np.testing.assert_array_equal(found["n"], [12.3, np.nan])


def test_logicals_that_are_null(written):
    path = written(Table({"ok": [True, False, True]}))
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"TFT")] = 0
    path.write_bytes(bytes(raw))
    assert_columns(path, {"ok": [np.nan, 0, 1]}, flags=["ok"])


def test_a_sentinel_that_float64_holds_is_no_identifier(written):
    assert_columns(written(Table({"g": [-(2**63), 5]})), {"g": [-(2.0**63), 5]})


def test_ascii_tables(written):
    columns = [
        fits.Column("g", "F8.3", array=np.array([17.5, 18.25, 19.0]), ascii=True, start=1),
        fits.Column("n", "I6", array=np.array([1, 2, 3]), ascii=True, start=10, null="-99"),
        fits.Column("e", "D15.7", array=np.array([1e-3, 2e5, 3.0]), ascii=True, start=17),
        fits.Column("s", "A4", array=np.array(["a", "b", "c"]), ascii=True, start=33),
    ]
    path = written(fits.TableHDU.from_columns(columns))
    expected = {"g": [17.5, 18.25, 19], "n": [1, 2, 3], "e": [1e-3, 2e5, 3]}
    assert_columns(path, expected)
    raw = path.read_bytes()
    data = raw[5760:].replace(b"18.250", b"      ").replace(b"     2", b"   -99", 1)
    path.write_bytes(raw[:5760] + data)
    assert_columns(path, {"g": [17.5, np.nan, 19], "n": [1, np.nan, 3]})
    assert "'a' in row 0" in refusal(path, "s")


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_compressed_files(written, numbers, tmp_path, pack, suffix):
    plain = written(Table({"g": numbers}))
    path = tmp_path / f"d.fits{suffix}"
    path.write_bytes(pack(plain.read_bytes()))
    assert_columns(path, {"g": numbers})
    path.write_bytes(pack(plain.read_bytes())[:-300])
    assert "can't be unpacked" in refusal(path, "g")


def test_gzip_without_a_suffix_for_it(written, numbers):
    path = written(Table({"g": numbers}))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert_columns(path, {"g": numbers})


def test_a_file_that_expands_without_bounds(written, tmp_path, monkeypatch):
    monkeypatch.setattr("popinfer.expansion.FREE_BYTES", 1 << 20)
    plain = written(Table({"g": np.zeros(3_000_000)}))
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert "expands from" in refusal(path, "g")


def test_truncated_at_any_place(written, numbers):
    path = written(Table({"z": numbers, "g": numbers}))
    whole = path.read_bytes()
    for length in (100, 2880, 4000, 5760, 5761, 5760 + 16 * ROWS - 1):
        path.write_bytes(whole[:length])
        refusal(path, "g")
    assert "50 rows are announced, 49 are there" in refusal(path, "g")
    path.write_bytes(whole[: 5760 + 16 * ROWS])  # without the padding of the last block
    assert_columns(path, {"g": numbers})


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("NAXIS1", 8),
        ("NAXIS2", 10**9),
        ("NAXIS2", -1),
        ("TFIELDS", 10**6),
        ("TFORM1", "Z"),
        ("TFORM1", "99E"),
    ],
)
def test_headers_that_lie(written, numbers, card, value):
    path = written(Table({"z": numbers, "g": numbers}))
    with warnings.catch_warnings(), fits.open(path, mode="update", output_verify="ignore") as hdus:
        warnings.simplefilter("ignore")
        header = str(hdus[1].header)
    old = next(header[i : i + 80] for i in range(0, len(header), 80) if header[i : i + 8].strip() == card)
    new = fits.Card(card, value).image
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    refusal(path, "g")


def test_names_that_differ_by_case_only(written):
    first = fits.Column("g", "E", array=[1.0])
    second = fits.Column("G", "E", array=[2.0])
    path = written(fits.BinTableHDU.from_columns([first, second]))
    assert_columns(path, {"g": [1], "G": [2]})
    path.write_bytes(path.read_bytes().replace(b"TTYPE2  = 'G ", b"TTYPE2  = 'g "))
    assert "2 columns called 'g'" in refusal(path, "g")


def test_no_rows(written):
    assert_columns(written(Table({"z": np.empty(0), "v": np.empty((0, 3))})), {"z": [], "v[1]": []})


def test_only_the_columns_asked_for_are_converted(written):
    table = Table({"g": np.arange(20.0)}, meta={"EXTNAME": "T"})
    for i in range(200):
        table[f"c{i}"] = np.full(20, np.nan)
    assert_columns(written(table), {"g": np.arange(20.0)})
