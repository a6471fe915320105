"""From a table's columns to one band's AB magnitudes and errors.

Magnitudes: m = value + zero_point - extinction, and for Vega magnitudes the AB magnitude of Vega besides.
Fluxes: m = a - 2.5 log10 F + zero_point - extinction, with a the AB magnitude of one unit, and the error
(2.5 / ln 10) sigma_F / F. Asinh magnitudes of softening b (Lupton, Gunn & Szalay 1999, AJ 118, 1406) are
fluxes in maggies,

    F = 2 b sinh(-m ln(10) / 2.5 - ln b),    sigma_F = sigma_m (ln(10) / 2.5) sqrt(F^2 + 4 b^2).

The error floor is added in quadrature. What a file says of its units is believed: where the run file names
another unit than the file, both are quoted and nothing is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from popinfer.data.filters import FilterName, vega_to_ab
from popinfer.data.tables.request import Column
from popinfer.data.units import FLUX_UNITS, UNITS, FileUnit, flux_factor, parse_unit
from popinfer.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ErrorKind = Literal["sigma", "ivar"]
System = Literal["ab", "vega"]

_PLAUSIBLE = (-5.0, 45.0)  # magnitudes; anything else is a sentinel or an accident
_MEDIAN = (8.0, 33.0)  # of a band: between the brightest galaxies of the sky and the faintest ever measured
_MAX_ERROR = 3.0  # mag; a value with such an error is no measurement
_MAX_MEDIAN_ERROR = 1.0  # mag, of a band
_MAX_ZERO_POINT = 2.0  # mag; what is farther from AB is in another unit or system
_MAX_FLOOR = 1.0  # mag
_EXTINCTION = (0.0, 5.0)  # mag, of a band's median: surveys of galaxies stay away from thicker dust
_MIN_RATED = 100  # galaxies from which on errors and brightness are compared
# rank correlation of flux and its error: zero where the sky makes the error, positive where the galaxy does
_WRONG_WAY = -0.5
_MAG_PER_LN = 2.5 / np.log(10.0)
# softening of SDSS' asinh magnitudes, in maggies (York et al. 2000, AJ 120, 1579; Stoughton et al. 2002, AJ
# 123, 485)
SDSS_SOFTENING = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}


@dataclass(frozen=True)
class BandColumns:
    """Where one band's photometry is, and how to read it.

    Attributes
    ----------
    filter : name or file of the filter curve.
    value : column name of the magnitude or flux; ``name[i]`` for vector columns.
    error : column name of its error, or one number for all rows, in the unit of the values.
    extinction : column of the Galactic extinction [mag] still in the values; None where there is none.
    zero_point : added to the magnitude to make it AB [mag].
    unit : "mag", "luptitude" (asinh magnitude), "maggy", "nmgy" (nanomaggies), "Jy", "mJy", "uJy", "nJy" or
        "cgs" (erg/s/cm2/Hz). None takes the file's own, and magnitudes where the file says nothing.
    error_unit : of the error where it isn't that of the values; None takes the file's own, else that of the
        values.
    system : "ab", or "vega" for magnitudes relative to Vega.
    softening : of asinh magnitudes [maggies]; None takes SDSS' for a filter of SDSS.
    error_kind : "sigma", or "ivar" for an inverse variance in units of value^-2.
    error_floor : added to the error in quadrature [mag].
    detection : AB magnitude, zero point and extinction applied; fainter values are not detections.
    """

    filter: FilterName
    value: str
    error: str | float
    extinction: str | None = None
    zero_point: float = 0.0
    unit: str | None = None
    error_unit: str | None = None
    system: System = "ab"
    softening: float | None = None
    error_kind: ErrorKind = "sigma"
    error_floor: float = 0.0
    detection: float | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        error = (self.error,) if isinstance(self.error, str) else ()
        return (self.value, *error, *((self.extinction,) if self.extinction else ()))


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


def check_columns(path: str | Path, name: str, band: BandColumns) -> None:
    """Refuse a description of a band's columns that can't be right.

    Raises
    ------
    InputError
        Names the band, the key, and what would be right.
    """
    for key, unit in (("unit", band.unit), ("error_unit", band.error_unit)):
        if unit is not None and unit not in UNITS:
            _refuse(path, f"band {name}: {key} {unit!r} is unknown; one of {', '.join(UNITS)}")
    if band.error_kind not in ("sigma", "ivar"):
        _refuse(path, f"band {name}: error_kind {band.error_kind!r} has to be sigma or ivar")
    if band.system not in ("ab", "vega"):
        _refuse(path, f"band {name}: system {band.system!r} has to be ab or vega")
    if not 0 <= band.error_floor <= _MAX_FLOOR:
        _refuse(
            path, f"band {name}: error_floor {band.error_floor:g} has to lie within 0..{_MAX_FLOOR:g} mag"
        )
    if not abs(band.zero_point) <= _MAX_ZERO_POINT:
        _refuse(
            path,
            f"band {name}: zero_point {band.zero_point:g} has to lie within +-{_MAX_ZERO_POINT:g} mag; "
            "where values are so far from AB magnitudes, set unit, or system: vega",
        )
    if band.softening is not None and not 0 < band.softening < 1e-3:
        _refuse(path, f"band {name}: softening {band.softening:g} has to be between 0 and 1e-3 maggies")
    if isinstance(band.error, float | int):
        if not 0 < band.error < np.inf:
            _refuse(path, f"band {name}: error {band.error:g} has to be a number above 0, or a column")
        if band.error_kind == "ivar":
            _refuse(path, f"band {name}: error {band.error:g} is a number for all rows: give it as a sigma")
    if band.error == band.value:
        _refuse(path, f"band {name}: column {band.value!r} is named as value and as error")
    if band.extinction is not None and band.extinction in (band.value, band.error):
        _refuse(path, f"band {name}: column {band.extinction!r} is named as extinction too")


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
    unit = _Reading.of(path, name, band, columns)
    value = columns[band.value].values
    if isinstance(band.error, str):
        error = columns[band.error].values
        _check_negative_errors(path, band.error, error)
    else:
        error = np.full_like(value, float(band.error))
    _check_looks_like_unit(path, name, band.value, unit.unit, value)
    shift = np.full_like(value, band.zero_point + unit.offset)
    if band.extinction:
        shift = shift - columns[band.extinction].values
    mag, sigma, unusable = _magnitudes(name, unit, value, error, shift)
    extinction_doubts, extinction_notes = _extinction(name, band, columns)
    doubts = (*extinction_doubts, *_doubts(name, band, unit, mag, sigma))
    _leave_out_accidents(name, mag, sigma, unusable)
    if band.detection is not None:
        faint = mag > band.detection
        unusable[f"{name} fainter than its detection limit"] = faint
        mag[faint] = sigma[faint] = np.nan
    notes = (*unit.notes(name), *extinction_notes)
    return BandPhotometry(mag, np.hypot(sigma, band.error_floor), unusable, doubts, notes)


@dataclass(frozen=True)
class _Reading:
    """How one band's numbers become AB magnitudes.

    Attributes
    ----------
    unit : of the values, a word of `UNITS`, for messages.
    ab : AB magnitude of one unit of flux; NaN for magnitudes.
    offset : added to magnitudes [mag]: Vega's AB magnitude.
    softening : of asinh magnitudes [maggies], else NaN.
    ivar : whether errors are inverse variances.
    error_factor : errors (after the root of an inverse variance) times this are in the unit of the values.
    error_in_mag : whether errors are in magnitudes although the values are fluxes.
    """

    unit: str
    ab: float
    offset: float
    softening: float
    ivar: bool
    error_factor: float
    error_in_mag: bool

    @property
    def is_mag(self) -> bool:
        """Whether values are magnitudes of the common kind."""
        return self.unit == "mag"

    def notes(self, name: str) -> tuple[str, ...]:
        """What was done to magnitudes relative to Vega."""
        if self.offset == 0:
            return ()
        return (f"magnitudes of {name} are relative to Vega: {self.offset:+.3f} mag makes them AB",)

    @classmethod
    def of(cls, path: Path, name: str, band: BandColumns, columns: Mapping[str, Column]) -> "_Reading":
        """What run file and file say together, of values and errors."""
        said = parse_unit(columns[band.value].unit)
        unit, ab = _agreed(path, name, band, columns[band.value], said)
        system = band.system
        if said is not None and said.kind == "vega":
            system = "vega"
        if said is not None and said.kind == "ab" and system == "vega":
            text = columns[band.value].unit
            _refuse(
                path,
                f"band {name}: column {band.value!r} is in {text!r}, as the file says, but the run file has "
                "system: vega; leave system out, or mend the file",
            )
        if system == "vega" and unit != "mag":
            _refuse(path, f"band {name}: system: vega is of magnitudes; unit is {unit}")
        offset = vega_to_ab(band.filter) if system == "vega" else 0.0
        softening = _softening(path, name, band) if unit == "luptitude" else np.nan
        factor, in_mag = _error_unit(path, name, band, columns, (unit, ab))
        return cls(unit, ab, offset, softening, band.error_kind == "ivar", factor, in_mag)


def _agreed(
    path: Path, name: str, band: BandColumns, column: Column, said: FileUnit | None
) -> tuple[str, float]:
    """Unit of the values and its AB magnitude; InputError where run file and file contradict each other."""
    where = f"band {name}: column {band.value!r} is in {column.unit!r}, as the file says"
    if said is None or (said.kind == "unknown" and band.unit is not None):
        unit = band.unit or "mag"
        return unit, FLUX_UNITS.get(unit, np.nan)
    if said.kind == "unknown":
        _refuse(path, f"{where}, which is no unit that is known; set unit to one of {', '.join(UNITS)}")
    if said.kind == "uncalibrated":
        _refuse(path, f"{where}: counts of a detector; calibrated fluxes or magnitudes are needed")
    if said.kind == "other" or said.inverse_variance:
        _refuse(path, f"{where}: no flux per frequency and no magnitude; another column is needed")
    if said.kind != "flux":
        word = "luptitude" if said.kind == "luptitude" else "mag"
        if band.unit not in (None, word) and not (band.unit == "luptitude" and said.kind == "mag"):
            _refuse(
                path, f"{where}, but the run file has unit: {band.unit}; leave unit out, or mend the file"
            )
        return band.unit or word, np.nan
    if band.unit is None:
        known = [word for word, ab in FLUX_UNITS.items() if abs(ab - said.ab) < 1e-9]
        return known[0] if known else str(column.unit), said.ab
    if abs(FLUX_UNITS.get(band.unit, np.inf) - said.ab) > 1e-3:
        _refuse(path, f"{where}, but the run file has unit: {band.unit}; leave unit out, or mend the file")
    return band.unit, FLUX_UNITS[band.unit]


def _softening(path: Path, name: str, band: BandColumns) -> float:
    """Of the run file, or SDSS' for its filters."""
    if band.softening is not None:
        return band.softening
    word = str(band.filter).lower()
    if word.startswith("sdss") and len(word) > 5 and word[5] in SDSS_SOFTENING:
        return SDSS_SOFTENING[word[5]]
    _refuse(
        path,
        f"band {name}: unit: luptitude needs softening, in maggies; only SDSS' own filters have a default",
    )


