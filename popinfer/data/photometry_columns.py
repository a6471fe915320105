"""From a table's columns to one band's AB magnitudes and errors.

Magnitudes: m = value + zero_point - extinction, and for Vega magnitudes the AB magnitude of Vega besides.
Fluxes: m = a - 2.5 log10 F + zero_point - extinction, with a the AB magnitude of one unit, and the error
(2.5 / ln 10) sigma_F / F. Asinh magnitudes of softening b (Lupton, Gunn & Szalay 1999, AJ 118, 1406) are
fluxes in maggies,

    F = 2 b sinh(-m ln(10) / 2.5 - ln b),    sigma_F = sigma_m (ln(10) / 2.5) sqrt(F^2 + 4 b^2).

The error floor is added in quadrature.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from popinfer.data.band_columns import BandColumns, refuse
from popinfer.data.band_doubts import extinction_doubts, repetition_doubts, value_doubts
from popinfer.data.band_units import Reading
from popinfer.data.tables.request import Column
from popinfer.data.units import FLUX_UNITS, MAG_PER_LN

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_PLAUSIBLE = (-5.0, 45.0)  # magnitudes; anything else is a sentinel or an accident
# Magnitudes that are none among others: 0.001 and 1 where galaxies have 17, 40 where they have 22. The first
# number is where such a value begins, the second the median from which on it does.
_FAR_BRIGHTER = (5.0, 12.0)
_FAR_FAINTER = (35.0, 28.0)
_MAX_ERROR = 3.0  # mag; a value with such an error is no measurement
# mag: maps of dust scatter around zero by hundredths, and behind more than 20 mag no galaxy is seen
_EXTINCTION = (-0.2, 20.0)


@dataclass(frozen=True)
class BandPhotometry:
    """One band's magnitudes and errors, shape (row,), NaN where unusable, and by reason the rows where.

    The reasons may overlap; a row counts under the first. ``doubts`` are sentences on what isn't plausible,
    ``notes`` on what was done.
    """

    mag: FloatArray
    err: FloatArray
    unusable: Mapping[str, BoolArray]
    doubts: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def convert(path: Path, name: str, band: BandColumns, columns: Mapping[str, Column]) -> BandPhotometry:
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
        Column name -> column with float64 values of shape (row,), NaN where missing.

    Raises
    ------
    InputError
        Units that contradict each other, negative errors, or values that look like another unit.
    """
    reading = Reading.of(path, name, band, columns)
    value = reading.in_mag * columns[band.value].values
    if isinstance(band.error, str):
        error = columns[band.error].values
        _check_negative_errors(path, band.error, error)
    else:
        error = np.full_like(value, float(band.error))
    _check_looks_like_unit(path, name, band.value, reading, value)
    shift = np.full_like(value, band.zero_point + reading.offset)
    extinction = np.zeros(0)
    if band.extinction:
        extinction = reading.extinction_in_mag * columns[band.extinction].values
        shift = shift - extinction
    mag, sigma, unusable = _magnitudes(name, reading, value, error, shift)
    if band.extinction:
        unusable[f"implausible extinction in {name}"] = _absurd_extinction(extinction, mag, sigma)
    said, notes = extinction_doubts(name, band, reading, columns)
    doubts = (*said, *value_doubts(name, band, reading, mag, sigma))
    _leave_out_accidents(name, mag, sigma, unusable)
    if band.detection is not None:
        faint = mag > band.detection
        unusable[f"{name} fainter than its detection limit"] = faint
        mag[faint] = sigma[faint] = np.nan
    measured = np.where(np.isfinite(mag), columns[band.value].values, np.nan)
    return BandPhotometry(
        mag,
        np.hypot(sigma, band.error_floor),
        unusable,
        (*doubts, *repetition_doubts(name, band, measured)),
        (*reading.notes(name, band), *notes),
    )


def _absurd_extinction(extinction: FloatArray, mag: FloatArray, sigma: FloatArray) -> BoolArray:
    """Rows whose extinction is none; their magnitudes are set to NaN, in place."""
    with np.errstate(invalid="ignore"):
        absurd = (extinction < _EXTINCTION[0]) | (extinction > _EXTINCTION[1])
    mag[absurd] = sigma[absurd] = np.nan
    return absurd


