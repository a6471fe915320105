"""What a table's columns say of its bands: filters, magnitudes, errors, and where extinction is in.

Nothing is asked: names and units tell, and what other columns of the same band hold.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from popinfer.data.catalog import MISSING
from popinfer.data.catalog_io import read_columns
from popinfer.data.column_names import BandName, band_name, filter_of, has_curve
from popinfer.data.filters import known_pivot
from popinfer.data.tables.request import Column
from popinfer.data.units import parse_unit
from popinfer.errors import InputError, percent

PLAUSIBLE_MAG = (8.0, 33.0)  # of a band's median, as a catalog is read
_LEAST_MEASURED = 0.9  # of the rows, in a band that is used: others are left out with the band
_SAME = 0.03  # mag: two columns of a band mean the same magnitudes
_NO_UNIT = "the unit of its flux isn't stated: set unit"
_IN_VEGA = ("twomass", "vista", "ukirt", "wise")


@dataclass(frozen=True)
class BandGuess:
    """Columns and filter of one band, with magnitudes for choosing slices and limits.

    Attributes
    ----------
    name : of the band.
    value, error : columns.
    curve : name of the filter curve.
    keys : further keys of the band's section.
    mag : magnitudes, NaN where there is none.
    extinction : column of extinctions that the values hold, or may hold; "" where there is none.
    is_extinct : whether they hold it; None where other columns don't tell.
    """

    name: str
    value: str
    error: str
    curve: str
    keys: Mapping[str, str]
    mag: NDArray[np.float64]
    extinction: str = ""
    is_extinct: bool | None = None


@dataclass
class Guesses:
    """What is known of a table's bands.

    Attributes
    ----------
    bands : those that can be used, from blue to red.
    templates : lines of a run file for bands that lack the unit of their fluxes.
    missing : values that stand for "not measured".
    said : what was guessed, and what couldn't be, a line each.
    """

    bands: list[BandGuess] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class DraftTable:
    """Columns of a file that are read when they are asked for, "not measured" as NaN."""

    def __init__(self, path: Path, columns: tuple[str, ...], table: str) -> None:
        self.names, self._path = columns, path
        self._table = table.strip("'").split(" ")[0] or None

    def __call__(self, name: str, *, flag: bool = False) -> Column | None:
        """A column of numbers, or of true and false; None for any other."""
        try:
            flags = (name,) if flag else ()
            column = read_columns(self._path, [name], table=self._table, flags=flags)[name]
        except InputError:
            return None
        values = np.where(np.isin(column.values, MISSING), np.nan, column.values)
        return Column(values, column.unit, column.description)


def guess_bands(table: DraftTable, redshift: str, survey: str) -> Guesses:
    """Find each band's columns, its filter, and what is known of its values.

    Parameters
    ----------
    table : DraftTable
        The catalog.
    redshift : str
        Its column of redshifts, which is no band.
    survey : str
        What the file's name speaks of; "" if of none.
    """
    made = Guesses()
    named = [name for name in map(band_name, table.names) if name is not None]
    named = [name for name in named if name.column != redshift]
    for band in dict.fromkeys(name.band for name in named):
        guess = _band(made, table, [name for name in named if name.band == band], survey)
        if guess is not None:
            made.bands.append(guess)
    made.bands.sort(key=lambda band: known_pivot(band.curve))
    if not survey:
        made.said.append("filters: no name speaks of a survey; check each, 'popinfer filters' lists all")
    return made


def _band(made: Guesses, table: DraftTable, names: list[BandName], survey: str) -> BandGuess | None:
    """One band's guess; None, with a line that says why, where it can't be used."""
    band, why = names[0].band, "no column of its errors"
    values = sorted((name for name in names if name.kind == "value"), key=lambda x: (x.is_flux, x.rank))
    for value in values:
        error = _error_of(value, names)
        column = table(value.column) if error is not None else None
        if error is None or column is None:
            continue
        mag, why = _magnitudes(value, column)
        share = float(np.isfinite(mag).mean()) if mag.size else 0.0
        if not why and share < _LEAST_MEASURED:
            why = f"measured in {percent(share)} of the rows only"
        curve = filter_of(band, value.survey or survey)
        why = why or ("" if curve else "no filter is known by this name")
        if why:
            continue
        keys = {"error_kind": "ivar"} if error.is_inverse else {}
        keys |= {"system": "vega"} if value.is_vega else {}
        extinction = next((name.column for name in names if name.kind == "extinction"), "")
        _note_missing_errors(made, table(error.column))
        named = value.survey or survey
        foreign = f"; {named} has no curve of this name" if named and not has_curve(band, named) else ""
        made.said.append(f"band {band}: columns {value.column} and {error.column}, filter {curve}{foreign}")
        if curve.startswith(_IN_VEGA) and not value.is_vega and not value.is_flux:
            made.said.append(
                f"band {band}: 2MASS and its successors publish Vega magnitudes; set system: vega unless the "
                "catalog's are AB"
            )
        others = [x for x in values if x is not value]
        lines, is_extinct = _compared(band, table, (value, mag), others, extinction)
        made.said += lines
        return BandGuess(band, value.column, error.column, curve, keys, mag, extinction, is_extinct)
    if values:
        made.said.append(f"band {band}: left out, {why}")
        if why == _NO_UNIT:
            made.templates.append(_template(values[0], names, survey))
    return None


def _template(value: BandName, names: list[BandName], survey: str) -> str:
    """A band's line without the unit of its flux, which a person has to fill in."""
    error = _error_of(value, names)
    keys = {"filter": filter_of(value.band, value.survey or survey), "value": value.column}
    if error is not None:
        keys |= {"error": error.column} | ({"error_kind": "ivar"} if error.is_inverse else {})
    text = ", ".join(f"{key}: {yaml_text(said)}" for key, said in keys.items())
    return f"# {value.band}: {{{text}, unit: }}  # nmgy, uJy, nJy, Jy, maggies, ..."