def _error_unit(
    path: Path, name: str, band: BandColumns, columns: Mapping[str, Column], values: tuple[str, float]
) -> tuple[float, bool]:
    """Factor from the errors' unit to the values', and whether errors are magnitudes of fluxes."""
    unit, ab = values
    said, text = None, None
    if isinstance(band.error, str):
        text = columns[band.error].unit
        said = parse_unit(text)
    where = f"band {name}: column {band.error!r} is in {text!r}, as the file says"
    if said is not None and said.kind == "unknown":
        if band.error_unit is None and text != columns[band.value].unit:
            _refuse(path, f"{where}, which is no unit that is known; set error_unit")
        said = None
    if said is not None and said.kind in ("uncalibrated", "other"):
        _refuse(path, f"{where}: no error of a flux or a magnitude")
    if said is not None and said.inverse_variance and band.error_kind == "sigma":
        _refuse(path, f"{where}: an inverse variance; set error_kind: ivar")
    if said is not None and not said.inverse_variance and band.error_kind == "ivar":
        _refuse(path, f"{where}: no inverse variance; leave error_kind: ivar out")
    given = np.nan if band.error_unit is None else FLUX_UNITS.get(band.error_unit, np.nan)
    if said is not None and band.error_unit is not None:
        agree = abs(given - said.ab) < 1e-3 if said.kind == "flux" else np.isnan(given)
        if not agree:
            _refuse(
                path, f"{where}, but the run file has error_unit: {band.error_unit}; leave one of them out"
            )
    of_flux = said.kind == "flux" if said is not None else not np.isnan(given)
    error_ab = said.ab if said is not None and said.kind == "flux" else given
    in_mag = not of_flux and (said is not None or band.error_unit is not None)
    if np.isnan(ab):
        if of_flux:
            _refuse(
                path,
                f"band {name}: values are in {unit}, errors in a unit of flux; both have to be of one kind",
            )
        return 1.0, False
    if in_mag and band.error_kind == "ivar":
        _refuse(path, f"band {name}: values are fluxes, error_kind: ivar needs errors in a unit of flux")
    return (1.0, in_mag) if np.isnan(error_ab) else (flux_factor(error_ab, ab), False)


