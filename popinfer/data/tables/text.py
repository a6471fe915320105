"""Columns of text tables, CSV and ECSV, a few megabytes at a time.

Only a line that starts with ``#`` is a comment. Cells are separated by commas, semicolons, tabs, bars or
blanks: whichever makes the header hold all the columns asked for. Every row needs as many cells as the
header, and a quoted cell ends on its line, so that no row can be shifted or swallowed.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from popinfer.data.tables.cells import Block, Builder, element, mask_of
from popinfer.data.tables.files import open_expanded, position
from popinfer.data.tables.notes import described, notes_from
from popinfer.data.tables.request import Column, Note, Pace, Place, Request, quoted
from popinfer.errors import first_line
from popinfer.expansion import DAMAGED

_BLOCK = 8 << 20
_LONGEST_LINE = 64 << 20
_MOST_HEADERS = 100  # comments, the last before the rows, among which the names of the columns are sought
_BLANKS = re.compile(rb'("[^"\n]*")|[ \t]+')
_COMMENTS = re.compile(rb"(?m)^#[^\n]*\n")
_SEPARATORS = (",", ";", "\t", "|", " ")
_DIGITS_ONLY = re.compile(r"[\s0-9.eE+,;|-]+")


@dataclass(frozen=True)
class _Layout:
    """How the rows are written: separator, names, type of each vector column; and notes on columns."""

    separator: str
    names: list[str]
    vectors: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)


def read_csv(request: Request) -> dict[str, Column]:
    """Read the columns that are asked for; see `popinfer.data.catalog_io.read_columns`."""
    return _read(request, is_ecsv=False)


def read_ecsv(request: Request) -> dict[str, Column]:
    """Read the columns that are asked for; see `popinfer.data.catalog_io.read_columns`."""
    return _read(request, is_ecsv=True)


def _read(request: Request, is_ecsv: bool) -> dict[str, Column]:
    if request.table is not None:
        request.refuse("a text file holds a single table; leave table out")
    size, pace, builder = request.path.stat().st_size, Pace(request), Builder(request)
    try:
        with open_expanded(request) as stream:
            blocks = _line_blocks(request, stream, size)
            comments, first, rest = _opening(request, blocks)
            layout = (
                _ecsv_layout(request, comments, first) if is_ecsv else _csv_layout(request, comments, first)
            )
            places = request.places(layout.names)
            body = rest if layout.names and _split(first, layout.separator) == layout.names else first + rest
            later = _add_block(request, body, layout, places, builder)
            for block in blocks:
                later += _add_block(request, block, layout, places, builder)
                pace(builder.rows, position(stream) / size)
    except DAMAGED as error:
        request.refuse(f"can't be read to its end ({error})")
    if later and request.say is not None:
        request.say(
            f"{request.path.name}: comments among its rows, which start with #, are left out: {later}"
        )
    return builder.finish({name: layout.notes.get(place.column, Note()) for name, place in places.items()})


def _line_blocks(request: Request, stream: io.BufferedIOBase, size: int) -> Iterator[bytes]:
    """The file as blocks of whole lines, each ended by a line feed."""
    carry, expanded = b"", 0
    while chunk := stream.read(_BLOCK):
        if chunk.endswith(b"\r"):
            chunk += stream.read(1)
        if not expanded:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        expanded += len(chunk)
        request.check_expansion(expanded, size)
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield carry + chunk[:cut]
            carry = chunk[cut:]
            continue
        carry += chunk
        if len(carry) > _LONGEST_LINE:
            request.refuse(f"has a line of more than {_LONGEST_LINE >> 20} MB; it can't be a table")
    if carry:
        if request.say is not None:
            request.say(f"{request.path.name}: its last line has no end; is the file complete?")
        yield carry + b"\n"


def _opening(request: Request, blocks: Iterator[bytes]) -> tuple[list[str], bytes, bytes]:
    """The comments that the file begins with, its first other line, and the rest of that line's block."""
    comments: list[str] = []
    for block in blocks:
        at = 0
        while at < len(block):
            end = block.index(b"\n", at) + 1
            line = block[at:end]
            if line.startswith(b"#"):
                comments.append(_decoded(line[1:]).rstrip("\n"))
            elif line.strip():
                if b"\0" in line:
                    request.refuse("holds bytes that no text has; it can't be read as a table in text")
                return comments, line, block[end:]
            at = end
    return comments, b"", b""


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _split(line: bytes | str, separator: str) -> list[str]:
    """The cells of one line, without blanks around them."""
    text = (_decoded(line) if isinstance(line, bytes) else line).strip("\n")
    if separator == " ":
        text = _BLANKS.sub(_one_blank, text.encode()).decode().strip()
    try:
        cells = next(csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a cell of more than csv's limit is no name of a column
        return []
    return [cell.strip() for cell in cells]


def _one_blank(blanks: re.Match[bytes]) -> bytes:
    return blanks[1] or b" "


def _csv_layout(request: Request, comments: list[str], first: bytes) -> _Layout:
    """The separator and the names, from the first line or from a comment before it, as NumPy writes it."""
    for line in (first, *reversed(comments[-_MOST_HEADERS:])):
        for separator in _SEPARATORS:
            names = _split(line, separator)
            if not request.lacking(names):
                return _Layout(separator, names)
    text = _decoded(first).strip()
    if not text:
        request.refuse("has no header line with the names of its columns")
    if _DIGITS_ONLY.fullmatch(text):
        request.refuse(f"begins with numbers ({quoted(text)}); a header line with the names is needed")
    best = min(_SEPARATORS, key=lambda separator: len(request.lacking(_split(first, separator))))
    request.places(_split(first, best))
    request.refuse("has no header line with the names of its columns")


def _ecsv_layout(request: Request, comments: list[str], first: bytes) -> _Layout:
    lines = [comment.removeprefix(" ") for comment in comments]
    if not lines or not lines[0].startswith("%ECSV"):
        request.refuse("can't be read as ecsv: it doesn't begin with # %ECSV")
    about = described(request, [line for line in lines[1:] if line.strip() != "---"])
    names = [column["name"] for column in about.columns]
    if about.delimiter not in (" ", ","):
        request.refuse(f"has the delimiter {about.delimiter!r}; ECSV knows blanks and commas")
    if _split(first, about.delimiter) != names:
        request.refuse(
            f"its first line {quoted(_decoded(first).strip())} doesn't name the columns that it describes: "
            f"{quoted(' '.join(names))}"
        )
    vectors = {column["name"]: str(column["subtype"]) for column in about.columns if column.get("subtype")}
    return _Layout(about.delimiter, names, vectors, notes_from(about.columns))


def _add_block(
    request: Request, block: bytes, layout: _Layout, places: dict[str, Place], builder: Builder
) -> int:
    """Add the rows of a block; how many comments were among them."""
    comments = 0
    if block.startswith(b"#") or b"\n#" in block:
        block, comments = _COMMENTS.subn(b"", block)
    if layout.separator == " " and (b"  " in block or b"\t" in block or b" \n" in block or b"\n " in block):
        block = _BLANKS.sub(_one_blank, block).replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ")
    if block.startswith(b"\n") or b"\n\n" in block:
        block = re.sub(rb"\n{2,}", b"\n", block).lstrip(b"\n")
    if not block:
        return comments
    cells = _cells(request, block, layout, places, builder.rows)
    blocks, hidden = {}, {}
    for name, place in places.items():
        vector = layout.vectors.get(place.column)
        blocks[name] = _block(request, name, cells[place.column], place, vector)
        mask = f"{place.column}.mask"
        if mask in cells and vector is None:
            hidden[name] = mask_of(request, mask, cells[mask], builder.rows)
    builder.add(blocks, hidden)
    return comments


def _cells(
    request: Request, block: bytes, layout: _Layout, places: dict[str, Place], start: int
) -> dict[str, pa.Array]:
    """The cells of the columns that are asked for, as text."""
    columns = {place.column for place in places.values()}
    columns |= {f"{column}.mask" for column in columns} & set(layout.names)
    index = {column: str(layout.names.index(column)) for column in columns}
    bad: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=len(block) + 1,
                column_names=[str(i) for i in range(len(layout.names))],
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=layout.separator, invalid_row_handler=keep),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=sorted(index.values()),
                column_types=dict.fromkeys(index.values(), pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        why = "is not text in UTF-8" if "UTF8" in str(error) else first_line(error)[:200]
        request.refuse(f"can't be read as a table in text, after row {max(0, start - 1)}: {why}")
    if bad:
        row = start + (bad[0].number or 1) - 1
        request.refuse(
            f"row {row} (the first is row 0) has {bad[0].actual_columns} cells, the header has "
            f"{bad[0].expected_columns}: {quoted(bad[0].text)}"
        )
    if table.num_rows != block.count(b"\n"):
        request.refuse(
            f"among the rows after row {max(0, start - 1)} a quoted cell goes on over the end of its line or "
            "a quote is missing"
        )
    return {column: table.column(i).combine_chunks() for column, i in index.items()}


def _block(request: Request, name: str, cells: pa.Array, place: Place, vector: str | None) -> Block:
    """The cells of one column; a vector, which ECSV writes as JSON, by its element."""
    if vector is None:
        if place.element is not None:
            request.refuse(f"column {quoted(place.column)}: it has no such element; it holds single values")
        return cells
    try:
        rows = json.loads(f"[{','.join(cells.to_pylist())}]")
        values = np.array(rows, float)
    except (ValueError, TypeError, RecursionError):
        request.refuse(f"column {quoted(place.column)} isn't made of lists of numbers of equal length")
    if values.ndim == 1 and len(rows) == 0:
        return values
    return element(request, name, values, place.element)
