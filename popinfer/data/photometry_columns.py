"""From a table's columns to one band's AB magnitudes and errors.

m = value + zero_point - extinction for a magnitude column; m = -2.5 log10(F / 3631 Jy) + zero_point -
extinction for a flux column, whose error becomes (2.5 / ln 10) sigma_F / F. The error floor is added in
quadrature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from popinfer.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Unit = Literal["mag", "nmgy", "uJy", "nJy", "Jy", "cgs"]
ErrorKind = Literal["sigma", "ivar"]

# AB magnitude of one unit of flux: a nanomaggie by definition, the others from AB = 0 at 3631 Jy
_AB_OF_UNIT: dict[str, float] = {
    "nmgy": 22.5,
    "Jy": 2.5 * np.log10(3631.0),
    "uJy": 2.5 * np.log10(3631.0e6),
    "nJy": 2.5 * np.log10(3631.0e9),
    "cgs": 2.5 * np.log10(3631.0e-23),
}
_PLAUSIBLE = (-5.0, 45.0)  # magnitudes; anything else is a sentinel or an accident
_MAG_PER_LN = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class BandColumns:
    """Where one band's photometry is, and how to read it.

    Attributes
    ----------
    filter : name or file of the filter curve.
    value, error : column names of the magnitude or flux and of its error; ``name[i]`` for vector columns.
    extinction : column of the Galactic extinction [mag] still in the values; None where there is none.
    zero_point : added to the magnitude to make it AB [mag].
    unit : "mag" (AB), "nmgy" (nanomaggies), "Jy", "uJy", "nJy" or "cgs" (erg/s/cm2/Hz).
    error_kind : "sigma", or "ivar" for an inverse variance in units of value^-2.
    error_floor : added to the error in quadrature [mag].
    detection : AB magnitude, zero point and extinction applied; fainter values are not detections.
    """

    filter: str
    value: str
    error: str
    extinction: str | None = None
    zero_point: float = 0.0
    unit: Unit = "mag"
    error_kind: ErrorKind = "sigma"
    error_floor: float = 0.0
    detection: float | None = None


@dataclass(frozen=True)
class BandPhotometry:
    """One band's magnitudes and errors, shape (row,), NaN where unusable, and by reason the rows where.

    The reasons may overlap; a row counts under the first.
    """

    mag: FloatArray
    err: FloatArray
    unusable: Mapping[str, BoolArray]


def convert(path: Path, name: str, band: BandColumns, columns: Mapping[str, FloatArray]) -> BandPhotometry:
    """One band's AB magnitudes and errors; both NaN wherever either can't be used.

    Parameters
    ----------
    path : Path
        The file, for messages.
    name : str
        The band, for messages.
    band : BandColumns
        How to read the columns.
    columns : mapping
        Column name -> values of shape (row,), NaN where missing.

    Raises
    ------
    InputError
        Negative errors, or values that look like another unit.
    """
    value, error = columns[band.value], columns[band.error]
    _check_negative_errors(path, band.error, error)
    _check_looks_like_unit(path, name, band, value)
    shift = np.full_like(value, band.zero_point)
    if band.extinction:
        shift = shift - columns[band.extinction]
    is_mag = band.unit == "mag"
    brightest, faintest = _PLAUSIBLE
    unusable: dict[str, BoolArray] = {
        f"infinite value in {name}": np.isinf(value) | np.isinf(error) | np.isinf(shift),
        f"no {'magnitude' if is_mag else 'flux'} in {name}": np.isnan(value),
        f"implausible magnitude in {name}": is_mag & ((value < brightest) | (value > faintest)),
        f"flux of {name} not positive": (not is_mag) & (value <= 0),
        f"no extinction in {name}": np.isnan(shift),
        f"no error in {name}": np.isnan(error) | (error == 0),
    }
    bad = np.any(list(unusable.values()), axis=0)
    good = ~bad
    mag, sigma = np.full_like(value, np.nan), np.full_like(value, np.nan)
    sigma[good] = error[good] if band.error_kind == "sigma" else 1.0 / np.sqrt(error[good])
    mag[good] = value[good] if is_mag else _AB_OF_UNIT[band.unit] - 2.5 * np.log10(value[good])
    mag += shift
    if not is_mag:
        sigma[good] *= _MAG_PER_LN / value[good]
    _check_range(path, name, band, mag)
    if band.detection is not None:
        faint = mag > band.detection
        unusable[f"{name} fainter than its detection limit"] = faint
        mag[faint] = sigma[faint] = np.nan
    return BandPhotometry(mag, np.hypot(sigma, band.error_floor), unusable)


def _check_negative_errors(path: Path, column: str, error: FloatArray) -> None:
    negative = np.flatnonzero(error < 0)
    if negative.size:
        _refuse(
            path,
            f"column {column!r} has {negative.size} negative errors, the first in row {negative[0]} "
            f"({error[negative[0]]:g}); if that value means 'not measured', list it under missing",
        )


def _check_looks_like_unit(path: Path, name: str, band: BandColumns, value: FloatArray) -> None:
    """Refuse fluxes called magnitudes and magnitudes called fluxes, by the spread of their values."""
    usable = value[np.isfinite(value)]
    if usable.size < 20:
        return
    low, middle, high = np.percentile(usable, [2, 50, 98])
    if band.unit == "mag" and (low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]):
        _refuse(
            path,
            f"band {name}: column {band.value!r} runs from {low:g} to {high:g}; AB magnitudes lie within "
            f"0..40: is it a flux? Then set unit to one of {', '.join(_AB_OF_UNIT)}",
        )
    if band.unit != "mag" and low > 0 and 8 < middle < 35 and high < 2.2 * low:
        _refuse(
            path,
            f"band {name}: column {band.value!r} runs from {low:g} to {high:g} only; fluxes spread wider: "
            f"if these are magnitudes set unit: mag, if they are {band.unit} convert them to magnitudes",
        )


def _check_range(path: Path, name: str, band: BandColumns, mag: FloatArray) -> None:
    usable = mag[np.isfinite(mag)]
    middle = float(np.median(usable)) if usable.size else 20.0
    if not 0 < middle < 40:
        _refuse(
            path,
            f"band {name}: the median AB magnitude from column {band.value!r} is {middle:.1f}, not within "
            f"0..40; check unit ({band.unit}) and zero_point ({band.zero_point:g})",
        )


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
