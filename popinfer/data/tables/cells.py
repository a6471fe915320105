"""From what a file holds to float64: numbers, numbers written as text, flags, and text kept as text.

A block is a stretch of rows of one column: a NumPy array, masked or not, or an Arrow array of strings.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from popinfer.data.tables.request import Column, Note, Request, quoted

FloatArray = NDArray[np.float64]
Block = NDArray | pa.Array

# Cells of text files that mean "not measured" without being listed, in any case.
_EMPTY_WORDS = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none")
_TRUTH = {"true": 1.0, "t": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "f": 0.0, "no": 0.0, "0": 0.0}
_NUMBER = r"(?i)^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([ed][+-]?[0-9]+)?|inf|infinity|nan)$"
_FORTRAN = r"^([+-]?[0-9.]+)[dD]([+-]?[0-9]+)$"  # 1.0D+03, as Fortran writes double precision
_EXACT = 2**53  # integers above can't all be told apart as float64
_DATE = re.compile(r"\d{1,4}[-/]\d{1,2}[-/]\d{1,4}")


class Builder:
    """Columns that grow block by block, so that only the columns asked for are ever held whole."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._parts: dict[str, list[NDArray]] = {name: [] for name in request.names}
        self.rows = 0

    def add(self, blocks: Mapping[str, Block], masks: Mapping[str, NDArray | None] | None = None) -> None:
        """Append the same rows of every column; `masks` are True where a value doesn't count."""
        lengths = {name: len(block) for name, block in blocks.items()}
        if len(set(lengths.values())) > 1:
            self._request.refuse(
                "the columns asked for differ in length: "
                + ", ".join(f"{quoted(name)} {length}" for name, length in lengths.items())
            )
        for name, block in blocks.items():
            part = convert(self._request, name, block, self.rows)
            mask = (masks or {}).get(name)
            if mask is not None:
                part[mask] = "" if part.dtype == object else np.nan
            self._parts[name].append(part)
        self.rows += next(iter(lengths.values()), 0)

    def finish(self, notes: Mapping[str, Note]) -> dict[str, Column]:
        """The columns, with what the file says of each."""
        columns = {}
        for name in self._request.names:
            parts = self._parts.pop(name)
            empty = np.empty(0, object if name in self._request.text else np.float64)
            values = parts[0] if len(parts) == 1 else np.concatenate([empty, *parts])
            columns[name] = Column(values, *notes.get(name, Note()))
        return columns


def convert(request: Request, name: str, block: Block, start: int) -> NDArray:
    """One block as float64, or as strings where text was asked for.

    Parameters
    ----------
    request : Request
        Says which columns are text and which are flags, and which words mean "not measured".
    name : str
        The column, as asked for.
    block : array
        Its values, shape (row,).
    start : int
        The row that the block begins with, for messages.

    Raises
    ------
    InputError
        The values aren't numbers, or would lose digits as float64.
    """
    if not isinstance(block, pa.Array) and block.ndim != 1:
        request.refuse(f"column {quoted(name)} has shape {block.shape}; name one element, as in {name}[0]")
    if not isinstance(block, pa.Array) and block.dtype.kind in "SUO" and name not in request.text:
        block = _strings(request, name, block)
    if name in request.text:
        return words(block)
    if name in request.flags:
        return _truth(request, name, block, start)
    if isinstance(block, pa.Array):
        return _parsed(request, name, block, start)
    return _numbers(request, name, block, start)


def element(request: Request, name: str, block: NDArray, index: int | None) -> NDArray:
    """The element of a vector column that a name asks for; a scalar column as it is."""
    if index is None:
        return block
    shape = block.shape[1:]
    if len(shape) != 1 or not 0 <= index < shape[0]:
        elements = f"{shape[0]} elements a row, the first is 0" if len(shape) == 1 else f"shape {shape} a row"
        request.refuse(f"column {quoted(name)}: it has no such element; the column has {elements}")
    return block[:, index]


def words(block: Block) -> NDArray:
    """A block as Python strings; integers in all their digits, "" for null."""
    if isinstance(block, pa.Array):
        texts = ["" if cell is None else cell.strip() for cell in block.to_pylist()]
    else:
        masked = np.ma.getmaskarray(block)
        cells = np.ma.getdata(block).tolist()
        texts = ["" if bad else _word(cell) for cell, bad in zip(cells, masked, strict=True)]
    result = np.empty(len(texts), object)
    result[:] = texts
    return result


def _is_nan(cell: object) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _word(cell: object) -> str:
    if cell is None or _is_nan(cell):  # NaN is the null of a column of floats
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip("\0 ")
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return str(int(cell))
    return str(cell).strip()


def _strings(request: Request, name: str, block: NDArray) -> pa.Array:
    """Text of a binary file as an Arrow array."""
    masked = np.ma.getmaskarray(block)
    cells = np.ma.getdata(block).tolist()
    for cell in cells:
        if not (cell is None or isinstance(cell, str | bytes) or _is_nan(cell)):
            request.refuse(f"column {quoted(name)} holds {type(cell).__name__} objects, not numbers")
    return pa.array(
        [None if bad else _word(cell) for cell, bad in zip(cells, masked, strict=True)], pa.string()
    )


