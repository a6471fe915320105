"""HDF5: groups, compound tables, vaex and pandas layouts; what isn't really in the file is refused."""

import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable
from table_reading import assert_columns, refusal, values

from popinfer.data.catalog_io import read_columns

Z, G = [0.1, 0.2, 0.3], [17.0, 18.0, 19.0]


@pytest.fixture
def store(tmp_path):
    """Make a file with a function of the open store; its path."""

    def make(fill, name="c.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            fill(file)
        return tmp_path / name

    return make


def put(columns, at=""):
    def fill(file):
        for name, array in columns.items():
            file[f"{at}{name}"] = array

    return fill


def compound(columns):
    names = list(columns)
    table = np.zeros(len(columns[names[0]]), [(name, np.asarray(columns[name]).dtype) for name in names])
    for name in names:
        table[name] = columns[name]
    return table


@pytest.mark.parametrize("at", ["", "photometry/", "a/b/c/"])
def test_groups_of_columns(store, at):
    assert_columns(store(put({"z": Z, "g": G, "id": [1, 2, 3]}, at)), {"z": Z, "g": G})


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", ">i2", "<u8", ">i8", "u1", "i1"])
def test_every_numeric_type(store, dtype):
    array = np.array([1, 2, 100], dtype)
    assert_columns(store(put({"z": array, "v": np.stack([array, array], 1)})), {"z": array, "v[1]": array})


def test_big_endian_compound(store):
    table = compound({"z": np.array(Z, ">f4"), "g": np.array([1, 2, 3], ">i4")})
    assert_columns(store(put({"data/t": table})), {"z": np.array(Z, np.float32), "g": [1, 2, 3]})


def test_several_tables(store):
    def fill(file):
        put({"z": Z, "g": G}, "one/")(file)
        put({"z": [9.0]}, "two/")(file)
        file["three/t"] = compound({"z": [5.0], "h": [1.0]})
        file["comment"] = "text"

    path = store(fill)
    assert_columns(path, {"z": Z, "g": G})
    message = refusal(path, "z")
    assert "several tables have all the columns" in message
    assert all(name in message for name in ("'/one'", "'/two'", "'/three/t'"))
    for table, expected in {"one": Z, "/two": [9.0], "/two/": [9.0], "three/t": [5.0]}.items():
        assert_columns(path, {"z": expected}, table=table)
    assert "has no table 'four'" in refusal(path, "z", table="four")
    assert "'/two' lacks 'g'" in refusal(path, "g", "h")
    assert "the nearest are" in refusal(path, "zz")


@pytest.mark.parametrize("serialize", [True, False])
def test_tables_of_astropy(tmp_path, serialize):
    path = tmp_path / "c.h5"
    table = QTable(
        {
            "f": [1.0, 2.0] * u.nJy,
            "m": [17.0, 18.0] * u.ABmag,
            "k": MaskedColumn([1, 2], mask=[False, True], unit="uJy", description="flux"),
            "v": [[1.0, 2], [3, 4]],
        }
    )
    table.write(path, path="sky/t", serialize_meta=serialize)
    columns = read_columns(path, ["f", "m", "k", "v[1]"])
    np.testing.assert_array_equal(columns["k"].values, [1, np.nan])
    np.testing.assert_array_equal(columns["v[1]"].values, [2, 4])
    units = ["nJy", "mag(AB)", "uJy", None] if serialize else [None] * 4
    assert [column.unit for column in columns.values()] == units
    assert columns["k"].description == ("flux" if serialize else None)


@pytest.mark.parametrize("key", ["unit", "units", "UNIT", "Units"])
@pytest.mark.parametrize(
    "value", ["nJy", b"nJy", np.array(["nJy"], "S5"), np.array("nJy", h5py.string_dtype())]
)
def test_units_among_attributes(store, key, value):
    def fill(file):
        file["f"] = [1.0]
        file["f"].attrs[key] = value
        file["f"].attrs["description"] = "a flux"
        file["z"] = [0.1]
        file["z"].attrs["unit"] = ""

    columns = read_columns(store(fill), ["f", "z"])
    assert (columns["f"].unit, columns["f"].description) == ("nJy", "a flux")
    assert columns["z"].unit is None


def test_units_of_a_compound_table_as_a_list(store):
    def fill(file):
        file["t"] = compound({"z": Z, "f": G})
        file["t"].attrs["units"] = np.array(["", "nJy"], "S5")

    columns = read_columns(store(fill), ["z", "f"])
    assert (columns["z"].unit, columns["f"].unit) == (None, "nJy")


@pytest.mark.parametrize("value", [3.5, np.array([1, 2]), h5py.Empty("S1"), np.array(["a", "b"], "S1")])
def test_attributes_that_are_no_unit(store, value):
    def fill(file):
        file["f"] = [1.0]
        file["f"].attrs["unit"] = value

    assert read_columns(store(fill), ["f"])["f"].unit is None


def test_masks_beside_columns(store):
    mask = [True, False, False]
    assert_columns(store(put({"g": G, "g.mask": mask, "z": Z})), {"g": [np.nan, 18, 19], "z": Z})
    table = compound({"g": G, "g.mask": np.array(mask)})
    assert_columns(store(put({"t": table})), {"g": [np.nan, 18, 19]})
    assert "'g.mask'" in refusal(store(put({"g": G, "g.mask": [0, 1, 7]})), "g")
    refusal(store(put({"g": G, "g.mask": [True]})), "g")


def test_vaex(store):
    def fill(file):
        for name, array in {"z": Z, "g": G}.items():
            file[f"table/columns/{name}/data"] = array
        file["table/columns/g/mask"] = [False, True, False]
        file["table/columns/g"].attrs["unit"] = "mag"

    path = store(fill)
    assert_columns(path, {"z": Z, "g": [17, np.nan, 19]})
    assert read_columns(path, ["g"])["g"].unit == "mag"


def frame_fixed(file):
    """A frame in pandas' "fixed" format, as pandas 3.1 with PyTables 3.11 writes it."""
    group = file.create_group("cat")
    group.attrs["pandas_type"] = np.bytes_("frame")
    group["axis0"] = np.array(["z", "g", "n", "t", "b"], "S1")
    group["axis1"] = np.arange(3)
    group["block0_items"] = np.array(["z", "g"], "S1")
    group["block0_values"] = np.stack([Z, G], axis=1)
    group["block1_items"] = np.array(["n"], "S1")
    group["block1_values"] = np.array([[1], [2], [3]])
    group["block2_items"] = np.array(["t"], "S1")
    group["block2_values"] = np.array([[10**15], [1], [2]])
    group["block2_values"].attrs["value_type"] = np.bytes_("datetime64[us]")
    group["block3_items"] = np.array(["b"], "S1")
    h5py.h5d.create(group.id, b"block3_values", h5py.h5t.STD_B8LE, h5py.h5s.create_simple((3, 1))).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.array([[1], [0], [1]], np.uint8), mtype=h5py.h5t.STD_B8LE
    )


