"""From a table's columns to one band's AB magnitudes and errors.

m = value + zero_point - extinction for a magnitude column, plus Vega's AB magnitude where the value is a Vega
magnitude; m = -2.5 log10(F / 3631 Jy) + zero_point - extinction for a flux column, whose error becomes
(2.5 / ln 10) sigma_F / F. Asinh magnitudes become fluxes first. The error floor is added in quadrature. Which
unit a column has is settled in `reading_of`: what the file says is believed, and what the run file says has
to agree with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from popinfer.data.catalog_io import Column
from popinfer.data.filters import FilterName, vega_to_ab
from popinfer.data.photometric_units import (
    AB_OF_UNIT,
    MAG_PER_LN,
    Scale,
    System,
    Unit,
    UnitError,
    from_luptitudes,
    parse_unit,
    scale_of,
    softening_of,
)
from popinfer.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ErrorKind = Literal["sigma", "ivar"]

LARGEST_ERROR = 3.0  # mag; a flux of S/N below 0.36: such a value doesn't measure the galaxy
_PLAUSIBLE = (-5.0, 40.0)  # magnitudes; anything else is a sentinel or an accident
_SURVEYS, _USUAL = (7.0, 34.0), (12.0, 28.0)  # median magnitudes that a survey can have, and mostly has
_OVERRULE = "file_units: ignore overrules the file where it is wrong"


@dataclass(frozen=True)
class BandColumns:
    """Where one band's photometry is, and how to read it.

    Attributes
    ----------
    filter : name or file of the filter curve.
    value : column name of the magnitude or flux; ``name[i]`` for vector columns.
    error : column name of its error, or a number: the same error for all.
    extinction : column of the Galactic extinction [mag] still in the values; None where there is none.
    zero_point : added to the magnitude to make it AB [mag].
    unit : "mag", "luptitude" (asinh magnitudes), "maggies", "nmgy" (nanomaggies), "Jy", "mJy", "uJy", "nJy"
    or
        "cgs" (erg/s/cm2/Hz); None is what the file says, and "mag" where it says nothing.
    error_kind : "sigma", or "ivar" for an inverse variance in units of value^-2.
    error_floor : added to the error in quadrature [mag].
    detection : AB magnitude, zero point and extinction applied; fainter values are not detections.
    error_unit : unit of the error where it isn't the value's; None is what the file says.
    system : "ab" or "vega", of magnitudes; None is what the file says, and "ab" where it says nothing.
    ab_of_unit : AB magnitude of one unit of flux, 22.5 for nanomaggies, for fluxes in units without a name.
    softening : b of asinh magnitudes, in units of the flux of magnitude zero; None is SDSS' for its filters.
    """

    filter: FilterName
    value: str
    error: str | float
    extinction: str | None = None
    zero_point: float = 0.0
    unit: Unit | None = None
    error_kind: ErrorKind = "sigma"
    error_floor: float = 0.0
    detection: float | None = None
    error_unit: Unit | None = None
    system: System | None = None
    softening: float | None = None
    ab_of_unit: float | None = None

    @property
    def filter_name(self) -> str:
        """The filter's name or path."""
        return str(getattr(self.filter, "path", self.filter))


@dataclass(frozen=True)
class Reading:
    """How a band's numbers are to be read: units of value and error, what makes them AB, and remarks.

    Attributes
    ----------
    value, error : unit of each column.
    offset : added to magnitudes to make them AB, because they are Vega magnitudes.
    softening : of asinh magnitudes, else None.
    notes : sentences for the user.
    """

    value: Scale
    error: Scale
    offset: float = 0.0
    softening: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BandPhotometry:
    """One band's magnitudes and errors, shape (row,), NaN where unusable, and by reason the rows where.

    The reasons may overlap; a row counts under the first. ``stated_mag`` and ``stated_err`` are the same
    before values with large errors and those fainter than the detection limit are taken out, and without the
    error floor: what the file claims. ``extinction`` is what was subtracted, None where there is none;
    ``junk`` names the reasons that mean "this is no measurement"; ``flux_errors`` tells errors of fluxes
    from those of magnitudes.
    """

    mag: FloatArray
    err: FloatArray
    unusable: Mapping[str, BoolArray]
    stated_mag: FloatArray
    stated_err: FloatArray
    extinction: FloatArray | None = None
    junk: tuple[str, ...] = ()
    flux_errors: bool = False


