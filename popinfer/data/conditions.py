"""Which columns a catalog's description names: conditions on rows, and columns that are named twice.

The module imports no reader of files, so that a run file is checked within a second.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_COMPARISON = re.compile(r"^\s*(?P<column>.+?)\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<number>[-+0-9.eE]+)\s*$")
_SAID_TRUE = re.compile(
    r"^\s*(?P<column>[^<>=!&|~]+?)\s*(?P<operator>==|!=)\s*(?P<truth>(?i:true|false))\s*$"
)
_JOINED = re.compile(r"(^|\s)(not|and|or)(\s|$)", re.IGNORECASE)
_OPERATORS: dict[str, Callable[[FloatArray, float], BoolArray]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Condition:
    """A row is used where a column of true and false is true (or not), or where a number compares so."""

    column: str
    operator: str = ""
    number: float = np.nan
    negated: bool = False

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From "clean", "not blended" or "flag == 0".

        Raises
        ------
        ValueError
            The text is no condition; the message says what would be one.
        """
        said, match = _SAID_TRUE.match(text), _COMPARISON.match(text)
        if said is not None:
            false = said["truth"].lower() == "false"
            condition = cls(said["column"], negated=false == (said["operator"] == "=="))
        elif match is not None:
            condition = cls(match["column"], match["operator"], _number(match["number"]))
        else:
            first, _, rest = text.strip().partition(" ")
            negated = first.lower() == "not"
            condition = cls(rest.strip() if negated else text.strip(), negated=negated)
        column = condition.column
        if not column or any(sign in column for sign in "<>=!&|~") or _JOINED.search(column):
            raise ValueError(
                f"{text!r} has to be a column of true and false, 'not column', or like 'column < 3'; "
                "write several conditions as a list"
            )
        if match is not None and said is None and not np.isfinite(condition.number):
            raise ValueError(f"{text!r} compares with {match['number']!r}, which is no finite number")
        return condition

    def met(self, values: FloatArray) -> BoolArray:
        """Rows that meet it; those without a value don't."""
        if self.operator:
            return np.isfinite(values) & _OPERATORS[self.operator](values, self.number)
        return values == (0.0 if self.negated else 1.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


@runtime_checkable
class Columns(Protocol):
    """What names the columns of one band; a number is the error of all rows."""

    @property
    def value(self) -> str:
        """Of the magnitude or flux."""
        ...

    @property
    def error(self) -> str | float:
        """Of its error."""
        ...

    @property
    def extinction(self) -> str | None:
        """Of the extinction; None where there is none."""
        ...


class Conflict(NamedTuple):
    """A column that is named for two things: the keys, below the catalog, of the second, and a sentence."""

    keys: tuple[str, ...]
    text: str


def conflicts(
    bands: Mapping[str, Columns], redshift: str | None, id: str | None, conditions: Sequence[Condition]
) -> Iterator[Conflict]:
    """All columns that a catalog's description names for two things that no column can be at once.

    Parameters
    ----------
    bands : Mapping[str, Columns]
        Band name -> its columns.
    redshift, id : str or None
        Columns of the redshifts and of the galaxies' names; None where there is none.
    conditions : Sequence[Condition]
        On rows.
    """
    roles: dict[str, tuple[str, str]] = {}  # column -> band and key that named it first
    if redshift is not None:
        roles[redshift] = ("", "redshift")
    for key in ("value", "error", "extinction"):
        for band, columns in bands.items():
            column = getattr(columns, key)
            if not isinstance(column, str):
                continue
            first = roles.setdefault(column, (band, key))
            # one error for several bands can be meant; the catalog's own values tell
            if first != (band, key) and not (first[1] == key and key != "value"):
                yield Conflict(("bands", band, key), _twice(column, first, (band, key)))
    if id is not None and id in {*roles, *(condition.column for condition in conditions)}:
        yield Conflict(("id",), f"column {id!r} is named as id and as numbers; it can only be one of them")


def _twice(column: str, first: tuple[str, str], second: tuple[str, str]) -> str:
    """What is wrong with a column that two keys name."""
    (band, key), (other, other_key) = first, second
    if key == "redshift":
        return f"column {column!r} is named as the redshift and in band {other}"
    if band == other:
        return f"band {band}: column {column!r} is named as {key} and as {other_key}"
    if key == other_key:
        return f"column {column!r} is the {key} of bands {band} and {other}"
    return f"band {other}: column {column!r} is named as {other_key}, and as the {key} of band {band}"