def _numbers(request: Request, name: str, block: NDArray, start: int) -> FloatArray:
    """Numeric values as native float64, NaN where masked."""
    kinds = {"b": "true and false", "c": "complex numbers", "M": "dates", "m": "durations"}
    if block.dtype.kind not in "iuf":
        request.refuse(f"column {quoted(name)} holds {kinds.get(block.dtype.kind, block.dtype)}, not numbers")
    data = np.ma.getdata(block)
    masked = np.ma.getmask(block)
    with np.errstate(over="ignore", invalid="ignore"):
        values = data.astype(np.float64)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        _check_exact(request, name, np.ma.asarray(block), start)
    if masked is not np.ma.nomask:
        values[masked] = np.nan
    return values


def _check_exact(request: Request, name: str, block: np.ma.MaskedArray, start: int) -> None:
    """Refuse integers that float64 can't hold: they are identifiers, not measurements."""
    data = np.ma.getdata(block)
    large = ~np.ma.getmaskarray(block) & (data > _EXACT)
    if data.dtype.kind == "i":
        large |= ~np.ma.getmaskarray(block) & (data < -_EXACT)
    inexact = [value for value in np.unique(data[large]).tolist() if int(float(value)) != value]
    if inexact:
        row = int(np.flatnonzero(large & (data == np.array(inexact[0], data.dtype)))[0])
        request.refuse(
            f"column {quoted(name)} has {inexact[0]} in row {start + row} (the first is row 0), which loses "
            "digits as a number; it looks like an identifier, not a measurement"
        )


def _parsed(request: Request, name: str, cells: pa.Array, start: int) -> FloatArray:
    """Numbers written as text."""
    usual = not any(_is_number(word) for word in request.missing)
    if usual:
        try:
            return _as_floats(cells)
        except pa.ArrowInvalid:
            pass
    cells = pc.utf8_trim_whitespace(cells)
    empty = pc.or_(
        pc.is_in(pc.utf8_lower(cells), pa.array(_EMPTY_WORDS, cells.type)),
        pc.is_in(cells, pa.array([word.strip() for word in request.missing], cells.type)),
    )
    cells = pc.if_else(empty, pa.scalar(None, cells.type), cells)
    try:
        return _as_floats(cells)
    except pa.ArrowInvalid:
        pass
    readable = pc.fill_null(pc.match_substring_regex(cells, _NUMBER), True)
    if not pc.all(readable).as_py():
        _refuse_cell(request, name, cells, readable, start)
    return _as_floats(pc.replace_substring_regex(cells, _FORTRAN, r"\1e\2"))


def _as_floats(cells: pa.Array) -> FloatArray:
    numbers = pc.cast(cells, pa.float64())
    return np.array(numbers.to_numpy(zero_copy_only=False), np.float64)  # a copy: Arrow's is read-only


def _is_number(word: str) -> bool:
    return re.fullmatch(_NUMBER, word.strip()) is not None


def _refuse_cell(request: Request, name: str, cells: pa.Array, readable: pa.Array, start: int) -> None:
    """Refuse the first cell that is no number, and say what would be right."""
    row = pc.index(readable, False).as_py()
    value = cells[row].as_py()
    if value.lower() in _TRUTH:
        hint = "true and false aren't measurements"
    elif _DATE.match(value):
        hint = "a date isn't a measurement"
    elif "," in value:
        hint = "write numbers with a decimal point and without separators of thousands"
    elif "_" in value or value.lower().startswith("0x"):
        hint = "write numbers in plain decimal digits"
    else:
        hint = 'if it means "not measured", list it under missing'
    request.refuse(
        f"column {quoted(name)} holds text, not numbers: {quoted(value)} in row {start + row} (the first is "
        f"row 0); {hint}"
    )


def _truth(request: Request, name: str, block: Block, start: int) -> FloatArray:
    """Flags as 0 and 1, NaN where masked."""
    if isinstance(block, pa.Array):
        cells = [None if cell is None else cell.strip().lower() for cell in block.to_pylist()]
        empty = {*_EMPTY_WORDS, *(word.strip().lower() for word in request.missing), None}
        values = np.array([np.nan if cell in empty else _TRUTH.get(cell or "", 2.0) for cell in cells], float)
    elif block.dtype.kind == "b":
        values = np.ma.filled(np.ma.asarray(block).astype(np.float64), np.nan)
    else:
        values = _numbers(request, name, block, start)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = block[row].as_py() if isinstance(block, pa.Array) else np.ma.getdata(block)[row].item()
        request.refuse(
            f"column {quoted(name)} has {quoted(value)} in row {start + row} (the first is row 0), which is "
            "neither true nor false"
        )
    return values


def mask_of(request: Request, column: str, block: Block, start: int) -> NDArray[np.bool_]:
    """A column called ``NAME.mask``, as astropy writes it beside ``NAME``: True where NAME doesn't count.

    Parameters
    ----------
    request : Request
        For messages.
    column : str
        Name of the mask's column.
    block : array
        Its values: true and false, or 1 and 0; shape (row,) or (row, element).
    start : int
        The row that the block begins with.

    Raises
    ------
    InputError
        The column holds anything else.
    """
    if isinstance(block, pa.Array) or block.ndim == 1:
        return np.nan_to_num(_truth(request, column, block, start)) == 1
    flat = _truth(request, column, block.reshape(-1), start)
    return (np.nan_to_num(flat) == 1).reshape(block.shape)
