"""Parquet files and folders of them: types, masks, nulls, units, parts."""

import datetime
import decimal

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, QTable, Table
from table_reading import assert_columns, refusal, values

from popinfer.data.catalog_io import fingerprint, read_columns


@pytest.fixture
def written(tmp_path):
    def write(columns, name="c.parquet", metadata=None, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table.replace_schema_metadata(metadata), path, **options)
        return path

    return write


INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]


@pytest.mark.parametrize("kind", [*INTEGERS, pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_every_numeric_type_with_nulls(written, kind):
    array = pa.array([17, None, 19], pa.float64()).cast(kind)
    path = written({"g": array, "full": array.fill_null(array[0])})
    assert_columns(path, {"g": [17, np.nan, 19], "full": [17, 17, 19]})


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([decimal.Decimal("17.25"), None]), [17.25, np.nan]),
        (pa.array(["17.5 ", None, "1.0D+01"]), [17.5, np.nan, 10]),
        (pa.array(["17.5", "18.5", "17.5"]).dictionary_encode(), [17.5, 18.5, 17.5]),
        (pa.array([1.5, 2.5, 1.5]).dictionary_encode(), [1.5, 2.5, 1.5]),
        (pa.array([17.5], pa.float64()).cast(pa.large_string()), [17.5]),
        (pa.nulls(2), [np.nan, np.nan]),
        (pa.array([np.inf, -np.inf, np.nan]), [np.inf, -np.inf, np.nan]),
    ],
)
def test_other_types_of_numbers(written, array, expected):
    assert_columns(written({"g": array}), {"g": expected})


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([True, None]), "true and false, not numbers"),
        (pa.array([datetime.datetime(2024, 1, 1)]), "timestamp"),
        (pa.array([datetime.date(2024, 1, 1)]), "date32"),
        (pa.array([datetime.timedelta(1)]), "duration"),
        (pa.array([b"17"]), "binary"),
        (pa.array([{"a": 1}]), "struct"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map"),
        (pa.array(["17,5"]), "'17,5' in row 0"),
        (pa.array(["17", "--"]), "'--' in row 1"),
        (pa.array([[1.0, 2.0]]), "name one element, as in g[0]"),
        (pa.array([1237648702966988820, 2]), "1237648702966988820 in row 0"),
        (pa.array([2**64 - 1, 2], pa.uint64()), "18446744073709551615 in row 0"),
    ],
)
def test_types_that_are_no_numbers(written, array, said):
    message = refusal(written({"g": array}), "g")
    assert said in message and "'g'" in message


@pytest.mark.parametrize(
    ("array", "name", "said"),
    [
        (pa.array([[1.0, 2.0], [3.0]]), "g[0]", "lists of different lengths: 2 and, in row 1 "),
        (pa.array([[1.0, 2.0], []]), "g[0]", "in row 1 (the first is row 0), 0"),
        (pa.array([[1.0, 2.0]]), "g[2]", "no such element; the column has 2 elements"),
        (pa.array([[1.0, 2.0]]), "g[-1]", "no such element"),
        (pa.array([[1.0, 2.0]]), "g[99999999999999999999]", "no column"),
        (pa.array([[[1.0], [2.0]]]), "g[0]", "not numbers"),
        (pa.array([["a", "b"]]), "g[0]", "lists of text"),
        (pa.array([[True, False]]), "g[0]", "true and false"),
        (pa.array([1.0]), "g[0]", "no such element"),
        (pa.array([[None, None]], pa.list_(pa.null())), "g[3]", "no such element"),
    ],
)
def test_elements_that_are_refused(written, array, name, said):
    assert said in refusal(written({"g": array}), name)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int16(), 2), pa.list_(pa.float64(), 2)],
)
def test_vectors_with_nulls(written, kind):
    path = written({"g": pa.array([[1, 2], None, [3, None]], kind)})
    assert_columns(path, {"g[0]": [1, np.nan, 3], "g[1]": [2, np.nan, np.nan]})


def test_masks_of_astropy(tmp_path):
    path = tmp_path / "c.parquet"
    table = Table(
        {
            "g": MaskedColumn([17.0, -1.0, 19.0], mask=[False, True, False], unit="mag"),
            "n": MaskedColumn([1, 2, 3], mask=[True, False, False]),
            "v": MaskedColumn(
                [[1.0, 2], [3, 4], [5, 6]], mask=[[True, False], [False, False], [False, True]]
            ),
        }
    )
    table.write(path)
    assert_columns(
        path, {"g": [17, np.nan, 19], "n": [np.nan, 2, 3], "v[0]": [np.nan, 3, 5], "v[1]": [2, 4, np.nan]}
    )


