"""Doubts about a band's columns: medians, errors, repeated values and extinctions that no survey has.

A doubt is a sentence. What can't be judged by a single row is judged by many, and may be wrong for an unusual
sample: `popinfer.data.catalog.CatalogSpec.implausible` says whether a doubt is refused or told.
"""

import itertools
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popinfer.data.band_columns import BandColumns
from popinfer.data.band_units import Reading
from popinfer.data.tables.request import Column
from popinfer.data.units import MAG_PER_LN

FloatArray = NDArray[np.float64]

MEDIAN = (8.0, 33.0)  # of a band: between the brightest galaxies of the sky and the faintest ever measured
# mag, of a band. Formal errors of the brightest galaxies in the deepest surveys of their kind reach 3e-4; a
# thousandth of any survey's own median is below
_MEDIAN_ERROR = (3e-4, 1.0)
_EXTINCTION = (0.0, 5.0)  # mag, of a band's median: surveys of galaxies stay away from thicker dust
_MIN_RATED = 100  # galaxies from which on errors and brightness are compared
_MAX_RATED = 20_000  # of which as many say it to a hundredth
# rank correlation of flux and its error: zero where the sky makes the error, positive where the galaxy does
_WRONG_WAY = -0.5
_REPEATED = 0.01  # of the rows may hold one and the same value
_FEWEST_REPEATED = 5  # rows: fewer are chance where values are rounded
_NEIGHBORS = 4  # distinct values on either side that a repeated one is compared with
# Rounding to 0.01 or 0.1 mag gives all values near each other about the same number of rows; a value that
# stands for "not measured" has many times as many as its neighbors.
_TIMES_NEIGHBORS = 5.0
_MIN_VALUES = 20  # rows of which repetition is judged
_REDDENING = re.compile(r"(^|[^a-z])e[_ ]?\(?b[-_ ]?m?[-_ ]?v\)?([^a-z]|$)", re.IGNORECASE)
_NAMES_VEGA = re.compile(r"(^|[^a-z])vega([^a-z]|$)", re.IGNORECASE)


def value_doubts(
    name: str, band: BandColumns, reading: Reading, mag: FloatArray, sigma: FloatArray
) -> tuple[str, ...]:
    """Doubts on the medians of magnitudes and errors, and on how errors go with brightness.

    Parameters
    ----------
    name : str
        The band.
    band : BandColumns
        Its description.
    reading : Reading
        How its numbers were read.
    mag, sigma : array
        AB magnitudes and errors without their floor, shape (row,), NaN where unusable. Accidents are still
        among them: where they are most of a band, it is the medians that tell why.
    """
    usable = np.isfinite(mag)
    if not usable.any():
        return ()
    doubts = []
    middle = float(np.median(mag[usable]))
    if not MEDIAN[0] < middle < MEDIAN[1]:
        doubts.append(
            f"band {name}: the median AB magnitude from column {band.value!r} is {middle:.1f}, not within "
            f"{MEDIAN[0]:g}..{MEDIAN[1]:g}; check unit ({reading.unit}) and zero_point ({band.zero_point:g})"
        )
    error = float(np.median(sigma[usable]))
    if error > _MEDIAN_ERROR[1]:
        doubts.append(_large_error(name, band, f"the median error is {error:.3g} mag", reading))
    if usable.sum() >= _MIN_RATED and isinstance(band.error, str):
        trend = _rank_correlation(-mag[usable], np.log(sigma[usable]) - mag[usable] / MAG_PER_LN)
        if trend < _WRONG_WAY:
            why = f"brighter galaxies have smaller errors of their flux (rank correlation {trend:.2f})"
            doubts.append(_large_error(name, band, why, reading))
    if error < _MEDIAN_ERROR[0]:
        doubts.append(_small_error(name, band, error, reading))
    if _NAMES_VEGA.search(band.value) and band.system == "ab" and reading.offset == 0:
        doubts.append(
            f"band {name}: column {band.value!r} is called after Vega, and read as AB; set system: vega"
        )
    return tuple(doubts)


def _large_error(name: str, band: BandColumns, why: str, reading: Reading) -> str:
    """What may be wrong with errors that are too large, or that fall with brightness."""
    if not isinstance(band.error, str):
        return f"band {name}: {why}; {_number_hint(band, reading)}"
    hint = (
        "is it an inverse variance? Then set error_kind: ivar"
        if band.error_kind == "sigma"
        else "is it no inverse variance? Then leave error_kind: ivar out"
    )
    return f"band {name}: {why} in column {band.error!r}; {hint}"


def _small_error(name: str, band: BandColumns, error: float, reading: Reading) -> str:
    """What may be wrong with errors that are too small."""
    said = f"band {name}: the median error is {error:.2g} mag"
    if not isinstance(band.error, str):
        return f"{said}, below any survey's {_MEDIAN_ERROR[0]:g}; {_number_hint(band, reading)}"
    hint = "set error_unit if values and errors are in different units"
    if band.error_kind == "sigma":
        hint += "; if it is a variance, give its root"
    return (
        f"{said} in column {band.error!r}, below any survey's {_MEDIAN_ERROR[0]:g}; check its unit (values "
        f"are read in {reading.unit}): {hint}"
    )