def _magnitudes(
    name: str, unit: _Reading, value: FloatArray, error: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray, dict[str, BoolArray]]:
    """Magnitudes and errors, NaN where there is none, and the rows where by reason."""
    brightest, faintest = _PLAUSIBLE
    flux = value
    if unit.unit == "luptitude":
        with np.errstate(over="ignore", invalid="ignore"):
            flux = 2 * unit.softening * np.sinh(-value / _MAG_PER_LN - np.log(unit.softening))
    of_mag = unit.is_mag or unit.unit == "luptitude"
    unusable: dict[str, BoolArray] = {
        f"infinite value in {name}": np.isinf(value) | np.isinf(error) | np.isinf(shift),
        f"no {'magnitude' if of_mag else 'flux'} in {name}": np.isnan(value),
        f"zero for a magnitude in {name}": of_mag & (value == 0),
        f"implausible magnitude in {name}": unit.is_mag & ((value < brightest) | (value > faintest)),
        f"flux of {name} not positive": (not unit.is_mag) & ~np.isnan(value) & ~(flux > 0),
        f"no extinction in {name}": np.isnan(shift),
        f"no error in {name}": np.isnan(error) | (error == 0),
    }
    good = ~np.any(list(unusable.values()), axis=0)
    mag, sigma = np.full_like(value, np.nan), np.full_like(value, np.nan)
    sigma[good] = 1.0 / np.sqrt(error[good]) if unit.ivar else error[good]
    sigma *= unit.error_factor
    if unit.is_mag:
        mag[good] = value[good]
    else:
        ab = 0.0 if unit.unit == "luptitude" else unit.ab
        mag[good] = ab - 2.5 * np.log10(flux[good])
        if unit.unit == "luptitude":
            sigma[good] *= np.sqrt(flux[good] ** 2 + 4 * unit.softening**2) / _MAG_PER_LN
        if not unit.error_in_mag:
            sigma[good] *= _MAG_PER_LN / flux[good]
    return mag + shift, sigma, unusable


