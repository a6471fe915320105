"""Read named columns of a table file: Parquet, FITS, HDF5, CSV or ECSV, or a folder of Parquet files.

Only the columns asked for come back, as float64 with NaN wherever the file has a masked or null entry, with
the units that the file states. A name may pick one element of a vector column: ``modelflux[2]``. What a file
says of itself is used: masks, null values, scales, units. What can't be a number is refused with the first
value that is none, its row and its column.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from popinfer.data.embedded import sha256_of
from popinfer.data.tables.files import SUFFIXES, kind_of, parts_of
from popinfer.data.tables.listing import Listed, ListingRequest
from popinfer.data.tables.request import Column, Request
from popinfer.errors import InputError, first_line

__all__ = ["SUFFIXES", "Column", "ReadOptions", "fingerprint", "read_columns", "table_columns", "user_path"]


class ReadOptions(TypedDict, total=False):
    """Further keywords of `read_columns`; each is described there."""

    text: Sequence[str]
    flags: Sequence[str]
    missing: Sequence[str]
    say: Callable[[str], None] | None


def user_path(path: str | Path) -> Path:
    """The path with ``~`` and ``~name`` replaced by that user's home folder.

    Raises
    ------
    InputError
        There is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {str(error).rstrip('.')}; write the path without ~") from None


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
        The file, or a folder of Parquet files; ``~`` is expanded.
    names : sequence of str
        Column names; ``name[i]`` is element i of a vector column, unless a column has just that name.
    format : str
        {"auto", "parquet", "fits", "hdf5", "csv", "ecsv"} How to read it; "auto" goes by the suffix, and by
        the first bytes where the suffix says nothing.
    table : str or int, optional
        Which table: name or number of a FITS HDU, or the path of an HDF5 group or dataset. By default the
        only one that has all the columns.
    **options : ReadOptions
        ``text``: names, among `names`, to return as Python strings (integers in all their digits, "" for
        null). ``flags``: names of true and false, to return as 1 and 0. ``missing``: further words that mean
        "not measured" in the text cells of a column of numbers. ``say`` gets a line now and then while a
        large file is read.

    Returns
    -------
    dict
        One `Column` a name.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format; or a column is missing, ambiguous, or holds
        something else than numbers. The message names the file, the column, and the row where there is one.
    """
    request = Request(
        path=user_path(path),
        names=tuple(dict.fromkeys(names)),
        table=table,
        text=frozenset(options.get("text", ())),
        flags=frozenset(options.get("flags", ())),
        missing=tuple(options.get("missing", ())),
        say=options.get("say"),
    )
    kind = kind_of(request, format)
    try:
        return _reader(kind)(request)
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # the libraries raise dozens of kinds for damaged files
        request.refuse(f"can't be read as {kind} ({type(error).__name__}: {first_line(error)[:200]})")


def table_columns(
    path: Path, format: str = "auto", table: str | int | None = None
) -> dict[str, tuple[str, ...]]:
    """Names of all columns of a table file, by table.

    Parameters
    ----------
    path, format, table : Path, str, str or int or None
        As for `read_columns`.

    Returns
    -------
    dict
        Columns of each table of the file, by what messages call it; of the only one or the chosen one by "".

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, or has no such table.
    """
    request = ListingRequest(path=user_path(path), names=(), table=table)
    kind = kind_of(request, format)
    try:
        _reader(kind)(request)
    except Listed as listed:
        tables = listed.tables
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # the libraries raise dozens of kinds for damaged files
        request.refuse(f"can't be read as {kind} ({type(error).__name__}: {first_line(error)[:200]})")
    else:
        request.refuse("has no columns")
    return tables if len(tables) > 1 else {"": next(iter(tables.values()), ())}


def _reader(kind: str) -> Callable[[Request], dict[str, Column]]:
    """The reader of a format; imported when it is needed, because each brings a library of its own."""
    if kind == "parquet":
        from popinfer.data.tables import parquet

        return parquet.read
    if kind == "fits":
        from popinfer.data.tables import fits

        return fits.read
    if kind == "hdf5":
        from popinfer.data.tables import hdf5

        return hdf5.read
    from popinfer.data.tables import text

    return text.read_csv if kind == "csv" else text.read_ecsv


def fingerprint(path: Path) -> str:
    """sha256 of a catalog in hexadecimal: of a file's bytes, or of a folder's Parquet files and names."""
    path = user_path(path)
    if not path.is_dir():
        return sha256_of(path)
    digest = hashlib.sha256()
    for part in parts_of(Request(path, ())):
        digest.update(f"{part.relative_to(path).as_posix()} {sha256_of(part)}\n".encode())
    return digest.hexdigest()