def _number_hint(band: BandColumns, reading: Reading) -> str:
    """What an error that is one number for all rows is taken for."""
    if band.error_unit is not None:
        return f"check error ({band.error:g}) and error_unit ({band.error_unit})"
    return (
        f"error ({band.error:g}) is taken in the unit of the values, {reading.unit}; set error_unit: mag if "
        "it is in magnitudes"
    )


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's coefficient, of every n-th row where there are many; zero where one is constant."""
    step = max(1, x.size // _MAX_RATED)
    x, y = x[::step], y[::step]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    # as scipy.stats.spearmanr, which loads for half a second that a check of a run file needn't wait for
    return float(np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1])


def repetition_doubts(name: str, band: BandColumns, values: FloatArray) -> tuple[str, ...]:
    """Doubts on one value in many rows: a word for "not measured" that isn't listed.

    Parameters
    ----------
    name : str
        The band.
    band : BandColumns
        Its description.
    values : array
        The column as the file has it, shape (row,), NaN where nothing usable was measured.
    """
    there = values[np.isfinite(values)]
    if there.size < _MIN_VALUES:
        return ()
    distinct, rows = np.unique(there, return_counts=True)
    if distinct.size == 1:
        return (f"band {name}: column {band.value!r} holds {distinct[0]:.10g} in every row",)
    for i in np.argsort(-rows, kind="stable"):
        if rows[i] <= max(_REPEATED * there.size, _FEWEST_REPEATED):
            break
        near = [*rows[max(0, i - _NEIGHBORS) : i], *rows[i + 1 : i + 1 + _NEIGHBORS]]
        if rows[i] > _TIMES_NEIGHBORS * np.median(near):
            first = int(np.flatnonzero(values == distinct[i])[0])
            return (
                f"band {name}: column {band.value!r} holds exactly {distinct[i]:.10g} in {rows[i]} of "
                f"{there.size} rows, first in row {first}, and values near it in {np.median(near):g} each; "
                f"if it means 'not measured', list it: missing: [{distinct[i]:.10g}]",
            )
    return ()


def extinction_doubts(
    name: str, band: BandColumns, reading: Reading, columns: Mapping[str, Column]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Doubts if a galaxy survey has no such extinction; and a note of how much is subtracted.

    Parameters
    ----------
    name : str
        The band.
    band : BandColumns
        Its description.
    reading : Reading
        How its numbers were read.
    columns : mapping
        Column name -> column.
    """
    if not band.extinction:
        return (), ()
    column = columns[band.extinction]
    values = reading.extinction_in_mag * column.values
    values = values[np.isfinite(values)]
    middle = float(np.median(values)) if values.size else np.nan
    note = f"extinction subtracted in {name}: {middle:.3f} mag in the median (column {band.extinction!r})"
    doubts = []
    if not (np.isnan(middle) or _EXTINCTION[0] <= middle <= _EXTINCTION[1]):
        doubts.append(
            f"band {name}: the median extinction in column {band.extinction!r} is {middle:.3g} mag, not "
            f"within {_EXTINCTION[0]:g}..{_EXTINCTION[1]:g}; extinction has to name the magnitudes to "
            "subtract"
        )
    if _REDDENING.search(band.extinction) or _REDDENING.match((column.description or "").strip()):
        doubts.append(
            f"band {name}: column {band.extinction!r} looks like E(B-V); extinction has to name the "
            "magnitudes to subtract in this band, E(B-V) times the filter's coefficient"
        )
    return tuple(doubts), (note,)


def shared_column_doubts(
    bands: Mapping[str, BandColumns], columns: Mapping[str, Column]
) -> list[tuple[tuple[str, str], str]]:
    """Doubts on columns that serve two bands, and on columns that hold the same numbers, with the bands.

    One error or extinction for two bands is a slip of the pen, unless it is the same in every row: then it
    is a number that a table happens to hold as a column.

    Parameters
    ----------
    bands : mapping
        Band -> its description.
    columns : mapping
        Column name -> column.
    """
    doubts = []
    for (a, first), (b, second) in itertools.combinations(bands.items(), 2):
        both = f"bands {a} and {b}"
        if isinstance(first.error, str) and first.error == second.error and _varies(columns[first.error]):
            doubts.append(((a, b), f"{both} share the error column {first.error!r}; each needs its own"))
        shared = first.extinction if first.extinction == second.extinction else None
        if shared is not None and first.filter != second.filter and _varies(columns[shared]):
            text = f"{both} share the extinction column {shared!r}; it differs from band to band"
            doubts.append(((a, b), text))
        if _same_numbers(columns[first.value], columns[second.value]):
            text = f"{both}: columns {first.value!r} and {second.value!r} hold the same numbers"
            doubts.append(((a, b), text))
    return doubts


def _varies(column: Column) -> bool:
    """Whether a column holds more than one number."""
    there = column.values[np.isfinite(column.values)]
    return there.size > 1 and bool(np.ptp(there) > 0)


def _same_numbers(one: Column, other: Column) -> bool:
    """Whether two columns agree in every row, and there are enough rows for that to be no chance."""
    enough = int(np.isfinite(one.values).sum()) >= _MIN_VALUES
    return enough and _varies(one) and np.array_equal(one.values, other.values, equal_nan=True)
