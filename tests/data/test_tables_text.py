"""CSV and ECSV: every cell is where its header says, or the file is refused with row and value."""

import bz2
import gzip

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from table_reading import assert_columns, refusal, values

from popinfer.data.catalog_io import read_columns

HEADER = "id,z,g\n"
ROWS = "a,0.1,17.5\nb,0.2,18.5\n"
EXPECTED = {"z": [0.1, 0.2], "g": [17.5, 18.5]}


@pytest.fixture
def written(tmp_path):
    def write(content, name="c.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROWS,
        HEADER + ROWS.rstrip("\n"),
        "\ufeff" + HEADER + ROWS,
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r"),
        (HEADER + ROWS).replace(",", ";"),
        (HEADER + ROWS).replace(",", "\t"),
        (HEADER + ROWS).replace(",", "|"),
        (HEADER + ROWS).replace(",", "   "),
        "  id   z    g \n  a 0.1\t17.5  \n b    0.2 18.5\n",
        "# " + HEADER + ROWS,
        "#" + HEADER + ROWS,
        "# a table, of z\n#\n" + HEADER + ROWS,
        "# " + HEADER + "# [none], [none], [mag]\n" + ROWS,
        "\n\n" + HEADER + "\n" + ROWS + "\n\n",
        HEADER + "# a comment, with, commas\n" + ROWS + "# the end",
        'id,"z","g"\n"a",0.1,"17.5"\n"b",0.2,18.5\n',
        'id,z,g\n"a, b ""c""",0.1,17.5\nb,0.2,18.5\n',
        "id, z, g\na, 0.1, 17.5 \nb,\t0.2,18.5\n",
        "id,z,g,\na,0.1,17.5,\nb,0.2,18.5,\n",
        "id,id,z,g\na,x,0.1,17.5\nb,y,0.2,18.5\n",
        HEADER + "NGC 5' 7\",1e-1,1.75E+01\nb,+0.2,0018.5\n",
        HEADER + "a,1.0D-01,1.75d+01\nb,0.2,18.5\n",
        HEADER + "\xe9,.1,17.5\n\u03b1,2.e-1,18.5\n",
        "g,note,z,id\n17.5,,0.1,a\n18.5,x,0.2,b\n",
    ],
)
def test_harmless_ways_to_write_a_table(written, content):
    assert_columns(written(content), EXPECTED)


def test_hash_signs_inside_cells_are_no_comments(written):
    rows = "".join(f"obj#{i},{0.1 + i / 100},17.{i}\n" for i in range(8))
    path = written(HEADER + rows)
    assert_columns(path, {"z": [0.1 + i / 100 for i in range(8)]})
    assert values(path, "id", text=["id"])["id"].tolist() == [f"obj#{i}" for i in range(8)]


def test_a_last_line_without_its_end_is_said(written):
    lines = []
    read_columns(written(HEADER + "a,0.1,17\nb,0.2,1"), ["z"], say=lines.append)
    assert lines == ["c.csv: its last line has no end; is the file complete?"]