def _magnitudes(
    name: str, reading: Reading, value: FloatArray, error: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray, dict[str, BoolArray]]:
    """Magnitudes and errors, NaN where there is none, and the rows where by reason."""
    brightest, faintest = _PLAUSIBLE
    flux = value
    if reading.is_luptitude:
        with np.errstate(over="ignore", invalid="ignore"):
            flux = 2 * reading.softening * np.sinh(-value / MAG_PER_LN - np.log(reading.softening))
    of_mag = reading.is_mag or reading.is_luptitude
    unusable: dict[str, BoolArray] = {
        f"infinite value in {name}": np.isinf(value) | np.isinf(error) | np.isinf(shift),
        f"no {'magnitude' if of_mag else 'flux'} in {name}": np.isnan(value),
        f"zero for a magnitude in {name}": of_mag & (value == 0),
        f"implausible magnitude in {name}": reading.is_mag & ((value < brightest) | (value > faintest)),
        f"flux of {name} not positive": (not reading.is_mag) & ~np.isnan(value) & ~(flux > 0),
        f"no extinction in {name}": np.isnan(shift),
        f"no error in {name}": np.isnan(error) | (error == 0),
    }
    good = ~np.any(list(unusable.values()), axis=0)
    mag, sigma = np.full_like(value, np.nan), np.full_like(value, np.nan)
    sigma[good] = 1.0 / np.sqrt(error[good]) if reading.ivar else error[good]
    sigma *= reading.error_factor
    if reading.is_mag:
        mag[good] = value[good]
    else:
        ab = 0.0 if reading.is_luptitude else reading.ab
        mag[good] = ab - 2.5 * np.log10(flux[good])
        if reading.is_luptitude:
            sigma[good] *= np.sqrt(flux[good] ** 2 + 4 * reading.softening**2) / MAG_PER_LN
        if not reading.error_in_mag:
            sigma[good] *= MAG_PER_LN / flux[good]
    return mag + shift, sigma, unusable


def _leave_out_accidents(
    name: str, mag: FloatArray, sigma: FloatArray, unusable: dict[str, BoolArray]
) -> None:
    """Set values that are no measurements to NaN, in place, and name their rows among the unusable ones."""
    brightest, faintest = _PLAUSIBLE
    usable = np.isfinite(mag)
    middle = float(np.median(mag[usable])) if usable.any() else np.nan
    if middle > _FAR_BRIGHTER[1]:
        brightest = _FAR_BRIGHTER[0]
    if middle < _FAR_FAINTER[1]:
        faintest = _FAR_FAINTER[0]
    with np.errstate(invalid="ignore"):
        vague = sigma > _MAX_ERROR
        outside = ~vague & ((mag < brightest) | (mag > faintest))
    unusable[f"error of {name} above {_MAX_ERROR:g} mag"] = vague
    unusable[f"implausible magnitude in {name}"] |= outside
    mag[vague | outside] = sigma[vague | outside] = np.nan


def _check_negative_errors(path: Path, column: str, error: FloatArray) -> None:
    negative = np.flatnonzero(error < 0)
    if negative.size:
        refuse(
            path,
            f"column {column!r} has {negative.size} negative errors, the first in row {negative[0]} "
            f"({error[negative[0]]:g}); if that value means 'not measured', list it under missing",
        )


def _check_looks_like_unit(path: Path, name: str, column: str, reading: Reading, value: FloatArray) -> None:
    """Refuse fluxes called magnitudes and magnitudes called fluxes, by the spread of their values."""
    usable = value[np.isfinite(value)]
    if usable.size < 20:
        return
    low, middle, high = np.percentile(usable, [2, 50, 98])
    of_mag = reading.is_mag or reading.is_luptitude
    if of_mag and (low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]):
        outside = usable[(usable < _PLAUSIBLE[0]) | (usable > _PLAUSIBLE[1])]
        values, counts = np.unique(outside, return_counts=True)
        if counts.max() > max(1, outside.size / 2):
            refuse(
                path,
                f"band {name}: column {column!r} holds {values[counts.argmax()]:g} in {counts.max()} rows; "
                "if that value means 'not measured', list it under missing",
            )
        refuse(
            path,
            f"band {name}: column {column!r} runs from {low:g} to {high:g}; AB magnitudes lie within "
            f"0..40: is it a flux? Then set unit to one of {', '.join(FLUX_UNITS)}",
        )
    if not of_mag and low > 0 and 8 < middle < 35 and high < 2.2 * low:
        refuse(
            path,
            f"band {name}: column {column!r} runs from {low:g} to {high:g} only; fluxes spread wider: "
            f"if these are magnitudes set unit: mag, if they are {reading.unit} convert them to magnitudes",
        )
