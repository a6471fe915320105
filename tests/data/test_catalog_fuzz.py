"""Catalogs written in every format and then spoilt: the same values, or one line that refuses them.

Whatever is done to a file, reading it gives the values that were written or an InputError: no other
exception, and no value that was not in the file. The examples are the same in every run.
"""

import csv
import re
import tempfile
import warnings
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, assume, given, settings

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.errors import InputError

ROWS = 40
FORMATS = ("parquet", "folder", "fits", "hdf5", "compound", "csv", "ecsv")
SUFFIX = {"compound": "h5", "hdf5": "hdf5", "folder": "d"}
NAMES = ("z", "g", "eg", "r", "er")
# Exceptions that only a mistake in the readers makes; the catch-all for damaged files must not hide them.
MISTAKES = re.compile(
    r"TypeCheckError|\((TypeError|AttributeError|NameError|UnboundLocalError|AssertionError)"
)


def fuzz(examples):
    """The same examples in every run, a quarter of them without --all; no limit of time for a single one."""
    return settings(
        max_examples=examples * settings.default.max_examples // 100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def sample():
    """Columns whose values single precision holds exactly; every redshift is another."""
    rng = np.random.default_rng(11)
    columns = {"z": rng.permutation(ROWS) / 256 + 0.0625}
    for band in "gr":
        columns[band] = rng.integers(16 * 64, 21 * 64, ROWS) / 64
        columns[f"e{band}"] = rng.integers(1, 12, ROWS) / 128
    return columns


BASE = sample()


def spec(path, rename=None, **changes):
    name = {column: (rename or {}).get(column, column) for column in NAMES}
    bands = {band: BandColumns(f"sdss_{band}0", name[band], name[f"e{band}"]) for band in "gr"}
    return CatalogSpec(path=path, bands=bands, redshift=name["z"], **changes)


def load(path, **options):
    """The catalog, or None where it is refused in lines that name the file, one a mistake."""
    return load_as(spec(path, **options))


def load_as(described):
    """The catalog of a description, or None where it is refused: lines that name the file, one a mistake."""
    path = Path(described.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return load_catalog(described)
    except InputError as error:
        for line in error.lines:
            assert "\n" not in line and path.name[:20] in line and len(line) < 1500, line
            assert not MISTAKES.search(line), line
        return None


def check_rows(catalog, columns=BASE):
    """Every row of the catalog is one that was written, with all its values."""
    rows = {z: i for i, z in enumerate(columns["z"].tolist())}
    index = [rows[z] for z in np.asarray(catalog.z).tolist()]
    assert len(set(index)) == len(index)
    for axis, band in enumerate("gr"):
        np.testing.assert_array_equal(np.asarray(catalog.mag)[:, axis], columns[band][index])
        np.testing.assert_array_equal(np.asarray(catalog.mag_err)[:, axis], columns[f"e{band}"][index])
    return index


def is_ascii(cells):
    return all(not isinstance(cell, str) or cell.isascii() for cell in cells)


def write(folder, kind, columns, options):
    """A file, or a folder, of this kind with these columns; `options` choose how it is written."""
    path = Path(folder) / f"catalog.{SUFFIX.get(kind, kind)}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WRITERS[kind](path, columns, options)
    return path


def as_arrow(columns):
    arrays = {}
    for name, values in columns.items():
        if isinstance(values, np.ma.MaskedArray):
            arrays[name] = pa.array(values.data, mask=np.ma.getmaskarray(values))
        elif isinstance(values, np.ndarray) and values.ndim > 1:
            arrays[name] = pa.array(list(values))
        else:
            arrays[name] = pa.array(values)
    return pa.table(arrays)


def write_parquet(path, columns, options):
    pq.write_table(
        as_arrow(columns),
        path,
        row_group_size=options.get("step", 7),
        compression=["none", "snappy", "gzip", "zstd"][options.get("choice", 0) % 4],
        use_dictionary=bool(options.get("choice", 0) % 2),
    )


def write_folder(path, columns, options):
    table, step = as_arrow(columns), options.get("step", 7)
    for number, start in enumerate(range(0, max(table.num_rows, 1), step)):
        name = f"part={number:03d}/x.parquet" if options.get("choice", 0) % 2 else f"{number:03d}.parquet"
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(start, step), path / name)


def as_astropy(columns):
    return Table(
        {name: MaskedColumn(c) if isinstance(c, np.ma.MaskedArray) else c for name, c in columns.items()}
    )


def write_fits(path, columns, options):
    table = fits.table_to_hdu(as_astropy(columns))
    table.name = "PHOT"
    others = [fits.ImageHDU(np.zeros((2, 3))), fits.BinTableHDU(Table({"z": [1.0], "ra": [2.0]}))]
    choice = options.get("choice", 0)
    fits.HDUList([fits.PrimaryHDU(), *others[: choice % 3], table, *others[choice % 3 :]]).writeto(path)


def write_hdf5(path, columns, options):
    choice, step = options.get("choice", 0), options.get("step", 7)
    with h5py.File(path, "w") as store:
        group = store.create_group("a/b") if choice % 2 else store
        for name, values in columns.items():
            plain = np.ma.getdata(values)
            if plain.dtype.kind in "UO":
                group.create_dataset(name, data=plain.astype(object), dtype=h5py.string_dtype())
                continue
            compression = "gzip" if choice % 3 == 0 else None
            chunks = (min(step, len(plain)), *plain.shape[1:]) if len(plain) else None
            group.create_dataset(name, data=plain, chunks=chunks, compression=compression if chunks else None)
            if isinstance(values, np.ma.MaskedArray):
                group[f"{name}.mask"] = np.ma.getmaskarray(values)
        if choice % 5 == 0:
            group["again"] = store["/"]


def write_compound(path, columns, options):
    as_astropy(columns).write(path, path="some/table", serialize_meta=bool(options.get("choice", 0) % 2))


def write_csv(path, columns, options):
    choice = options.get("choice", 0)
    end = ["\n", "\r\n", "\r"][choice % 3]
    separator = [",", ";", "\t", "|"][choice % 4]
    quoting = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC][choice % 3]
    with path.open("w", newline="", encoding="utf-8-sig" if choice % 2 else "utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting)
        stream.write('# a comment, with "quotes" and #' + end)
        writer.writerow(columns)
        for row, cells in enumerate(zip(*columns.values(), strict=True)):
            if row % options.get("step", 7) == 3:
                stream.write("#17,18,19" + end + end)
            writer.writerow(["" if cell is np.ma.masked else cell for cell in cells])


def write_ecsv(path, columns, options):
    as_astropy(columns).write(path, format="ascii.ecsv", delimiter=" ,"[options.get("choice", 0) % 2])


WRITERS = {
    "parquet": write_parquet,
    "folder": write_folder,
    "fits": write_fits,
    "hdf5": write_hdf5,
    "compound": write_compound,
    "csv": write_csv,
    "ecsv": write_ecsv,
}
parts = st.floats(0, 1, exclude_max=True)
ways = st.fixed_dictionaries({"choice": st.integers(0, 59), "step": st.integers(1, 50)})
words = st.text("abcXYZ_#;,'\" -0123456789\u03b1\u00e9", min_size=1, max_size=12).map(str.strip).filter(bool)
names = st.text("abcGRXYZ_0123456789.-\u03b1\u00e9", min_size=1, max_size=10).filter(
    lambda name: name not in NAMES and not name.endswith(".mask") and not re.fullmatch(r"[0-9.,eE+-]+", name)
)


@st.composite
def harmless(draw):
    """Columns that mean the same, and how they are named: order, types, masks, further columns."""
    columns = dict(BASE)
    order = np.array(draw(st.permutations(range(ROWS))))
    columns = {name: values[order] for name, values in columns.items()}
    for name in draw(st.sets(st.sampled_from(NAMES))):
        columns[name] = columns[name].astype(draw(st.sampled_from(["f4", "f8", ">f4", ">f8"])))
    hidden = np.zeros(ROWS, bool)
    masked = draw(st.sampled_from([None, *NAMES]))
    if masked:
        rows = draw(st.lists(st.integers(0, ROWS - 1), max_size=8, unique=True))
        mask = np.zeros(ROWS, bool)
        mask[rows] = True
        native = columns[masked].astype(columns[masked].dtype.newbyteorder("="))
        native[mask] = draw(st.sampled_from([np.nan, 0.0, -1.0, 1e20]))
        columns[masked] = np.ma.MaskedArray(native, mask)
        hidden |= mask
    for name in draw(st.lists(names, max_size=3, unique_by=str.lower)):
        columns[name] = draw(
            st.sampled_from(
                [np.arange(ROWS), np.arange(ROWS) % 2 == 0, np.full(ROWS, np.nan), np.ones((ROWS, 2))]
            )
        )
    if draw(st.booleans()):
        columns["label"] = np.resize(draw(st.lists(words, min_size=1, max_size=5)), ROWS)
    shuffled = draw(st.permutations(list(columns)))
    return {name: columns[name] for name in shuffled}, order, hidden


@pytest.mark.parametrize("kind", FORMATS)
@fuzz(25)
@given(case=harmless(), options=ways)
def test_harmless_changes_give_the_same_values(kind, case, options):
    columns, order, hidden = case
    if kind in ("parquet", "folder"):  # Arrow knows the machine's own order of bytes only
        columns = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()}
    if kind == "csv":
        columns = {name: values for name, values in columns.items() if np.ndim(values) == 1}
    if kind == "fits":  # which is ASCII throughout
        columns = {name: values for name, values in columns.items() if is_ascii([name, *values.tolist()])}
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, kind, columns, options)
        catalog = load(path)
        assert catalog is not None, path
        assert len(catalog.z) == ROWS - hidden.sum()
        index = check_rows(catalog)
        np.testing.assert_array_equal(index, order[~hidden])