def test_masks_that_are_none(written):
    assert_columns(written({"g": [1.0, 2.0], "g.mask": [0, 1]}), {"g": [1, np.nan]})
    assert "'g.mask' has 5 in row 1" in refusal(written({"g": [1.0, 2.0], "g.mask": [0, 5]}), "g")
    assert "'g.mask'" in refusal(written({"g": [1.0], "g.mask": ["maybe"]}), "g")


def test_units_of_astropy(tmp_path):
    table = QTable({"f": [1.0] * u.uJy, "m": [17.0] * u.ABmag, "z": [0.1], "k": [1.0] * u.nanomaggy})
    table["f"].info.description = "flux\nof f"
    table.write(tmp_path / "c.parquet")
    columns = read_columns(tmp_path / "c.parquet", ["f", "m", "z", "k"])
    assert [column.unit for column in columns.values()] == ["uJy", "mag(AB)", None, "nmgy"]
    assert columns["f"].description == "flux of f"


VOTABLE = """<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="f" datatype="double" unit="nJy"/>
<FIELD name="z" datatype="double"/></TABLE></RESOURCE></VOTABLE>"""


@pytest.mark.parametrize(
    "metadata",
    [
        {"PANDAS_ATTRS": '{"units": {"f": "nJy"}}'},
        {"PANDAS_ATTRS": '{"unit": {"f": "nJy"}, "other": 3}'},
        {"IVOA.VOTable-Parquet.content": VOTABLE, "IVOA.VOTable-Parquet.version": "1.0"},
        {"table_meta_yaml": "datatype:\n- {name: f, unit: nJy, datatype: float64}\nmeta: {a: !odd 1}"},
    ],
)
def test_units_in_the_metadata_of_the_file(written, metadata):
    columns = read_columns(written({"f": [1.0], "z": [0.1]}, metadata=metadata), ["f", "z"])
    assert columns["f"].unit == "nJy" and columns["z"].unit is None


@pytest.mark.parametrize("key", ["unit", "units", "UNIT"])
def test_units_of_a_field(written, key):
    schema = pa.schema([pa.field("f", pa.float64(), metadata={key: "nJy", "description": "a flux"})])
    column = read_columns(written(pa.table({"f": [1.0]}, schema)), ["f"])["f"]
    assert (column.unit, column.description) == ("nJy", "a flux")


@pytest.mark.parametrize(
    "metadata",
    [{"PANDAS_ATTRS": "{"}, {"PANDAS_ATTRS": "[1]"}, {"PANDAS_ATTRS": '{"units": 3}'},
     {"IVOA.VOTable-Parquet.content": "<VOTABLE>"}, {"PANDAS_ATTRS": '{"units": {"f": 3}}'}],
)  # fmt: skip
def test_metadata_that_say_nothing(written, metadata):
    assert read_columns(written({"f": [1.0]}, metadata=metadata), ["f"])["f"].unit is None


def test_pandas_units(tmp_path):
    frame = pd.DataFrame({"f": [1.0]})
    frame.attrs["units"] = {"f": "mag"}
    frame.to_parquet(tmp_path / "c.parquet")
    assert read_columns(tmp_path / "c.parquet", ["f"])["f"].unit == "mag"


def test_text_and_flags(written):
    path = written(
        {
            "id": [1237648702966988820, None],
            "name": ["a#b", None],
            "ok": [True, None],
            "ratio": [2.0, np.nan],
            "day": [datetime.date(2024, 1, 2), None],
        }
    )
    found = values(
        path, "id", "name", "ok", "ratio", "day", text=["id", "name", "ratio", "day"], flags=["ok"]
    )
    assert found["id"].tolist() == ["1237648702966988820", ""]
    assert found["name"].tolist() == ["a#b", ""] and found["ratio"].tolist() == ["2", ""]
    assert found["day"].tolist() == ["2024-01-02", ""]
    np.testing.assert_array_equal(found["ok"], [1, np.nan])
    assert found["id"].dtype == object and all(isinstance(text, str) for text in found["id"])


def test_an_index_of_pandas_is_a_column(tmp_path):
    frame = pd.DataFrame({"g": [17.0, 18.0]}, index=pd.Index([0.1, 0.2], name="z"))
    frame.to_parquet(tmp_path / "c.parquet")
    assert_columns(tmp_path / "c.parquet", {"z": [0.1, 0.2], "g": [17, 18]})