def _compared(
    band: str,
    table: DraftTable,
    chosen: tuple[BandName, NDArray[np.float64]],
    others: list[BandName],
    extinction: str,
) -> tuple[list[str], bool | None]:
    """What other columns of a band say of extinction, a line each; whether the chosen one holds it."""
    value, mag = chosen
    taken, is_extinct, lines = table(extinction) if extinction else None, None, []
    for other in others:
        column = table(other.column)
        other_mag, why = (mag, "no numbers") if column is None else _magnitudes(other, column)
        if column is not None and why == _NO_UNIT:  # up to a constant, which spreads don't see
            other_mag = _magnitudes_of_flux(column.values, 0.0)
        both = np.isfinite(mag) & np.isfinite(other_mag)
        if (why and why != _NO_UNIT) or not both.any():
            continue
        difference = (other_mag - mag)[both]
        expected = np.zeros(difference.size) if taken is None else taken.values[both]
        side, apart = _side(difference, expected, knows_zero=not why), float(np.median(difference))
        pair = f"band {band}: {other.column} is {apart:+.2f} mag from {value.column} in the median"
        if why:
            pair = f"band {band}: {other.column} and {value.column} differ from galaxy to galaxy"
        if side:
            without, with_it = (value, other) if side > 0 else (other, value)
            is_extinct = side < 0
            lines.append(
                f"{pair}, as {extinction} says ({float(np.nanmedian(expected)):.2f}): it is taken out of "
                f"{without.column}, and still in {with_it.column}"
            )
        elif not why and abs(apart) > _SAME:
            lines.append(f"{pair}: another aperture, system or extinction")
    if extinction and is_extinct is None:
        lines.append(
            f"band {band}: whether {value.column} still holds {extinction} the file can't say; it isn't "
            "subtracted"
        )
    return lines, is_extinct


def _side(difference: NDArray[np.float64], extinction: NDArray[np.float64], *, knows_zero: bool) -> int:
    """Whether magnitudes are fainter than others by the extinction (1), brighter (-1), or neither (0).

    Differences that follow the extinction from galaxy to galaxy tell, or their median where the zero point of
    both is known and both are of the same light.
    """

    def spread(values: NDArray[np.float64]) -> float:
        return float(np.diff(np.nanpercentile(values, [16, 84]))[0])

    width = spread(extinction)
    left = {side: spread(difference - side * extinction) for side in (1, -1)}
    best = min(left, key=lambda side: left[side])
    if width > _SAME / 3 and left[best] < 0.3 * min(width, spread(difference)):
        return best
    apart, expected = float(np.median(difference)), float(np.nanmedian(extinction))
    same_light = knows_zero and left[best] < _SAME
    if same_light and expected > 0 and abs(abs(apart) - expected) < max(_SAME, 0.1 * expected):
        return 1 if apart > 0 else -1
    return 0


def _error_of(value: BandName, names: list[BandName]) -> BandName | None:
    """The error column that goes with a value: of the same light, or of no light that the name tells."""
    errors = [x for x in names if x.kind == "error" and x.is_flux == value.is_flux]
    same = [x for x in errors if x.variant == value.variant]
    return next(iter(same or [x for x in errors if not x.variant]), None)


def _magnitudes(value: BandName, column: Column) -> tuple[NDArray[np.float64], str]:
    """Magnitudes of a column, and why they can't be had."""
    unit, values = parse_unit(column.unit), column.values
    flux = value.is_flux if unit is None else unit.kind == "flux"
    if flux and unit is None:
        return values, _NO_UNIT
    if flux and unit is not None:
        values = _magnitudes_of_flux(values, unit.ab)
    middle = float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan
    plausible = PLAUSIBLE_MAG[0] < middle < PLAUSIBLE_MAG[1]
    return values, "" if plausible else f"its median is {middle:.3g}, no magnitude's"


def _magnitudes_of_flux(flux: NDArray[np.float64], zero: float) -> NDArray[np.float64]:
    """Magnitudes; NaN of what isn't positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, zero - 2.5 * np.log10(flux), np.nan)


def _note_missing_errors(made: Guesses, error: Column | None) -> None:
    """Negative errors that repeat stand for "not measured"."""
    if error is None:
        return
    for value in np.unique(error.values[error.values < 0])[:3]:
        if float(value) not in made.missing:
            made.missing.append(float(value))
            made.said.append(f'missing: {value:g} stands for "not measured" among the errors')


def yaml_text(text: str) -> str:
    """A text as YAML, in quotes where it isn't a plain word."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text)
    words = {"true", "false", "null", "yes", "no", "on", "off"}
    return text if plain and text.lower() not in words else "'" + text.replace("'", "''") + "'"