def reading_of(
    path: Path, name: str, band: BandColumns, columns: Mapping[str, Column], *, believe: bool = True
) -> Reading:
    """Settle a band's units between the file and the run file.

    Parameters
    ----------
    path, name : the file and the band, for messages.
    band : what the run file says.
    columns : what the file says, by column name.
    believe : whether what the file says counts at all.

    Raises
    ------
    InputError
        They contradict each other, or the unit isn't one of calibrated photometry.
    """
    notes: list[str] = []

    def settled(column: str, given: Unit | None, key: str) -> Scale | None:
        text = columns[column].unit if believe else None
        word = None if given is None else (f"{key}: {given}", scale_of(given))
        if key == "unit" and band.ab_of_unit is not None:
            word = f"ab_of_unit_mag: {band.ab_of_unit:g}", Scale("flux", band.ab_of_unit)
        return _settle(path, name, column, (text, word), notes)

    value = settled(band.value, band.unit, "unit") or Scale("mag")
    if value.power != 1:
        _refuse(
            path,
            f"band {name}: column {band.value!r} is a variance, says its unit; value has to name the flux",
        )
    if isinstance(band.error, str):
        error = settled(band.error, band.error_unit, "error_unit")
    else:
        error = None if band.error_unit is None else scale_of(band.error_unit)
    error = error or Scale(value.kind, value.ab, 1 if band.error_kind == "sigma" else -2)
    if band.error_unit is not None and (not isinstance(band.error, str) or not columns[band.error].unit):
        error = Scale(error.kind, error.ab, 1 if band.error_kind == "sigma" else -2)
    _check_error_scale(path, name, band, value, error)
    system = _system(path, name, band, value)
    offset = vega_to_ab(band.filter) if system == "vega" else 0.0
    return Reading(value, error, offset, _softening(path, name, band, value), tuple(notes))


def _settle(
    path: Path, name: str, column: str, said: tuple[str | None, tuple[str, Scale] | None], notes: list[str]
) -> Scale | None:
    """One column's unit: the file's, the run file's where the file says none, None where neither does."""
    text, given = said
    try:
        scale = parse_unit(text)
    except UnitError as error:
        if given is None or error.known:
            remedy = _OVERRULE if error.known else "the run file has to say which it is"
            _refuse(
                path,
                f"band {name}: column {column!r} says that its unit is {text!r}, which {error}; {remedy}",
            )
        notes.append(
            f"band {name}: the unit of column {column!r}, {text!r}, isn't known; the run file's {given[0]} "
            "is used"
        )
        scale = None
    if given is None or scale is None:
        return scale if given is None else given[1]
    word, wanted = given
    if scale.kind == "mag" and wanted.kind == "luptitude":
        return wanted  # asinh magnitudes are in mag, say most files
    if not scale.agrees(wanted):
        key = word.split(":")[0]
        _refuse(
            path,
            f"band {name}: the run file says {word}, the file says that column {column!r} is in {text!r}; "
            "one "
            f"of them is wrong: leave {key} out to use the file's unit; {_OVERRULE}",
        )
    return scale


def _check_error_scale(path: Path, name: str, band: BandColumns, value: Scale, error: Scale) -> None:
    """An error has to be of the value's kind, and a variance what the run file calls it."""
    power = 1 if band.error_kind == "sigma" else -2
    if error.power == 2:
        _refuse(
            path, f"band {name}: column {band.error!r} is a variance, says its unit; give its square root"
        )
    if error.power != power:
        right = "ivar" if error.power == -2 else "sigma"
        _refuse(
            path,
            f"band {name}: the run file says error_kind: {band.error_kind}, but the unit of column "
            f"{band.error!r} is that of error_kind: {right}; {_OVERRULE}",
        )
    if value.kind != "flux" and error.kind == "flux":
        _refuse(path, f"band {name}: {band.value!r} is a magnitude, and its error {band.error!r} a flux")