@fuzz(40)
@given(
    kind=st.sampled_from(FORMATS),
    new=st.lists(names, min_size=5, max_size=5, unique_by=str.lower),
    options=ways,
)
def test_columns_of_any_name(kind, new, options):
    assume(kind != "fits" or is_ascii(new))
    rename = dict(zip(NAMES, new, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, kind, {rename[name]: values for name, values in BASE.items()}, options)
        catalog = load(path, rename=rename)
        assert catalog is not None
        assert len(check_rows(catalog)) == ROWS
        assert load(path) is None  # under their old names they aren't there


def spoilt_columns():
    """Columns that hold something else than was meant, of as many rows."""
    rng = np.random.default_rng(4)

    def few(cells):
        return st.lists(cells, min_size=1, max_size=6).map(lambda drawn: np.resize(np.array(drawn), ROWS))

    return st.one_of(
        few(words),
        few(st.floats(width=64)),
        few(st.integers(-(2**63), 2**63 - 1)),
        st.sampled_from(
            [
                np.arange(ROWS) % 2 == 0,
                np.arange(ROWS) + 1j,
                np.array(["2024-01-01"] * ROWS, "M8[D]"),
                np.full(ROWS, np.inf),
                np.full(ROWS, 2**60 + 1),
                np.full(ROWS, 1e300),
                np.array(["17.5"] * (ROWS - 1) + ["INDEF"]),
                np.array([f"{number:.3f} " for number in rng.normal(18, 1, ROWS)]),
                np.array(["1,5"] * ROWS),
                np.ones((ROWS, 3)),
                np.ones((ROWS, 2, 2)),
                np.ma.MaskedArray(np.full(ROWS, 17.0), True),
                np.zeros(ROWS),
                -np.ones(ROWS),
            ]
        ),
    )


def as_numbers(values):
    """What a column of anything says in numbers; None where it says nothing."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(float), np.nan)
    if values.ndim == 1 and values.dtype.kind in "iuf":
        return values.astype(float)
    try:
        return np.array([float(cell) for cell in values]) if values.dtype.kind == "U" else None
    except ValueError:
        return None


@fuzz(100)
@given(kind=st.sampled_from(FORMATS), name=st.sampled_from(NAMES), values=spoilt_columns(), options=ways)
def test_columns_of_anything_else(kind, name, values, options):
    columns = {**BASE, name: values}
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = write(folder, kind, columns, options)
        except Exception:  # the format cannot hold such a column, so there is nothing to read
            return
        catalog = load(path)
        if catalog is None:
            return
        numbers = as_numbers(values)
        assert numbers is not None, values.dtype
        there = {**BASE, name: numbers}
        kept = np.isin(there["z"], np.asarray(catalog.z))
        assert kept.sum() >= len(catalog.z)
        columns_there = np.stack([there[column] for column in ("z", "g", "r", "eg", "er")], axis=1)
        found = np.column_stack([catalog.z, catalog.mag, catalog.mag_err])
        for row in found:
            assert (columns_there == row).all(axis=1).any(), row


@fuzz(80)
@given(kind=st.sampled_from(FORMATS), part=parts, options=ways)
def test_truncated_files(kind, part, options):
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, kind, BASE, options)
        file = path if path.is_file() else sorted(path.rglob("*.parquet"))[-1]
        whole = file.read_bytes()
        cut = whole[: int(part * len(whole))]
        file.write_bytes(cut)
        catalog = load(path)
        if catalog is None:
            return
        if kind in ("csv", "ecsv"):  # a text cut between two cells' digits can't be told from a shorter one
            last = np.isin(BASE["z"], np.asarray(catalog.z)[:-1])
            assert last.sum() == len(catalog.z) - 1
            np.testing.assert_array_equal(np.asarray(catalog.mag)[:-1, 0], BASE["g"][: len(catalog.z) - 1])
        else:
            assert len(check_rows(catalog)) == ROWS


@fuzz(80)
@given(
    kind=st.sampled_from(FORMATS),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12
    ),
    options=ways,
)
def test_flipped_bytes(kind, flips, options):
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, kind, BASE, options)
        file = path if path.is_file() else sorted(path.rglob("*.parquet"))[0]
        spoilt = bytearray(file.read_bytes())
        for where, value in flips:
            spoilt[int(where * len(spoilt))] = value
        file.write_bytes(bytes(spoilt))
        catalog = load(path)
        if catalog is not None:
            assert np.isfinite(catalog.z).all() and np.isfinite(catalog.mag).all()
            assert len(catalog.z) <= ROWS


# What one unit is called in files, and how many there are to a nanomaggie; magnitudes apart.
FLUXES = {
    "nmgy": (1.0, ["nanomaggies", "nmgy", "1e-9 maggie", "nano-maggies", "3.631 uJy"]),
    "maggy": (1e-9, ["maggies", "mgy", "Maggie"]),
    "uJy": (3.631, ["uJy", "micro-Jansky", "1e-6 Jy", "microjansky"]),
    "nJy": (3631.0, ["nJy", "nanoJy", "1e-9 Jansky"]),
    "mJy": (3.631e-3, ["mJy", "milli-Jy"]),
    "cgs": (3.631e-29, ["erg / (s cm2 Hz)", "erg s-1 cm-2 Hz-1", "ergs/sec/cm^2/Hz"]),
}
MAGNITUDES = {"mag": (1.0, ["mag", "mag(AB)", "ABmag", "magnitudes"]), "mmag": (1e3, ["mmag", "millimag"])}
UNKNOWN = ["FLUXCAL", "counts per foo", "brightness", "10^x Jy", "mag?"]
GIVEN = [None, *FLUXES, *MAGNITUDES]


def with_unit_words(path, kind, columns, options, words):
    """Write the columns, and then what the file says of their units, in any words."""
    path = write(path, kind, columns, options)
    if kind == "fits":
        with fits.open(path, mode="update") as hdus:
            (table,) = (hdu for hdu in hdus if hdu.name == "PHOT")
            for name, word in words.items():
                table.header[f"TUNIT{table.columns.names.index(name) + 1}"] = word
    elif kind == "hdf5":
        with h5py.File(path, "a") as store:
            group = store["a/b"] if "a" in store else store
            for name, word in words.items():
                group[name].attrs["unit"] = word
    elif kind == "ecsv":
        text = path.read_text(encoding="utf-8")
        for name, word in words.items():
            text = text.replace(f"name: {name},", f"name: {name}, unit: '{word}',", 1)
        path.write_text(text, encoding="utf-8")
    else:
        table = pq.read_table(path)
        fields = [
            field.with_metadata({"unit": words[field.name]}) if field.name in words else field
            for field in table.schema
        ]
        pq.write_table(table.cast(pa.schema(fields)), path)
    return path


@st.composite
def one_unit(draw, units):
    """A true unit, what the file says of it (nothing, the truth, or nonsense), what the run file says."""
    true = draw(st.sampled_from(list(units)))
    said = draw(st.sampled_from([None, *units[true][1], *UNKNOWN[:1], draw(st.sampled_from(UNKNOWN))]))
    known = said is not None and said not in UNKNOWN
    return true, said, draw(st.sampled_from([None, true, *GIVEN])) if known else true


@pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")
@fuzz(150)
@given(
    kind=st.sampled_from(["parquet", "fits", "hdf5", "ecsv"]),
    value=st.one_of(one_unit(FLUXES), one_unit(MAGNITUDES)),
    error=st.one_of(one_unit(FLUXES), one_unit(MAGNITUDES)),
    ivar=st.booleans(),
    options=ways,
)
def test_units_that_are_said_twice(kind, value, error, ivar, options):
    """The file is right about its units, silent or odd, the run file anything: the same values or none."""
    true, said, given_unit = value
    e_true, e_said, e_given = error
    flux = 10 ** (-0.4 * (BASE["g"] - 22.5))
    columns = dict(BASE)
    columns["g"] = flux * FLUXES[true][0] if true in FLUXES else BASE["g"] * MAGNITUDES[true][0]
    if e_true in FLUXES:
        columns["eg"] = BASE["eg"] * flux * np.log(10) / 2.5 * FLUXES[e_true][0]
    else:
        columns["eg"] = BASE["eg"] * MAGNITUDES[e_true][0]
    words = {"g": said} if said is not None else {}
    if ivar:
        columns["eg"] = columns["eg"] ** -2.0
        e_said = e_said if e_said in (None, *UNKNOWN) else f"1/({e_said})^2" if " " not in e_said else None
        e_given = e_true if e_said is None else e_given
    words |= {"eg": e_said} if e_said is not None else {}
    band = BandColumns(
        "sdss_g0", "g", "eg", unit=given_unit, error_unit=e_given, error_kind="ivar" if ivar else "sigma"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = with_unit_words(folder, kind, columns, options, words)
        bands = {"g": band, "r": BandColumns("sdss_r0", "r", "er")}
        catalog = load_as(CatalogSpec(path=path, bands=bands, redshift="z"))
    if catalog is None:
        return
    assert not set(words.values()) & set(UNKNOWN)
    np.testing.assert_allclose(catalog.mag[:, 0], BASE["g"], atol=2e-6)
    np.testing.assert_allclose(catalog.mag_err[:, 0], BASE["eg"], rtol=1e-6)


@fuzz(40)
@given(kind=st.sampled_from(["parquet", "fits", "hdf5", "ecsv"]), value=one_unit(FLUXES), options=ways)
def test_units_that_agree_are_read(kind, value, options):
    true, said, _ = value
    assume(said not in UNKNOWN)
    flux = 10 ** (-0.4 * (BASE["g"] - 22.5)) * FLUXES[true][0]
    columns = {**BASE, "g": flux, "eg": BASE["eg"] * flux * np.log(10) / 2.5}
    bands = {"g": BandColumns("sdss_g0", "g", "eg", unit=true), "r": BandColumns("sdss_r0", "r", "er")}
    with tempfile.TemporaryDirectory() as folder:
        path = with_unit_words(folder, kind, columns, options, {"g": said} if said is not None else {})
        catalog = load_as(CatalogSpec(path=path, bands=bands, redshift="z"))
    assert catalog is not None
    np.testing.assert_allclose(catalog.mag[:, 0], BASE["g"], atol=2e-6)


@fuzz(60)
@given(
    kind=st.sampled_from(FORMATS),
    copies=st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 3)), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    allow=st.booleans(),
    options=ways,
)
def test_rows_that_are_repeated(kind, copies, seed, allow, options):
    """Repeated rows are refused, or, where they are allowed, read as often as they are there."""
    index = np.concatenate([np.arange(ROWS), *(np.full(times, row) for row, times in copies)])
    index = np.random.default_rng(seed).permutation(index)
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, kind, {name: values[index] for name, values in BASE.items()}, options)
        catalog = load(path, duplicates="allow" if allow else "refuse")
    if not allow:
        assert catalog is None
    elif catalog is not None:
        np.testing.assert_array_equal(catalog.z, BASE["z"][index])
        np.testing.assert_array_equal(catalog.mag, np.column_stack([BASE["g"][index], BASE["r"][index]]))
        assert any("galaxies repeat another's" in warning for warning in catalog.warnings)


ODD = [
    "",
    "nan",
    "INDEF",
    "--",
    "1,5",
    "0x11",
    "1_0",
    "inf",
    "True",
    "#",
    "2024-01-01",
    "1e400",
    "-",
    "\u00e9",
]
WAYS_TO_WRITE = ["{:.3f}", " {:.2f} ", "{:e}", '"{:.4f}"', "+{:.1f}", "{:.6E}", "{:010.3f}"]
numbers_written = st.builds(
    lambda number, way: way.format(number), st.floats(0.05, 19.0), st.sampled_from(WAYS_TO_WRITE)
)
odd_cells = st.one_of(
    st.sampled_from(ODD), st.floats(width=64).map(repr), st.text('0123456789.,;eE+-#" \t\r\n|', max_size=8)
)
usual_rows = st.lists(numbers_written, min_size=5, max_size=5)
odd_rows = st.one_of(
    st.builds(
        lambda row, at, cell: [*row[:at], cell, *row[at + 1 :]], usual_rows, st.integers(0, 4), odd_cells
    ),
    st.lists(st.one_of(numbers_written, odd_cells), min_size=3, max_size=7),
)


@fuzz(120)
@given(
    rows=st.one_of(
        st.lists(usual_rows, max_size=4),
        st.builds(lambda a, b: [*a, b], st.lists(usual_rows, max_size=3), odd_rows),
    ),
    separator=st.sampled_from([",", ";", "\t", "|", " "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    good=st.integers(8, 20),
)
def test_text_of_any_kind(rows, separator, end, good):
    """Whatever is read from text, float() reads from the same cells."""
    text = separator.join(NAMES) + end
    for i in range(good):
        text += separator.join(repr(float(BASE[name][i])) for name in NAMES) + end
    text += "".join(separator.join(row) + end for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.csv"
        path.write_text(text, newline="", encoding="utf-8")
        catalog = load(path)
    if catalog is None:
        return
    lines = [line for line in re.split(r"\r\n|\r|\n", text)[1:] if line and not line.startswith("#")]
    there = []
    for line in lines:
        parts = re.split(r"[ \t]+", line.strip()) if separator == " " else line.split(separator)
        try:
            there.append([float(re.sub("[dD]", "e", part.strip().strip('"'))) for part in parts])
        except ValueError:
            there.append([np.nan])
    found = np.column_stack([catalog.z, catalog.mag[:, :1], catalog.mag_err[:, :1], catalog.mag[:, 1:]])
    written = {tuple(row[:4]) for row in there}
    assert all(tuple(row) in written for row in found.tolist())