def _leave_out_accidents(
    name: str, mag: FloatArray, sigma: FloatArray, unusable: dict[str, BoolArray]
) -> None:
    """Set values that are no measurements to NaN, in place, and name their rows among the unusable ones."""
    with np.errstate(invalid="ignore"):
        vague = sigma > _MAX_ERROR
        outside = ~vague & ((mag < _PLAUSIBLE[0]) | (mag > _PLAUSIBLE[1]))
    unusable[f"error of {name} above {_MAX_ERROR:g} mag"] = vague
    unusable[f"implausible magnitude in {name}"] |= outside
    mag[vague | outside] = sigma[vague | outside] = np.nan


def _doubts(
    name: str, band: BandColumns, unit: _Reading, mag: FloatArray, sigma: FloatArray
) -> tuple[str, ...]:
    """Sentences on medians and errors that no survey has; see `CatalogSpec.implausible` for what they do.

    Accidents are still among the values: where they are most of a band, it is the medians that tell why.
    """
    usable = np.isfinite(mag)
    doubts = []
    if usable.any():
        middle = float(np.median(mag[usable]))
        if not _MEDIAN[0] < middle < _MEDIAN[1]:
            doubts.append(
                f"band {name}: the median AB magnitude from column {band.value!r} is {middle:.1f}, not "
                f"within {_MEDIAN[0]:g}..{_MEDIAN[1]:g}; check unit ({unit.unit}) and zero_point "
                f"({band.zero_point:g})"
            )
        error = float(np.median(sigma[usable]))
        if error > _MAX_MEDIAN_ERROR:
            doubts.append(_wrong_error(name, band, f"the median error is {error:.3g} mag"))
    if usable.sum() >= _MIN_RATED and isinstance(band.error, str):
        trend = _rank_correlation(-mag[usable], np.log(sigma[usable]) - mag[usable] / _MAG_PER_LN)
        if trend < _WRONG_WAY:
            doubts.append(
                _wrong_error(
                    name,
                    band,
                    f"brighter galaxies have smaller errors of their flux (rank correlation {trend:.2f})",
                )
            )
    return tuple(doubts)