def frame_table(file):
    """A frame in pandas' "table" format: names are pickled in attributes."""
    group = file.create_group("cat")
    group.attrs["pandas_type"] = np.bytes_("frame_table")
    table = np.zeros(
        3, [("index", "i8"), ("values_block_0", "f8", (2,)), ("values_block_1", "i8", (1,)), ("n", "i8")]
    )
    table["values_block_0"] = np.stack([Z, G], axis=1)
    table["n"] = [1, 2, 3]
    group["table"] = table
    attrs = group["table"].attrs
    attrs["values_block_0_kind"] = np.bytes_(b"(lp0\nVz\np1\naVg\np2\na.")
    attrs["values_block_0_dtype"] = np.bytes_("float64")
    attrs["values_block_1_kind"] = np.bytes_(b"(lp0\nVt\np1\na.")
    attrs["values_block_1_dtype"] = np.bytes_("datetime64[us]")
    file["cat/_i_table/index/sorted"] = np.arange(3.0)
    file["cat/_i_table"].attrs["CLASS"] = np.bytes_("TINDEX")


@pytest.mark.parametrize("fill", [frame_fixed, frame_table])
def test_frames_of_pandas(store, fill):
    path = store(fill)
    assert_columns(path, {"z": Z, "g": G, "n": [1, 2, 3]})
    assert_columns(path, {"z": Z}, table="cat")
    assert "holds dates (datetime64[us]), not numbers" in refusal(path, "t")


def test_flags_of_pytables(store):
    path = store(frame_fixed)
    assert "true and false" in refusal(path, "b")
    assert_columns(path, {"b": [1, 0, 1]}, flags=["b"])


def test_pickled_names_are_never_executed(store):
    def fill(file):
        frame_table(file)
        evil = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
        file["cat/table"].attrs["values_block_0_kind"] = np.bytes_(evil)

    assert "no column 'z'" in refusal(store(fill), "z")