def _system(path: Path, name: str, band: BandColumns, value: Scale) -> System:
    if band.system is not None and value.system is not None and band.system != value.system:
        _refuse(
            path,
            f"band {name}: the run file says system: {band.system}, the file says that column "
            f"{band.value!r} is in "
            f"{value.system.capitalize() if value.system == 'vega' else 'AB'} magnitudes; leave system out "
            "to "
            f"use the file's; {_OVERRULE}",
        )
    system = band.system or value.system or "ab"
    if system == "vega" and value.kind != "mag":
        _refuse(
            path, f"band {name}: system: vega is for magnitudes (unit: mag); column {band.value!r} is none"
        )
    return system


def _softening(path: Path, name: str, band: BandColumns, value: Scale) -> float | None:
    if value.kind != "luptitude":
        if band.softening is not None:
            _refuse(path, f"band {name}: softening is for asinh magnitudes; set unit: luptitude for them")
        return None
    softening = band.softening or softening_of(band.filter_name)
    if softening is None:
        _refuse(
            path,
            f"band {name}: asinh magnitudes need their softening b, as in softening: 1.2e-10 (SDSS' r band); "
            f"it isn't known for filter {band.filter_name}",
        )
    return softening


def convert(
    path: Path,
    name: str,
    band: BandColumns,
    columns: Mapping[str, FloatArray],
    reading: Reading | None = None,
) -> BandPhotometry:
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
    reading : Reading, optional
        The columns' units; by default what `band` says.

    Raises
    ------
    InputError
        Negative errors, or values that look like another unit.
    """
    reading = reading or reading_of(path, name, band, {n: Column(x) for n, x in columns.items()})
    value = columns[band.value]
    error = columns[band.error] if isinstance(band.error, str) else np.full_like(value, band.error)
    _check_negative_errors(path, band.error, error)
    _check_looks_like_unit(path, name, band, reading.value, value)
    shift = np.full_like(value, band.zero_point)
    if reading.offset:
        shift = shift + reading.offset
    extinction = columns[band.extinction] if band.extinction else None
    if extinction is not None:
        shift = shift - extinction
    mag, sigma, unusable = _measured(name, value, error, shift, reading, band.error_kind)
    _check_range(path, name, band, reading.value, mag)
    with np.errstate(invalid="ignore"):
        absurd = (mag < _PLAUSIBLE[0]) | (mag > _PLAUSIBLE[1])
        unusable[f"implausible magnitude in {name}"] |= absurd
        mag[absurd] = sigma[absurd] = np.nan
    stated = mag.copy(), sigma.copy()
    with np.errstate(invalid="ignore"):
        large = sigma > LARGEST_ERROR
        too_large = f"error of {name} above {LARGEST_ERROR:g} mag"
        unusable[too_large] = large
        mag[large] = sigma[large] = np.nan
        if band.detection is not None:
            faint = mag > band.detection
            unusable[f"{name} fainter than its detection limit"] = faint
            mag[faint] = sigma[faint] = np.nan
    zero = f"value of exactly 0 in {name}"
    err = np.hypot(sigma, band.error_floor)
    return BandPhotometry(
        mag, err, unusable, *stated, extinction, (zero, too_large), reading.error.kind == "flux"
    )


def _measured(
    name: str, value: FloatArray, error: FloatArray, shift: FloatArray, reading: Reading, kind: ErrorKind
) -> tuple[FloatArray, FloatArray, dict[str, BoolArray]]:
    """AB magnitudes and errors where a value and an error can be used, and by reason where they can't."""
    is_mag, is_flux = reading.value.kind == "mag", reading.value.kind == "flux"
    brightest, faintest = _PLAUSIBLE
    unusable: dict[str, BoolArray] = {
        f"infinite value in {name}": np.isinf(value) | np.isinf(error) | np.isinf(shift),
        f"no {'flux' if is_flux else 'magnitude'} in {name}": np.isnan(value),
        f"value of exactly 0 in {name}": (not is_flux) & (value == 0),
        f"implausible magnitude in {name}": (not is_flux) & ((value < brightest) | (value > faintest)),
        f"flux of {name} not positive": is_flux & (value <= 0),
        f"no extinction in {name}": np.isnan(shift),
        f"no error in {name}": np.isnan(error) | (error == 0),
    }
    sigma = np.full_like(value, np.nan)
    good = ~np.any(list(unusable.values()), axis=0)
    sigma[good] = error[good] if kind == "sigma" else 1.0 / np.sqrt(error[good])
    if reading.softening is not None and reading.error.kind != "flux":
        flux, flux_err = from_luptitudes(value, sigma, reading.softening)
        unusable[f"flux of {name} not positive"] = good & (flux <= 0)
        good &= flux > 0
        mag = np.where(good, -2.5 * np.log10(np.where(good, flux, 1.0)), np.nan)
        sigma = np.where(good, MAG_PER_LN * flux_err / np.where(good, flux, 1.0), np.nan)
        return mag + shift, sigma, unusable
    mag = np.full_like(value, np.nan)
    mag[good] = value[good] if is_mag else reading.value.ab - 2.5 * np.log10(value[good])
    mag += shift
    if is_flux and reading.error.kind == "flux":
        if not reading.error.agrees(reading.value):
            sigma *= reading.error.in_maggies() / reading.value.in_maggies()
        sigma[good] *= MAG_PER_LN / value[good]
    return mag, sigma, unusable