def test_comments_among_the_rows_are_said(written):
    lines = []
    read_columns(written(HEADER + "a,0.1,17\n#b,0.2,18\nc,0.3,19\n"), ["z"], say=lines.append)
    assert lines == ["c.csv: comments among its rows, which start with #, are left out: 1"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,0.1,17\nb,0.2,INDEF\n", ["'g'", "'INDEF' in row 1", "list it under missing"]),
        ("a,0.1,--\n", ["'g'", "'--' in row 0", "list it under missing"]),
        ("a,0.1,N/D\n", ["'N/D' in row 0"]),
        ('a,0.1,"17,5"\n', ["'17,5' in row 0", "decimal point"]),
        ('a,0.1,"1,017.5"\n', ["'1,017.5' in row 0", "separators of thousands"]),
        ("a,0.1,1_000\n", ["'1_000' in row 0", "plain decimal digits"]),
        ("a,0.1,0x11\n", ["'0x11' in row 0", "plain decimal digits"]),
        ("a,0.1,True\n", ["'True' in row 0", "true and false aren't measurements"]),
        ("a,0.1,2024-02-30\n", ["'2024-02-30' in row 0", "date"]),
        ("a,0.1,17.5mag\n", ["'17.5mag' in row 0"]),
        ("a,0.1,17.5 18.5\n", ["'17.5 18.5' in row 0"]),
        ("a,0.1,\u221217.5\n", ["'\u221217.5' in row 0"]),
        ("a,0.1,\u0661\u0667\n", ["in row 0"]),
        ("a,0.1,>23.5\n", ["'>23.5' in row 0"]),
        ("a,0.1,#REF!\n", ["'#REF!' in row 0"]),
        ("a,0.1,17\nb,0.2\n", ["row 1", "2 cells", "header has 3", "'b,0.2'"]),
        ("a,0.1,17\nb,0.2,18,\n", ["row 1", "4 cells", "header has 3"]),
        ("a,0.1,17,\nb,0.2,18,\n", ["row 0", "4 cells", "header has 3"]),
        ("a,0,1,17,5\nb,0,2,18,5\n", ["row 0", "5 cells", "header has 3"]),
        ('"a,0.1,17\nb,0.2,18\nc",0.3,19\n', ["quote"]),
        ('a,0.1,17\n"b,0.2,18\n', ["row 1", "1 cells", "header has 3"]),
        ("a,0.1,17\x00\n", ["row 0"]),
        ("a,0.1,inf f\n", ["'inf f'"]),
        (f"a,0.1,{'9' * 3000}x\n", ["row 0", "999..."]),
    ],
)
def test_cells_and_rows_that_are_refused(written, rows, said):
    message = refusal(written(HEADER + rows), "z", "g")
    for words in said:
        assert words in message


def test_a_missing_quote_in_the_last_column_swallows_no_rows(written):
    rows = '0.1,17,a\n0.2,18,"b\n0.3,19,c\n'
    assert "quote is missing" in refusal(written("z,g,id\n" + rows), "z", "g")
    assert "over the end of its line" in refusal(written("z,g,id\n" + rows + '0.4,20,"d\n'), "z", "g")


def test_the_row_of_a_bad_cell_is_right_far_down_and_after_comments(written):
    rows = "".join(f"x{i},0.1,17.5\n" + ("# note\n\n" if i % 7 == 0 else "") for i in range(400_000))
    message = refusal(written(HEADER + rows + "y,0.1,bad\n"), "g")
    assert "'bad' in row 400000 " in message
    message = refusal(written(HEADER + rows + "y,0.1\n"), "g")
    assert "row 400000 " in message and "2 cells" in message


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", " ", "-nan", "#N/A"])
def test_empty_cells_are_missing(written, cell):
    assert_columns(written(f"{HEADER}a,0.1,{cell}\nb,0.2,18.5\n"), {"g": [np.nan, 18.5]})


def test_words_for_missing_values(written):
    path = written(HEADER + "a,0.1,INDEF\nb,0.2,--\nc,0.3,18.5\nd,0.4,99.9\n")
    assert_columns(path, {"g": [np.nan, np.nan, 18.5, 99.9]}, missing=["INDEF", "--"])
    assert_columns(path, {"g": [np.nan, np.nan, 18.5, np.nan]}, missing=["INDEF", "--", "99.9"])


def test_numbers_are_rounded_as_numpy_does(written):
    cells = [f"{number:.17g}" for number in np.random.default_rng(1).normal(20, 3, 2000)]
    assert_columns(
        written("g,z\n" + "".join(f"{cell},1\n" for cell in cells)), {"g": [float(c) for c in cells]}
    )


