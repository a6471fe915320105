"""What is asked of a table file, the column that comes back, and the refusals that all readers share."""

import difflib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from numpy.typing import NDArray

from popinfer.errors import InputError
from popinfer.expansion import check_growth, is_too_large

_ELEMENT = re.compile(r"(.+)\[(-?\d{1,9})\]", re.DOTALL)
_LONGEST_SHOWN = 300  # characters of a path in a message; a path as a person writes it is shorter
_MOST_COMPARED = 20_000  # names that the nearest are sought among; more take seconds


@dataclass(frozen=True)
class Column:
    """One column of a table file.

    Attributes
    ----------
    values : float64 of shape (row,), NaN where the file has a masked or null entry; or Python strings, as an
        object array of shape (row,) with "" for null, where text was asked for.
    unit : what the file itself says, for example "nJy" or "mag(AB)"; None where it says nothing.
    description : what the file itself says; None where it says nothing.
    """

    values: NDArray
    unit: str | None = None
    description: str | None = None


class Note(NamedTuple):
    """What a file says of one column; None where it says nothing."""

    unit: str | None = None
    description: str | None = None


class Place(NamedTuple):
    """Where a name is in the file: a column, and which element of it when it holds vectors."""

    column: str
    element: int | None = None


@dataclass(frozen=True)
class Request:
    """What is to be read from which file; see `popinfer.data.catalog_io.read_columns`."""

    path: Path
    names: tuple[str, ...]
    table: str | int | None = None
    text: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    say: Callable[[str], None] | None = None

    def refuse(self, why: str) -> NoReturn:
        """Raise the InputError that names the file."""
        raise InputError(f"{shown(self.path)}: {why}")

    def lacking(self, present: Sequence[str]) -> list[str]:
        """Names that a table with the columns `present` doesn't have."""
        there = set(present)
        return [name for name in self.names if _place(name, there) is None]

    def places(self, present: Sequence[str]) -> dict[str, Place]:
        """Where each name is in a table with the columns `present`.

        Raises
        ------
        InputError
            A column is missing, or there are several of that name.
        """
        there = set(present)
        places = {name: _place(name, there) for name in self.names}
        for name, place in places.items():
            if place is None:
                self.refuse(f"has no column {quoted(name)}; {nearest(name, present)}")
        known = {name: place for name, place in places.items() if place is not None}
        counts = Counter(present)
        for place in known.values():
            if counts[place.column] > 1:
                self.refuse(f"has {counts[place.column]} columns called {quoted(place.column)}")
        return known

    def choose(self, tables: Mapping[str, Sequence[str]]) -> str:
        """Which of several tables has all the columns asked for.

        Parameters
        ----------
        tables : mapping
            What a message calls a table -> the names of its columns.

        Raises
        ------
        InputError
            Several have, or none has.
        """
        complete = [table for table, names in tables.items() if not self.lacking(names)]
        if len(complete) == 1:
            return complete[0]
        if complete:
            self.refuse(f"several tables have all the columns: {', '.join(complete)}; choose with table")
        self.places(list(dict.fromkeys(name for names in tables.values() for name in names)))
        lacks = [f"{table} lacks {quoted(self.lacking(names)[0])}" for table, names in tables.items()]
        self.refuse(f"no table has all the columns: {', '.join(lacks[:20])}")

    def check_size(self, rows: int, bytes_on_disk: int) -> None:
        """Refuse a table that is out of all proportion to its file."""
        needed = rows * 8 * len(self.names)
        if is_too_large(needed, bytes_on_disk):
            self.refuse(
                f"says that it has {rows} rows, {needed / 1e9:.1f} GB for the columns asked for, in "
                f"{bytes_on_disk} bytes on disk; that can't be a catalog"
            )

    def check_expansion(self, expanded: int, bytes_on_disk: int) -> None:
        """Refuse a compressed file that expands out of all proportion."""
        check_growth(shown(self.path), expanded, bytes_on_disk)


class Pace:
    """Says how far a reading is, first after two seconds and then ever more rarely."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._start = time.monotonic()
        self._next = 2.0

    def __call__(self, rows: int, fraction: float, verb: str = "read") -> None:
        """Say a line when it is time: rows so far, and the fraction of the file."""
        elapsed = time.monotonic() - self._start
        if self._request.say is not None and elapsed >= self._next:
            self._next = 2.0 * elapsed
            amount = f"{rows:,} rows {verb}, " if rows else f"being {verb}, "
            self._request.say(f"{self._request.path.name}: {amount}{min(fraction, 1.0):.0%} of the file")


def shown(path: Path | str) -> str:
    """A path as messages show it: on one line, its middle left out when it is very long."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))
    half = _LONGEST_SHOWN // 2
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:half]}...{text[-half:]}"


def quoted(value: object, longest: int = 60) -> str:
    """A value in quotes, on one line, its end left out when it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 4]}...{text[0]}"


def _place(name: str, there: set[str]) -> Place | None:
    if name in there:
        return Place(name)
    element = _ELEMENT.fullmatch(name)
    return Place(element[1], int(element[2])) if element and element[1] in there else None


def nearest(name: str, present: Sequence[str]) -> str:
    """The most similar names, or the first ones."""
    if not present:
        return "it has no columns"
    lower = {other.lower().strip(): other for other in present[:_MOST_COMPARED]}
    near = difflib.get_close_matches(name.lower().strip()[:200], lower, n=3, cutoff=0.4)
    names = [lower[other] for other in near] or list(present[:12])
    return f"the nearest are {', '.join(quoted(other) for other in names)}"
