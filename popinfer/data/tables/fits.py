"""Columns of FITS tables, binary or ASCII, a stretch of rows at a time from a memory map.

A stored value x stands for TSCAL x + TZERO; an integer equal to TNULL, or a cell of an ASCII table that is
blank, is not there (FITS standard 4.0, section 7). Vector columns are read by element; bits, complex
numbers, and arrays of variable length are refused.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from popinfer.data.tables.cells import Block, Builder, element, mask_of
from popinfer.data.tables.files import expanded_copy, is_compressed
from popinfer.data.tables.notes import as_text, described, notes_from
from popinfer.data.tables.request import Column, Note, Pace, Place, Request, quoted

_BLOCK_BYTES = 8 << 20
_MOST_HDUS = 5_000
_MOST_COLUMNS = 999  # of the FITS standard
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_ASCII_FORM = re.compile(r"\s*([AIFED])(\d+)")
_TYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_REFUSED = {
    "X": "bits",
    "C": "complex numbers",
    "M": "complex numbers",
    "P": "lists of variable length",
    "Q": "lists of variable length",
}
_BEGIN, _END = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--"


@dataclass(frozen=True)
class _Field:
    """One column: where it is in a row, its type, and how its values are meant."""

    name: str
    offset: int
    code: str
    repeat: int
    is_ascii: bool
    scale: float
    zero: float
    null: int | str | None
    note: Note


@dataclass(frozen=True)
class _Hdu:
    """One table of the file: number, name, header, comments, start of its rows, and its columns.

    Attributes
    ----------
    names : of the columns.
    labels : column number from 1 -> the comment beside its name.
    """

    number: int
    name: str
    header: dict[str, Any]
    comments: list[str]
    start: int
    names: tuple[str, ...]
    labels: dict[int, str]

    def described(self, column: int) -> str | None:
        """TCOMM of a column, by its number from 1, or else the comment beside its name."""
        label = self.labels.get(column, "")
        beside = None if label.lower().startswith("label for") else as_text(label)  # what astropy writes
        return as_text(self.header.get(f"TCOMM{column}")) or beside


def read(request: Request) -> dict[str, Column]:
    """Read the columns that are asked for; see `popinfer.data.catalog_io.read_columns`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # truncation and odd cards: checked here, or harmless
        if not is_compressed(request.path):
            return _read_plain(request, request.path)
        with expanded_copy(request) as copy:
            return _read_plain(request, copy)


