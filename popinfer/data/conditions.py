"""Conditions on columns that choose a catalog's rows: ``clean``, ``not blended``, ``flag == 0``, ``snr > 5``.

A condition is parsed, never evaluated. A row whose value is missing fulfils none.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from popinfer.errors import InputError

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON = re.compile(r"(.+?)\s*(<=|>=|==|!=|<|>|=)\s*(.+)")
_FLAG = re.compile(r"(?:(not\s+|!|~)\s*)?([^\s<>=!~&|][^<>=!&|]*)")
_HOW = (
    "write a column of true and false, 'not' and such a column, or 'column < number' (<, <=, >, >=, ==, !=)"
)


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes
    ----------
    text : as it was written.
    column : the column that it looks at.
    comparison : operator; None for a column of true and false.
    number : what it is compared with; for a column of true and false, 1 where it has to be true, else 0.
    """

    text: str
    column: str
    comparison: str | None
    number: float

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where the condition is fulfilled, for the column's values of shape (row,)."""
        with np.errstate(invalid="ignore"):
            fulfilled = _OPERATORS[self.comparison or "=="](values, self.number)
        return np.asarray(fulfilled & ~np.isnan(values))


def parse_conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Parse conditions, all of which have to hold.

    Raises
    ------
    InputError
        One is no condition; the message says how to write one.
    """
    return tuple(_parse(" ".join(text.split())) for text in texts)


def _parse(text: str) -> Condition:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        flag = _FLAG.fullmatch(text)
        if flag is None:
            raise InputError(f"where: '{text}' is no condition; {_HOW}")
        return Condition(text, flag[2].strip(), None, 0.0 if flag[1] else 1.0)
    column, sign, right = match.groups()
    if sign == "=":
        raise InputError(f"where: '{text}' is no condition: write == for equal")
    if right.casefold() in ("true", "false"):
        if sign not in ("==", "!="):
            raise InputError(f"where: '{text}' is no condition: true and false can only be equal or not")
        wanted = (right.casefold() == "true") == (sign == "==")
        return Condition(text, column, None, float(wanted))
    try:
        number = float(right)
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or any(sign in column for sign in "<>=&|"):
        raise InputError(
            f"where: '{text}' is no condition: a column is compared with one number; several conditions are "
            "a "
            "list, and all have to hold"
        )
    return Condition(text, column, sign, number)
