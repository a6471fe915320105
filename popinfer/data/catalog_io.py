"""Read named numeric columns of a table file: Parquet, FITS, HDF5, CSV or ECSV.

Only the columns asked for come back, as float64 with NaN wherever the file has a masked or null entry. A name
may pick one element of a vector column: ``modelflux[2]``.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict, Unpack

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from popinfer.errors import InputError

FloatArray = NDArray[np.float64]
Columns = dict[str, Any]

SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".csv": "csv",
    ".ecsv": "ecsv",
}
_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True)
class Column:
    """One column of a table file.

    Attributes
    ----------
    values : float64 of shape (row,), NaN where the file has a masked or null entry; or Python strings, as an
        object array of shape (row,), where text was asked for.
    unit : what the file itself says, for example "nJy" or "mag(AB)"; None where it says nothing.
    description : what the file itself says; None where it says nothing.
    """

    values: NDArray
    unit: str | None = None
    description: str | None = None


class ReadOptions(TypedDict, total=False):
    """Further keywords of `read_columns`; each is described there."""

    text: Sequence[str]
    flags: Sequence[str]
    missing: Sequence[str]
    say: Callable[[str], None] | None


def user_path(path: str | Path) -> Path:
    """The path with ``~`` and ``~name`` replaced by that user's home folder."""
    return Path(path).expanduser()


def read_columns(
    path: Path,
    names: Sequence[str],
    format: str = "auto",
    table: str | int | None = None,
    **options: Unpack[ReadOptions],
) -> dict[str, Column]:
    """Read columns of a table file.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        Column names; ``name[i]`` is element i of a vector column.
    format : {"auto", "parquet", "fits", "hdf5", "csv", "ecsv"}
        How to read it; "auto" goes by the suffix.

    Returns
    -------
    dict
        One array of shape (row,) a name.

    Raises
    ------
    InputError
        The file is missing or unreadable, or a column is missing or not numeric.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    kind = _format(path, format)
    wanted = list(dict.fromkeys(_base(name) for name in names))
    try:
        columns = _READERS[kind](path, wanted)
    except InputError:
        raise
    except Exception as error:  # the readers raise dozens of kinds for damaged files
        why = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: can't be read as {kind} ({type(error).__name__}: {why})") from error
    return {name: Column(_numbers(path, name, columns[_base(name)])) for name in names}


def _format(path: Path, format: str) -> str:
    if format != "auto":
        if format not in _READERS:
            _refuse(path, f"format {format!r} is unknown; there are auto, {', '.join(_READERS)}")
        return format
    for suffix, kind in SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return kind
    _refuse(path, f"format can't be told from the suffix; set it to one of {', '.join(_READERS)}")


def _base(name: str) -> str:
    element = _ELEMENT.fullmatch(name)
    return element[1] if element else name


def _read_parquet(path: Path, wanted: list[str]) -> Columns:
    _check_known(path, wanted, pq.read_schema(path).names)
    frame = pq.read_table(path, columns=wanted).to_pandas()
    return {name: _values(frame[name]) for name in wanted}


def _read_csv(path: Path, wanted: list[str]) -> Columns:
    frame = pd.read_csv(path, comment="#", skipinitialspace=True, names=_commented_header(path, wanted))
    frame.columns = [str(name).strip() for name in frame.columns]
    _check_known(path, wanted, list(frame.columns))
    return {name: _values(frame[name]) for name in wanted}


def _commented_header(path: Path, wanted: list[str]) -> list[str] | None:
    """Column names from a leading comment line, which is where NumPy and others write them."""
    with path.open(errors="replace") as stream:
        for line in stream:
            names = [name.strip() for name in line.lstrip("#").split(",")]
            if not line.startswith("#"):
                return None
            if set(wanted) & set(names):
                return names
    return None


def _values(column: Any) -> NDArray:
    """A column's array; nullable numbers as floats with NaN."""
    if pd.api.types.is_extension_array_dtype(column.dtype) and pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def _read_fits(path: Path, wanted: list[str]) -> Columns:
    return _from_astropy(path, wanted, "fits")


def _read_ecsv(path: Path, wanted: list[str]) -> Columns:
    return _from_astropy(path, wanted, "ascii.ecsv")


def _from_astropy(path: Path, wanted: list[str], format: str) -> Columns:
    table = Table.read(path, format=format)
    _check_known(path, wanted, table.colnames)
    return {name: table[name] for name in wanted}


def _read_hdf5(path: Path, wanted: list[str]) -> Columns:
    """Columns as equally long datasets (at the root or in the only group) or as one compound dataset."""
    with h5py.File(path, "r") as store:
        node: h5py.Group | h5py.Dataset = store
        while isinstance(node, h5py.Group):
            tables = [
                item
                for item in node.values()
                if isinstance(item, h5py.Group) or (item.dtype.names is not None and item.size != 1)
            ]
            if _has_plain_columns(node) or len(tables) != 1:
                break
            node = tables[0]
        names = list(node) if isinstance(node, h5py.Group) else list(node.dtype.names)
        _check_known(path, wanted, names)
        columns: Columns = {name: np.asarray(node[name]) for name in wanted}
    if len({np.shape(column)[:1] for column in columns.values()}) > 1:
        _refuse(path, "the columns asked for differ in length")
    return columns


def _has_plain_columns(group: h5py.Group) -> bool:
    return any(isinstance(item, h5py.Dataset) and item.dtype.names is None for item in group.values())


_READERS: dict[str, Callable[[Path, list[str]], Columns]] = {
    "parquet": _read_parquet,
    "fits": _read_fits,
    "hdf5": _read_hdf5,
    "csv": _read_csv,
    "ecsv": _read_ecsv,
}


def _check_known(path: Path, wanted: list[str], present: list[str]) -> None:
    for name in wanted:
        if name not in present:
            lower = {other.lower(): other for other in present}
            near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
            shown = ", ".join(lower[other] for other in near) or ", ".join(present[:12])
            _refuse(path, f"has no column {name!r}; the nearest are {shown}")


def _numbers(path: Path, name: str, column: Any) -> FloatArray:
    """One column as native float64; masked entries as NaN."""
    element = _ELEMENT.fullmatch(name)
    masked = np.ma.asarray(column)
    if masked.dtype.kind == "O":
        masked = np.ma.asarray([np.nan if value is None else value for value in masked.tolist()])
    if masked.dtype.kind not in "biuf":
        _refuse(path, f"column {name!r} holds {masked.dtype}, not numbers")
    if element:
        if masked.ndim != 2 or int(element[2]) >= masked.shape[1]:
            _refuse(path, f"column {name!r}: {element[1]!r} has shape {masked.shape}; it has no such element")
        masked = masked[:, int(element[2])]
    if masked.ndim != 1:
        _refuse(path, f"column {name!r} has shape {masked.shape}; name one element, as in {name}[0]")
    return np.ma.filled(masked.astype(np.float64), np.nan)


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