def test_categories_of_pandas_are_codes(store):
    def fill(file):
        frame_table(file)
        file["cat/table"].attrs["n_meta"] = np.bytes_("category")

    assert "codes of categories" in refusal(store(fill), "n")


def test_text_and_flags(store):
    columns = {
        "id": [1237648702966988820, 5],
        "name": np.array(["a#b ", "\u03b1"], h5py.string_dtype()),
        "tag": np.array(["x", "y"], "S3"),
        "ok": [True, False],
        "n": np.array(["12.3 ", ""], h5py.string_dtype()),
    }
    path = store(lambda file: [file.create_dataset(name, data=array) for name, array in columns.items()])
    found = values(path, "id", "name", "tag", "ok", "n", text=["id", "name", "tag"], flags=["ok"])
    assert found["id"].tolist() == ["1237648702966988820", "5"]
    assert found["name"].tolist() == ["a#b", "\u03b1"] and found["tag"].tolist() == ["x", "y"]
    np.testing.assert_array_equal(found["n"], [12.3, np.nan])
    np.testing.assert_array_equal(found["ok"], [1, 0])
    assert "1237648702966988820 in row 0" in refusal(path, "id")
    assert "'x' in row 0" in refusal(path, "tag")


def ragged(file):
    data = file.create_dataset("g", (2,), h5py.vlen_dtype(np.float64))
    data[0], data[1] = [1.0], [1.0, 2.0]


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (ragged, "lists of variable length"),
        (lambda f: f.create_dataset("g", data=[1 + 1j]), "complex numbers"),
        (lambda f: f.create_dataset("g", data=[True]), "true and false"),
        (lambda f: f.create_dataset("g", (2,), h5py.enum_dtype({"S": 0, "G": 1})), "enumeration"),
        (lambda f: f.create_dataset("g", data=np.zeros(2, "V8")), "opaque"),
        (lambda f: f.create_dataset("g", (2,), h5py.ref_dtype), "references"),
        (lambda f: f.create_dataset("g", data=np.zeros((2, 3))), "name one element, as in g[0]"),
        (lambda f: f.create_dataset("g", data=np.zeros((2, 3, 4))), "shape (2, 3, 4)"),
        (lambda f: f.create_dataset("g", data=1.0), "single value"),
        (lambda f: f.create_dataset("g", data=h5py.Empty("f8")), "single value"),
        (lambda f: f.create_dataset("g", data=np.zeros(2, [("a", "f8")])), "no column 'g'"),
        (lambda f: f.create_group("g"), "holds no table"),
        (lambda f: None, "holds no table"),
    ],
)  # fmt: skip
def test_what_holds_no_numbers(store, fill, said):
    assert said in refusal(store(fill), "g")


def test_lengths_that_differ(store):
    message = refusal(store(put({"z": Z, "g": [1.0]})), "z", "g")
    assert "differ in length: 'z' 3, 'g' 1" in message
    assert_columns(store(put({"z": Z, "g": [1.0]})), {"g": [1.0]})


@pytest.mark.parametrize("name", ["g[3]", "g[-1]", "g[0]"])
def test_elements(store, name):
    path = store(put({"g": np.zeros((2, 3)), "z": Z}))
    if name == "g[0]":
        return assert_columns(path, {name: [0, 0]})
    assert "no such element; the column has 3 elements" in refusal(path, name)
    return None


def link_in_a_circle(file):
    put({"z": Z, "g": G}, "a/")(file)
    file["a/self"] = file["a"]
    file["a/root"] = file["/"]
    file["a/soft"] = h5py.SoftLink("/a")
    file["a/outside"] = h5py.ExternalLink("c.h5", "/")
    file["lost"] = h5py.SoftLink("/nowhere")
    file["gone"] = h5py.ExternalLink("gone.h5", "/")


def test_links_in_circles_end(store):
    path = store(link_in_a_circle)
    assert_columns(path, {"z": Z, "g": G})
    assert "no column" in refusal(path, "h")


def test_links_to_nowhere_are_named(store):
    path = store(lambda f: (put({"z": Z})(f), f.update({"g": h5py.ExternalLink("gone.h5", "/g")})))
    assert "column 'g' is a link to 'gone.h5', which isn't there" in refusal(path, "z", "g")
    path = store(lambda f: (put({"z": Z})(f), f.update({"g": h5py.SoftLink("/nowhere")})))
    assert "'/nowhere'" in refusal(path, "z", "g")
    assert_columns(path, {"z": Z})


def test_links_to_other_files(store):
    store(put({"g": G}), "other.h5")
    path = store(lambda f: (put({"z": Z})(f), f.update({"g": h5py.ExternalLink("other.h5", "/g")})))
    assert_columns(path, {"z": Z, "g": G})