def test_infinities_are_left_to_the_reader_of_meanings(written):
    assert_columns(written(HEADER + "a,0.1,inf\nb,0.2,-Infinity\n"), {"g": [np.inf, -np.inf]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("0.1,17.5\n0.2,18.5\n", ["begins with numbers", "header line"]),
        ("0.1 17.5\n", ["begins with numbers"]),
        ("id,redshift,G\n" + ROWS, ["no column 'z'", "nearest"]),
        ("id,z, G\n" + ROWS, ["no column 'g'", "the nearest are 'G'"]),
        ("z,g,g\n0.1,17,18\n", ["2 columns called 'g'"]),
        ("z,g\xb5\n0.1,17\n", ["no column 'g'", "'g\xb5'"]),
        ("# only comments\n", ["no header line"]),
        ("\n\n", ["no header line"]),
        ("", ["is empty"]),
        (b"z,g\n\x00\x01\x02,1\n", ["'\\x00\\x01\\x02' in row 0"]),
        (b"\x00\x01binary\n", ["no text has"]),
        ("z,g\n0.1,17\n".encode("utf-16"), ["UTF-16"]),
        ("PK\x03\x04", ["zip"]),
        ("<?xml version='1.0'?><VOTABLE/>", ["VOTable"]),
        (b"\x93NUMPY\x01\x00", ["NumPy"]),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS pointer"]),
    ],
)
def test_headers_and_contents_that_are_refused(written, content, said):
    message = refusal(written(content), "z", "g")
    for words in said:
        assert words in message


def test_no_rows(written):
    assert_columns(written(HEADER), {"z": [], "g": []})


def test_text_columns_keep_every_digit(written):
    path = written("id,z\n1237648702966988820,0.1\n007,0.2\n,0.3\n")
    assert values(path, "id", text=["id"])["id"].tolist() == ["1237648702966988820", "007", ""]


def test_text_in_latin_1(written):
    path = written("name,z\n\xe9,0.1\n".encode("latin-1"))
    assert_columns(path, {"z": [0.1]})
    assert "UTF-8" in refusal(path, "name", text=["name"])


def test_flags(written):
    path = written("z,clean\n0.1,True\n0.2,false\n0.3,1\n0.4,0\n0.5,\n")
    assert_columns(path, {"clean": [1, 0, 1, 0, np.nan]}, flags=["clean"])
    assert "'z'" in refusal(path, "z", flags=["z"]) and "0.1" in refusal(path, "z", flags=["z"])


def test_names_with_brackets_and_blanks(written):
    path = written("mag[2],mag g,\u03bc_r,z\n17,18,19,0.1\n")
    assert_columns(path, {"mag[2]": [17], "mag g": [18], "\u03bc_r": [19]})
    assert "no such element" in refusal(path, "z[0]")