def _check_negative_errors(path: Path, column: str | float, error: FloatArray) -> None:
    negative = np.flatnonzero(error < 0)
    if negative.size:
        _refuse(
            path,
            f"column {column!r} has {negative.size} negative errors, the first in row {negative[0]} "
            f"({error[negative[0]]:g}); if that value means 'not measured', list it under missing",
        )


def _check_looks_like_unit(path: Path, name: str, band: BandColumns, scale: Scale, value: FloatArray) -> None:
    """Refuse fluxes called magnitudes and magnitudes called fluxes, by the spread of their values."""
    usable = value[np.isfinite(value)]
    if usable.size < 20:
        return
    low, middle, high = np.percentile(usable, [2, 50, 98])
    if scale.kind != "flux" and (low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]):
        _refuse(
            path,
            f"band {name}: column {band.value!r} runs from {low:g} to {high:g}; AB magnitudes lie within "
            "0..40: is it a flux? Then set unit to one of nmgy, maggies, Jy, mJy, uJy, nJy, cgs",
        )
    if scale.kind == "flux" and low > 0 and 8 < middle < 35 and high < 2.2 * low:
        said = f"are {band.unit}" if band.unit else "are fluxes"
        _refuse(
            path,
            f"band {name}: column {band.value!r} runs from {low:g} to {high:g} only; fluxes spread wider: "
            f"if these are magnitudes set unit: mag, if they {said} convert them to magnitudes",
        )


def _check_range(path: Path, name: str, band: BandColumns, scale: Scale, mag: FloatArray) -> None:
    """Refuse magnitudes that no survey's galaxies have, and say in which unit they would be in range."""
    usable = mag[np.isfinite(mag)]
    middle = float(np.median(usable)) if usable.size else 20.0
    bright, faint = _SURVEYS
    if bright < middle < faint:
        return
    others = {u: middle + ab - scale.ab for u, ab in AB_OF_UNIT.items()} if scale.kind == "flux" else {}
    fitting = [f"{x:.1f} as {u}" for u, x in others.items() if _USUAL[0] < x < _USUAL[1]]
    hint = f" (it would be {', '.join(fitting)})" if fitting else ""
    unit = band.unit or "the file's"
    _refuse(
        path,
        f"band {name}: the median AB magnitude from column {band.value!r} is {middle:.1f}, not within "
        f"{bright:g}..{faint:g}; check unit ({unit}){hint} and zero_point ({band.zero_point:g})",
    )


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