def test_names_with_dots_blanks_and_capitals(written):
    path = written({"g.mag": [17.0], "g": [1.0], " z": [0.1], "\u03bc": [2.0], "": [3.0]})
    assert_columns(path, {"g.mag": [17], "g": [1], " z": [0.1], "\u03bc": [2]})
    assert "the nearest are ' z'" in refusal(path, "z")
    assert "the nearest are 'g'" in refusal(path, "G")


def test_two_columns_of_one_name(written):
    path = written(pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], ["g", "g", "z"]))
    assert "2 columns called 'g'" in refusal(path, "g")
    assert_columns(path, {"z": [3]})


def test_a_file_that_says_it_has_more_than_it_can_hold(written, monkeypatch):
    path = written({"g": np.zeros(1_000_000)})
    assert_columns(path, {"g": np.zeros(1_000_000)})
    monkeypatch.setattr("popinfer.expansion.FREE_BYTES", 1 << 20)
    monkeypatch.setattr("popinfer.expansion.GROWTH", 2)
    assert "1000000 rows" in refusal(path, "g") and "bytes on disk" in refusal(path, "g")


def test_damaged_files(written):
    path = written({"g": np.random.default_rng(1).normal(size=1000)})
    whole = path.read_bytes()
    for length in (4, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "can't be read as parquet" in refusal(path, "g")


def test_no_rows_and_no_table_to_choose(written):
    path = written({"g": pa.array([], pa.float64())})
    assert_columns(path, {"g": []})
    assert "leave table out" in refusal(path, "g", table=1)


PARTS = {"z": [[0.1, 0.2], [0.3]], "g": [[17.0, 18.0], [19.0]]}


@pytest.mark.parametrize(
    "names", [("a.parquet", "b.parquet"), ("part=0/x.parquet", "part=1/x.parquet"), ("0/x.pq", "0/y.parq")]
)
def test_folders_of_parts(written, tmp_path, names):
    for i, name in enumerate(names):
        written({column: parts[i] for column, parts in PARTS.items()}, f"folder/{name}")
    written({"nothing": [1]}, "folder/_metadata.parquet")
    written({"nothing": [1]}, "folder/.hidden/x.parquet")
    folder = tmp_path / "folder"
    (folder / "_SUCCESS").write_text("")
    assert_columns(folder, {"z": [0.1, 0.2, 0.3], "g": [17, 18, 19]})
    before = fingerprint(folder)
    written({"z": [0.4], "g": [20.0]}, f"folder/{names[1]}")
    assert len(before) == 64 and fingerprint(folder) != before


def test_columns_in_the_names_of_folders(written, tmp_path):
    for i in range(2):
        written({"g": [17.0, 18.0]}, f"folder/field={i}/region=x/p.parquet")
    assert_columns(tmp_path / "folder", {"field": [0, 0, 1, 1], "g": [17, 18, 17, 18]})
    assert "'x' in row 0" in refusal(tmp_path / "folder", "region")
    written({"g": [17.0]}, "folder/plain.parquet")
    assert "'field'" in refusal(tmp_path / "folder", "field")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"z": [0.3], "g": ["19"]}, "column 'g' is double in part a.parquet and string in part b.parquet"),
        ({"z": [0.3], "g": np.array([1], np.int32)}, "double in part a.parquet and int32"),
        ({"z": [0.3]}, "'g' is double in part a.parquet and missing in part b.parquet"),
        ({"z": [0.3], "g": [1.0], "g.mask": [True]}, "'g.mask' is missing in part a.parquet"),
    ],
)
def test_parts_that_differ(written, tmp_path, other, said):
    written({"z": [0.1], "g": [17.0]}, "folder/a.parquet")
    written(other, "folder/b.parquet")
    assert said in refusal(tmp_path / "folder", "z", "g")
    assert_columns(tmp_path / "folder", {"z": [0.1, 0.3]})


def test_folders_that_are_no_catalog(written, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "without Parquet files" in refusal(folder, "z")
    (folder / "a.parquet").write_bytes(b"PAR1 garbage")
    assert "a.parquet" in refusal(folder, "z")
    (tmp_path / "c.fits").mkdir()
    assert "is a folder" in refusal(tmp_path / "c.fits", "z")
    assert "is a folder" in refusal(folder, "z", format="csv")