def test_many_groups_deep_and_wide(store):
    def fill(file):
        put({"z": Z}, "/".join(f"d{i}" for i in range(20)) + "/")(file)
        for i in range(300):
            file.create_group(f"wide/{i}")

    assert_columns(store(fill), {"z": Z})


def test_a_group_of_many_columns(store):
    path = store(put({f"c{i}": [float(i)] for i in range(3000)}))
    assert_columns(path, {"c2999": [2999]})
    assert "the nearest are" in refusal(path, "d2999")


def declared(rows, **options):
    def fill(file):
        file.create_dataset("g", (rows,), "f8", chunks=(min(rows, 1 << 20),), **options)
        file["g"][:100] = 1.0

    return fill


def test_two_gigabytes_out_of_ten_kilobytes(store):
    message = refusal(store(declared(250_000_000, compression="gzip")), "g")
    assert "250000000 rows" in message and "2.0 GB" in message and "bytes on disk" in message


def test_what_was_never_written(store):
    message = refusal(store(declared(5_000_000)), "g")
    assert "only 20% of it was ever written" in message and "0.0" in message
    assert "only 0%" in refusal(store(lambda f: f.create_dataset("g", (10,), "f8")), "g")
    path = store(
        lambda f: f.create_dataset("g", (3,), "f8", chunks=(1,), fillvalue=np.nan).write_direct(
            np.array([17.0]), dest_sel=np.s_[:1]
        )
    )
    assert_columns(path, {"g": [17, np.nan, np.nan]})


def test_virtual_datasets_without_their_sources(store, tmp_path):
    store(put({"g": G}), "part.h5")

    def fill(file):
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource("part.h5", "g", (3,))
        file.create_virtual_dataset("g", layout)

    path = store(fill)
    assert_columns(path, {"g": G})
    (tmp_path / "part.h5").unlink()
    assert "'g' is made of g in 'part.h5', which isn't there" in refusal(path, "g")
    store(put({"h": G}), "part.h5")
    assert "isn't there" in refusal(path, "g")


def test_virtual_datasets_with_gaps(store):
    store(put({"g": G}), "part.h5")

    def fill(file):
        layout = h5py.VirtualLayout((5,), "f8")
        layout[:3] = h5py.VirtualSource("part.h5", "g", (3,))
        file.create_virtual_dataset("g", layout)

    assert "2 of its values have no source" in refusal(store(fill), "g")


def test_external_storage(store, tmp_path):
    def fill(file):
        file.create_dataset("g", (3,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 24)])[:] = G

    path = store(fill)
    assert_columns(path, {"g": G})
    (tmp_path / "raw.bin").unlink()
    assert "raw.bin" in refusal(path, "g")


def test_fill_values_and_packing_of_netcdf(store):
    def fill(file):
        file["g"] = np.array([170, -999, 190], np.int16)
        file["g"].attrs.update({"_FillValue": np.int16(-999), "scale_factor": 0.1, "add_offset": 1.0})
        file["z"] = np.array([0.5, 9.96921e36], np.float32)[[0, 1, 0]]
        file["z"].attrs["missing_value"] = np.float32(9.96921e36)

    path = store(fill)
    found = values(path, "g", "z")
    np.testing.assert_allclose(found["g"], [18, np.nan, 20], rtol=1e-15)
    np.testing.assert_array_equal(found["z"], [0.5, np.nan, 0.5])


def test_only_some_chunks_at_a_time(store):
    numbers = np.random.default_rng(3).normal(size=3_000_000)

    def fill(file):
        file.create_dataset("g", data=numbers, chunks=(70_001,), compression="lzf")
        file.create_dataset("z", data=numbers[::-1])

    assert_columns(store(fill), {"g": numbers, "z": numbers[::-1]})


def test_damaged_files(store):
    path = store(put({"z": np.arange(10_000.0)}))
    whole = path.read_bytes()
    for length in (8, 100, 2000, len(whole) // 2):
        path.write_bytes(whole[:length])
        assert "can't be read as hdf5" in refusal(path, "z")
    path.write_bytes(b"\0" * 512 + whole)  # a user block before the file, which is allowed
    assert_columns(path, {"z": np.arange(10_000.0)})


def test_no_rows(store):
    assert_columns(store(put({"z": np.empty(0)})), {"z": []})
    table = np.zeros(0, [("z", "f8")])
    assert_columns(store(put({"t": table})), {"z": []})