def _read_plain(request: Request, path: Path) -> dict[str, Column]:
    hdu = _chosen(request, _tables(request, path))
    header = hdu.header
    width, rows, end = int(header["NAXIS1"]), int(header["NAXIS2"]), path.stat().st_size
    if hdu.start + width * rows > end:
        complete = max(0, end - hdu.start) // max(1, width)
        request.refuse(f"is truncated: {rows} rows are announced, {complete} are there")
    request.check_size(rows, path.stat().st_size)
    fields = {field.name: field for field in _fields(request, hdu)}
    places = request.places(list(hdu.names))
    raw = np.memmap(path, np.uint8, "r", hdu.start, (rows, width)) if rows and width else np.empty((0, width))
    builder, pace, step = Builder(request), Pace(request), max(1, _BLOCK_BYTES // max(1, width))
    for start in range(0, max(rows, 1), step):
        part = np.asarray(raw[start : start + step], np.uint8)
        blocks = {
            name: element(request, name, _values(request, fields[place.column], part, name), place.element)
            for name, place in places.items()
        }
        builder.add(blocks, _masks(request, fields, places, part, start))
        pace(builder.rows, builder.rows / max(1, rows))
    return builder.finish(_notes(request, hdu.comments, fields, places))


def _tables(request: Request, path: Path) -> list[_Hdu]:
    """Every table of the file; images, also tile-compressed ones, are passed over."""
    tables = []
    with fits.open(path, memmap=True, lazy_load_hdus=True, disable_image_compression=True) as hdus:
        for number, hdu in enumerate(hdus):
            if number >= _MOST_HDUS:
                request.refuse(f"has more than {_MOST_HDUS} HDUs")
            header: dict[str, Any] = dict(hdu.header)
            comments = [str(card) for card in header.get("COMMENT", [])]
            if header.get("XTENSION", "").strip() not in ("BINTABLE", "TABLE") or header.get("ZIMAGE"):
                continue
            if header.get("ZTABLE"):
                request.refuse(f"HDU {number} is a compressed table (fpack); unpack it with funpack")
            count = int(header.get("TFIELDS", 0))
            if not 0 <= count <= _MOST_COLUMNS:
                request.refuse(f"HDU {number} says that it has {count} columns")
            names = tuple(str(header.get(f"TTYPE{i}", "")).strip() for i in range(1, count + 1))
            start = int(hdu.fileinfo()["datLoc"])
            labels = {i: hdu.header.comments[f"TTYPE{i}"] for i in range(1, count + 1) if names[i - 1]}
            title = str(header.get("EXTNAME", "")).strip()
            tables.append(_Hdu(number, title, header, comments, start, names, labels))
    if not tables:
        request.refuse("has no table, only images")
    return tables


def _chosen(request: Request, tables: list[_Hdu]) -> _Hdu:
    """The table that the request names, or else the only one with all the columns."""
    listed = ", ".join(f"{hdu.number} {quoted(hdu.name)}" for hdu in tables[:20])
    if request.table is not None:
        wanted = str(request.table).strip()
        chosen = [hdu for hdu in tables if wanted == str(hdu.number) or wanted.upper() == hdu.name.upper()]
        if len(chosen) != 1:
            which = "has no table" if not chosen else "has several tables called"
            request.refuse(f"{which} {quoted(request.table)}; there are {listed}")
        return chosen[0]
    called = {f"{hdu.number} {quoted(hdu.name)}": hdu for hdu in tables}
    return called[request.choose({label: hdu.names for label, hdu in called.items()})]


def _fields(request: Request, hdu: _Hdu) -> list[_Field]:
    """The columns of a table, from its header."""
    header, fields, offset = hdu.header, [], 0
    is_ascii = header["XTENSION"].strip() == "TABLE"
    for i, name in enumerate(hdu.names, 1):
        form = (_ASCII_FORM if is_ascii else _FORM).match(str(header.get(f"TFORM{i}", "")))
        if form is None:
            request.refuse(
                f"column {quoted(name)} has the type {header.get(f'TFORM{i}')!r}, which FITS lacks"
            )
        if is_ascii:
            code, repeat = "A", int(form[2])
            offset = int(header.get(f"TBCOL{i}", 1)) - 1
        else:
            code, repeat = form[2], int(form[1] or 1)
        field = _Field(
            name,
            offset,
            code,
            repeat,
            is_ascii,
            float(header.get(f"TSCAL{i}", 1.0)),
            float(header.get(f"TZERO{i}", 0.0)),
            header.get(f"TNULL{i}"),
            Note(as_text(header.get(f"TUNIT{i}")), hdu.described(i)),
        )
        fields.append(field)
        size = (repeat + 7) // 8 if code == "X" else repeat * _WIDTHS[code]
        if offset < 0 or offset + size > int(header["NAXIS1"]):
            request.refuse(f"its columns don't fit into rows of {header['NAXIS1']} bytes")
        offset += size
    return fields


def _values(request: Request, field: _Field, rows: NDArray, name: str) -> Block:
    """Values of one column, shape (row,) or (row, element), for rows of raw bytes."""
    if field.code in _REFUSED:
        request.refuse(f"column {quoted(field.name)} holds {_REFUSED[field.code]}, not numbers")
    size = field.repeat * _WIDTHS[field.code]
    if size == 0:
        request.refuse(f"column {quoted(field.name)} has no elements")
    raw = np.ascontiguousarray(rows[:, field.offset : field.offset + size])
    if field.code == "A":
        return _text(field, raw.view(f"S{size}").reshape(-1), as_numbers=name not in request.text)
    cells = raw.view(_TYPES[field.code]).reshape(-1, field.repeat)
    cells = cells[:, 0] if field.repeat == 1 else cells
    if field.code == "L":
        return np.ma.MaskedArray(cells == b"T", (cells != b"T") & (cells != b"F"))
    if cells.dtype.kind == "f":
        return _scaled(cells, field)
    null = np.zeros(cells.shape, bool)
    if isinstance(field.null, int):
        null = cells == field.null
    return np.ma.MaskedArray(_scaled(cells, field), null)


def _scaled(cells: NDArray, field: _Field) -> NDArray:
    """TSCAL x + TZERO; a whole TZERO alone is how FITS stores unsigned integers, exactly."""
    if field.scale == 1 and field.zero == 0:
        return cells
    if field.scale == 1 and cells.dtype.kind in "iu" and field.zero.is_integer():
        bits = 8 * cells.dtype.itemsize
        if field.zero == 2.0 ** (bits - 1) and cells.dtype.kind == "i":
            unsigned = np.dtype(f"u{cells.dtype.itemsize}")
            native = cells.astype(f"i{cells.dtype.itemsize}")
            return native.view(unsigned) ^ unsigned.type(1 << (bits - 1))
        if bits < 64 and abs(field.zero) < 2**53:
            return cells.astype(np.int64) + int(field.zero)
    return cells.astype(np.float64) * field.scale + field.zero


def _text(field: _Field, cells: NDArray, as_numbers: bool) -> Block:
    """Text, without what follows a NUL; in ASCII tables a blank cell or one equal to TNULL isn't there."""
    texts = np.array([cell.partition(b"\0")[0].strip() for cell in cells.tolist()], object)
    if not field.is_ascii:
        return texts
    null = str(field.null).strip().encode() if field.null is not None else b""
    masked = np.array([cell in (b"", null) for cell in texts.tolist()], bool)
    if as_numbers and (field.scale, field.zero) != (1.0, 0.0):
        numbers = np.array([np.nan if bad else float(cell) for cell, bad in zip(texts, masked, strict=True)])
        return numbers * field.scale + field.zero
    return np.ma.MaskedArray(texts, masked)


def _masks(
    request: Request, fields: dict[str, _Field], places: dict[str, Place], rows: NDArray, start: int
) -> dict[str, NDArray | None]:
    """By name, what a column called ``NAME.mask`` hides."""
    masks: dict[str, NDArray | None] = {}
    for name, place in places.items():
        field = fields.get(f"{place.column}.mask")
        if field is not None:
            block = element(request, field.name, _values(request, field, rows, field.name), place.element)
            masks[name] = mask_of(request, field.name, block, start)
    return masks


def _notes(
    request: Request, lines: list[str], fields: dict[str, _Field], places: dict[str, Place]
) -> dict[str, Note]:
    """TUNIT and TCOMM; else what astropy keeps in comments, where units that FITS lacks are, as mag(AB)."""
    kept: dict[str, Note] = {}
    if _BEGIN in lines and _END in lines:
        block = "\n".join(lines[lines.index(_BEGIN) + 1 : lines.index(_END)])
        kept = notes_from(described(request, block.replace("\\\n", "").splitlines()).columns)
    notes = {}
    for name, place in places.items():
        here, there = fields[place.column].note, kept.get(place.column, Note())
        notes[name] = Note(here.unit or there.unit, here.description or there.description)
    return notes
