"""What a file says of its columns: astropy's description of a table, in YAML, as four formats carry it."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from popinfer.data.tables.request import Note, Request

# YAML is read at about 5,000 lines a second; a description that takes longer than seconds is of no catalog.
_MOST_LINES = 20_000


class Description(NamedTuple):
    """Columns as mappings with ``name``, ``datatype``, ``unit`` ...; and the delimiter, for text files."""

    columns: list[dict[str, Any]]
    delimiter: str


def described(request: Request, lines: list[str]) -> Description:
    """Read astropy's description of a table.

    Parameters
    ----------
    request : Request
        For messages.
    lines : list of str
        The YAML, without comment signs.

    Raises
    ------
    InputError
        It isn't such a description.
    """
    from astropy.io.misc import yaml

    if len(lines) > _MOST_LINES:
        request.refuse(f"describes its columns in {len(lines)} lines; convert it to Parquet or FITS")
    try:
        header = yaml.load("\n".join(_without_meta(lines)))
        columns = [dict(column) for column in header["datatype"]]
        names = [column["name"] for column in columns]
    except Exception:  # a damaged description raises anything from YAML's own errors to TypeError
        request.refuse(
            "the description of its columns can't be read; it has to be YAML with a list of columns"
        )
    if not all(isinstance(name, str) for name in names):
        request.refuse("the description of its columns has a name that is no text")
    return Description(columns, str(header.get("delimiter", " ")))


def _without_meta(lines: list[str]) -> list[str]:
    """The description without its ``meta``, which is of the table and may hold any object."""
    kept, skipping = [], False
    for line in lines:
        if re.match(r"[^\s-]", line):
            skipping = line.startswith("meta:")
        if not skipping:
            kept.append(line)
    return kept


def notes_from(columns: Iterable[dict[str, Any]]) -> dict[str, Note]:
    """Column name -> what the description says of it."""
    return {
        column["name"]: Note(as_text(column.get("unit")), as_text(column.get("description")))
        for column in columns
    }


def as_text(value: object) -> str | None:
    """An attribute as text on one line; None where it is empty or isn't text."""
    if value is None:
        return None
    if hasattr(value, "to_string"):  # a unit of astropy's
        value = value.to_string()  # type: ignore[union-attr]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    return " ".join(value.replace("\0", "").split()) or None