def _extinction(
    name: str, band: BandColumns, columns: Mapping[str, Column]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Doubts if a galaxy survey has no such median extinction; a note of how much is subtracted."""
    if not band.extinction:
        return (), ()
    values = columns[band.extinction].values
    values = values[np.isfinite(values)]
    middle = float(np.median(values)) if values.size else np.nan
    note = f"extinction subtracted in {name}: {middle:.3f} mag in the median (column {band.extinction!r})"
    if np.isnan(middle) or _EXTINCTION[0] <= middle <= _EXTINCTION[1]:
        return (), (note,)
    doubt = (
        f"band {name}: the median extinction in column {band.extinction!r} is {middle:.3g} mag, not within "
        f"{_EXTINCTION[0]:g}..{_EXTINCTION[1]:g}; extinction has to name the magnitudes to subtract"
    )
    return (doubt,), (note,)


def _wrong_error(name: str, band: BandColumns, why: str) -> str:
    """What may be wrong with an error column."""
    if not isinstance(band.error, str):
        return f"band {name}: {why}; check error ({band.error:g}) and error_unit"
    hint = (
        "is it an inverse variance? Then set error_kind: ivar"
        if band.error_kind == "sigma"
        else "is it no inverse variance? Then leave error_kind: ivar out"
    )
    return f"band {name}: {why} in column {band.error!r}; {hint}"


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's coefficient; zero where one of them is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)


def _check_negative_errors(path: Path, column: str, error: FloatArray) -> None:
    negative = np.flatnonzero(error < 0)
    if negative.size:
        _refuse(
            path,
            f"column {column!r} has {negative.size} negative errors, the first in row {negative[0]} "
            f"({error[negative[0]]:g}); if that value means 'not measured', list it under missing",
        )


def _check_looks_like_unit(path: Path, name: str, column: str, unit: str, value: FloatArray) -> None:
    """Refuse fluxes called magnitudes and magnitudes called fluxes, by the spread of their values."""
    usable = value[np.isfinite(value)]
    if usable.size < 20:
        return
    low, middle, high = np.percentile(usable, [2, 50, 98])
    of_mag = unit in ("mag", "luptitude")
    if of_mag and (low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]):
        outside = usable[(usable < _PLAUSIBLE[0]) | (usable > _PLAUSIBLE[1])]
        values, counts = np.unique(outside, return_counts=True)
        if counts.max() > max(1, outside.size / 2):
            _refuse(
                path,
                f"band {name}: column {column!r} holds {values[counts.argmax()]:g} in {counts.max()} rows; "
                "if that value means 'not measured', list it under missing",
            )
        _refuse(
            path,
            f"band {name}: column {column!r} runs from {low:g} to {high:g}; AB magnitudes lie within "
            f"0..40: is it a flux? Then set unit to one of {', '.join(FLUX_UNITS)}",
        )
    if not of_mag and low > 0 and 8 < middle < 35 and high < 2.2 * low:
        _refuse(
            path,
            f"band {name}: column {column!r} runs from {low:g} to {high:g} only; fluxes spread wider: "
            f"if these are magnitudes set unit: mag, if they are {unit} convert them to magnitudes",
        )


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