@pytest.mark.parametrize(("opener", "name"), [(gzip.compress, "c.csv.gz"), (bz2.compress, "c.csv.bz2")])
def test_compressed_text(written, opener, name):
    packed = opener((HEADER + ROWS).encode())
    assert_columns(written(packed, name), EXPECTED)
    assert "c.csv" in refusal(written(packed[: len(packed) // 2], name), "z", "g")


def test_a_file_that_expands_without_bounds(written, monkeypatch):
    monkeypatch.setattr("popinfer.expansion.FREE_BYTES", 1 << 20)
    packed = gzip.compress(HEADER.encode() + b"a,0.1,17.5\n" * 2_000_000)
    assert "expands from" in refusal(written(packed, "c.csv.gz"), "z", "g")


def test_more_comments_than_a_block_before_the_header(written):
    comments = f"# a comment, of some length, {'x' * 900} before the header\n" * 10_000
    assert_columns(written(comments + HEADER + ROWS), EXPECTED)
    assert_columns(written(comments + "# " + HEADER + ROWS), EXPECTED)


def test_many_columns(written):
    names = ",".join(f"c{i}" for i in range(100_000))
    path = written(
        f"z,{names}\n" + "".join(f"0.{row}," + ",".join(["1"] * 100_000) + "\n" for row in range(5))
    )
    assert_columns(path, {"z": [0.0, 0.1, 0.2, 0.3, 0.4], "c99999": [1] * 5})
    assert "no column 'cc'" in refusal(path, "cc")


def ecsv_table():
    return QTable(
        {
            "z": [0.1, 0.2, 0.3],
            "f": [1.0, 2.0, 3.0] * u.nJy,
            "m": [17.0, 18.0, 19.0] * u.ABmag,
            "k": MaskedColumn([1, 2, 3], mask=[False, True, False], unit="uJy", description="flux of k"),
            "v": np.arange(6.0).reshape(3, 2),
            "b": [True, False, True],
            "name": ["a b", "#c", ""],
        }
    )


@pytest.mark.parametrize("delimiter", [" ", ","])
@pytest.mark.parametrize("name", ["c.ecsv", "c.csv"])
def test_ecsv(tmp_path, delimiter, name):
    ecsv_table().write(tmp_path / name, format="ascii.ecsv", delimiter=delimiter)
    columns = read_columns(
        tmp_path / name, ["z", "f", "m", "k", "v[1]", "b", "name"], text=["name"], flags=["b"]
    )
    assert [column.unit for column in columns.values()] == [None, "nJy", "mag(AB)", "uJy", None, None, None]
    assert columns["k"].description == "flux of k"
    np.testing.assert_array_equal(columns["k"].values, [1, np.nan, 3])
    np.testing.assert_array_equal(columns["v[1]"].values, [1, 3, 5])
    np.testing.assert_array_equal(columns["m"].values, [17, 18, 19])
    np.testing.assert_array_equal(columns["b"].values, [1, 0, 1])
    assert columns["name"].values.tolist() == ["a b", "#c", ""]


def test_ecsv_refusals(tmp_path):
    path = tmp_path / "c.ecsv"
    ecsv_table().write(path, format="ascii.ecsv")
    assert "'v'" in refusal(path, "v")
    assert "no such element" in refusal(path, "v[2]") and "2 elements" in refusal(path, "v[2]")
    assert "no such element" in refusal(path, "v[-1]")
    assert "true and false" in refusal(path, "b")
    assert "leave table out" in refusal(path, "z", table="x")
    text = path.read_text()
    path.write_text(text.replace("z f m k v b name", "f z m k v b name"))
    assert "doesn't name the columns" in refusal(path, "z")
    path.write_text(text.replace("# datatype:", "# datatypo:"))
    assert "description of its columns" in refusal(path, "z")
    path.write_text(text.replace("{name: z,", "{name: [z,"))
    assert "description of its columns" in refusal(path, "z")


def test_ecsv_with_its_mask_in_a_column(tmp_path):
    table = Table({"g": MaskedColumn([17.0, 18.0], mask=[True, False]), "z": [0.1, 0.2]})
    table["g"].info.serialize_method["ecsv"] = "data_mask"
    table.write(tmp_path / "c.ecsv")
    assert_columns(tmp_path / "c.ecsv", {"g": [np.nan, 18], "z": [0.1, 0.2]})


def test_aligned_ecsv_as_other_programs_write_it(written):
    header = (
        "# %ECSV 0.9\n# ---\n# datatype:\n# - name: z\n#   datatype: float64\n# - name: g\n#   unit: mag\n"
    )
    path = written(header + "#   datatype: float32\n#\nz      g\n0.10   17.5\n0.2\t\t18.5\n", "c.ecsv")
    assert_columns(path, EXPECTED)
    assert read_columns(path, ["g"])["g"].unit == "mag"


def test_csv_with_a_mask_beside_a_column(written):
    path = written("z,g,g.mask\n0.1,17,True\n0.2,18,False\n0.3,19,\n")
    assert_columns(path, {"g": [np.nan, 18, 19]})
    path = written("z,g,g.mask\n0.1,17,3\n")
    assert "'g.mask'" in refusal(path, "g") and "neither true nor false" in refusal(path, "g")
