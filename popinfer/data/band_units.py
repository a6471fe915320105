"""How one band's numbers become AB magnitudes: what the run file and the file itself say together.

What a file says of its units and of the system of its magnitudes (in the column's unit, or in its
description) is believed: where the run file says another thing, both are quoted and nothing is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from popinfer.data.band_columns import BandColumns, refuse
from popinfer.data.filters import vega_to_ab
from popinfer.data.tables.request import Column, quoted
from popinfer.data.units import FLUX_UNITS, UNITS, FileUnit, flux_factor, parse_unit

# softening of SDSS' asinh magnitudes, in maggies (York et al. 2000, AJ 120, 1579; Stoughton et al. 2002, AJ
# 123, 485)
SDSS_SOFTENING = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}
IGNORE = "set file_units: ignore to pass over what the file says of its units"
_MAGNITUDES = ("mag", "ab", "vega")
_VEGA, _AB = re.compile(r"\bvega\b", re.IGNORECASE), re.compile(r"\bAB\b")


@dataclass(frozen=True)
class Reading:
    """How one band's numbers become AB magnitudes.

    Attributes
    ----------
    unit : of the values, for messages.
    ab : AB magnitude of one unit of flux; NaN for magnitudes.
    in_mag : one unit of magnitudes in mag: 0.001 for mmag.
    offset : added to magnitudes [mag]: Vega's AB magnitude.
    softening : of asinh magnitudes [maggies], else NaN.
    ivar : whether errors are inverse variances.
    error_factor : errors (after the root of an inverse variance) times this are in the unit of fluxes, or in
        mag.
    error_in_mag : whether errors are in magnitudes although the values are fluxes.
    extinction_in_mag : one unit of the extinction in mag.
    """

    unit: str
    ab: float
    in_mag: float
    offset: float
    softening: float
    ivar: bool
    error_factor: float
    error_in_mag: bool
    extinction_in_mag: float

    @property
    def is_luptitude(self) -> bool:
        """Whether values are asinh magnitudes."""
        return not bool(np.isnan(self.softening))

    @property
    def is_mag(self) -> bool:
        """Whether values are magnitudes of the common kind."""
        return bool(np.isnan(self.ab)) and not self.is_luptitude

    def notes(self, name: str, band: BandColumns) -> tuple[str, ...]:
        """What was done to magnitudes relative to Vega, and the unit of an error that is a number."""
        said = []
        if self.offset != 0:
            said.append(f"magnitudes of {name} are relative to Vega: {self.offset:+.3f} mag makes them AB")
        if not isinstance(band.error, str) and not np.isnan(self.ab) and band.error_unit is None:
            said.append(
                f"the error of {name}, {band.error:g}, is in {self.unit} as its values are; for magnitudes "
                "set error_unit: mag"
            )
        return tuple(said)

    @classmethod
    def of(cls, path: Path, name: str, band: BandColumns, columns: Mapping[str, Column]) -> "Reading":
        """What run file and file say together, of values, errors and extinction."""
        value = columns[band.value]
        said = parse_unit(value.unit)
        unit = _agreed(path, name, band, value, said)
        is_vega = _is_vega(path, name, band, value, said)
        if is_vega and unit.kind != "mag":
            refuse(path, f"band {name}: system: vega is of magnitudes; unit is {_called(band, value, unit)}")
        factor, in_mag = _error_unit(path, name, band, columns, unit)
        return cls(
            unit=_called(band, value, unit),
            ab=unit.ab,
            in_mag=unit.in_mag,
            offset=vega_to_ab(band.filter) if is_vega else 0.0,
            softening=_softening(path, name, band) if unit.kind == "luptitude" else np.nan,
            ivar=band.error_kind == "ivar",
            error_factor=factor,
            error_in_mag=in_mag,
            extinction_in_mag=_extinction_unit(path, name, band, columns),
        )


def _called(band: BandColumns, column: Column, unit: FileUnit) -> str:
    """What messages call the unit of the values."""
    if band.unit is not None:
        return band.unit
    if unit.kind != "flux":
        return "mmag" if unit.in_mag == 1e-3 else "luptitude" if unit.kind == "luptitude" else "mag"
    known = [word for word, ab in FLUX_UNITS.items() if abs(ab - unit.ab) < 1e-9]
    return known[0] if known else str(column.unit)


def _agreed(path: Path, name: str, band: BandColumns, column: Column, said: FileUnit | None) -> FileUnit:
    """Unit of the values: flux, mag or luptitude. Refused where run file and file contradict each other."""
    where = f"band {name}: column {band.value!r} is in {column.unit!r}, as the file says"
    given = parse_unit(band.unit)
    if said is None:
        return given or FileUnit("mag")
    if said.kind == "unknown":
        _refuse_unknown(path, where, "unit", band.unit)
    if said.kind == "uncalibrated":
        refuse(path, f"{where}: counts of a detector; calibrated fluxes or magnitudes are needed")
    if said.kind == "other" or said.inverse_variance:
        refuse(path, f"{where}: no flux per frequency and no magnitude; another column is needed")
    unit = FileUnit("mag", in_mag=said.in_mag) if said.kind in _MAGNITUDES else said
    if given is None:
        return unit
    asinh = given.kind == "luptitude" and said.kind == "mag" and said.in_mag == 1
    if not asinh and not _same(given, unit):
        refuse(path, f"{where}, but the run file has unit: {band.unit}; leave unit out, or mend the file")
    return given


def _same(one: FileUnit, other: FileUnit) -> bool:
    """Whether two units are of one kind and size."""
    if one.kind == "flux" or other.kind == "flux":
        return one.kind == other.kind and abs(one.ab - other.ab) < 1e-3
    return one.kind == other.kind and bool(np.isclose(one.in_mag, other.in_mag))


def _refuse_unknown(path: Path, where: str, key: str, given: str | None) -> NoReturn:
    """Refuse a word for a unit that nobody knows, also where the run file names another."""
    if given is None:
        instead = f"set {key} to one of {', '.join(UNITS)}, and file_units: ignore"
    else:
        instead = f"the run file has {key}: {given}; if that is right, {IGNORE}"
    refuse(path, f"{where}, which is no unit that is known; {instead}")


def _is_vega(path: Path, name: str, band: BandColumns, column: Column, said: FileUnit | None) -> bool:
    """Whether magnitudes are relative to Vega; refused where the file's own words contradict the run file."""
    unit_says = said.kind if said is not None and said.kind in ("ab", "vega") else None
    described = _system_described(column.description)
    called = quoted(column.description, 120)
    where = f"band {name}: column {band.value!r} is described as {called} in the file"
    if None not in (unit_says, described) and unit_says != described:
        refuse(path, f"{where}, and its unit there is {column.unit!r}; mend the file, or {IGNORE}")
    if unit_says == "ab" and band.system == "vega":
        refuse(
            path,
            f"band {name}: column {band.value!r} is in {column.unit!r}, as the file says, but the run file "
            "has system: vega; leave system out, or mend the file",
        )
    if described == "vega" and unit_says is None and band.system == "ab":
        refuse(path, f"{where}; set system: vega, or, where that is wrong, {IGNORE}")
    if described == "ab" and band.system == "vega":
        refuse(path, f"{where}, but the run file has system: vega; leave system out, or {IGNORE}")
    return unit_says == "vega" or band.system == "vega"


def _system_described(description: str | None) -> str | None:
    """The one system that a description names; None where it names none, or both."""
    vega, ab = (bool(word.search(description or "")) for word in (_VEGA, _AB))
    return None if vega == ab else "vega" if vega else "ab"


def _softening(path: Path, name: str, band: BandColumns) -> float:
    """Of the run file, or SDSS' for its filters."""
    if band.softening is not None:
        return band.softening
    word = str(band.filter).lower()
    if word.startswith("sdss") and len(word) > 5 and word[5] in SDSS_SOFTENING:
        return SDSS_SOFTENING[word[5]]
    refuse(
        path,
        f"band {name}: unit: luptitude needs softening, in maggies; only SDSS' own filters have a default",
    )


def _error_unit(
    path: Path, name: str, band: BandColumns, columns: Mapping[str, Column], values: FileUnit
) -> tuple[float, bool]:
    """Factor from the errors' unit to the values', or to mag; whether errors are magnitudes of fluxes."""
    said = _error_unit_said(path, name, band, columns)
    used = said or parse_unit(band.error_unit)
    if used is None:
        return (1.0 if values.kind == "flux" else values.in_mag), False
    if values.kind != "flux":
        if used.kind == "flux":
            unit = _called(band, columns[band.value], values)
            refuse(
                path,
                f"band {name}: values are in {unit}, errors in a unit of flux; both have to be of one kind",
            )
        return used.in_mag, False
    if used.kind == "flux":
        return flux_factor(used.ab, values.ab), False
    if band.error_kind == "ivar":
        refuse(path, f"band {name}: values are fluxes, error_kind: ivar needs errors in a unit of flux")
    return used.in_mag, True


def _error_unit_said(
    path: Path, name: str, band: BandColumns, columns: Mapping[str, Column]
) -> FileUnit | None:
    """What the file says of the errors' unit; refused where it isn't what the run file says."""
    if not isinstance(band.error, str):
        return None
    text = columns[band.error].unit
    said, given = parse_unit(text), parse_unit(band.error_unit)
    if said is None:
        return None
    where = f"band {name}: column {band.error!r} is in {text!r}, as the file says"
    if said.kind == "unknown":
        _refuse_unknown(path, where, "error_unit", band.error_unit)
    if said.kind in ("uncalibrated", "other"):
        refuse(path, f"{where}: no error of a flux or a magnitude")
    if said.inverse_variance and band.error_kind == "sigma":
        refuse(path, f"{where}: an inverse variance; set error_kind: ivar")
    if not said.inverse_variance and band.error_kind == "ivar":
        refuse(path, f"{where}: no inverse variance; leave error_kind: ivar out")
    is_flux = said.kind == "flux"
    if given is not None and not _same(given, said if is_flux else FileUnit(given.kind, in_mag=said.in_mag)):
        refuse(path, f"{where}, but the run file has error_unit: {band.error_unit}; leave one of them out")
    return said


def _extinction_unit(path: Path, name: str, band: BandColumns, columns: Mapping[str, Column]) -> float:
    """One unit of the extinction in mag; refused where the file says that it is something else."""
    if not band.extinction:
        return 1.0
    text = columns[band.extinction].unit
    said = parse_unit(text)
    if said is None:
        return 1.0
    if said.kind not in _MAGNITUDES or said.inverse_variance:
        what = "which is no unit that is known" if said.kind == "unknown" else "which is no extinction"
        refuse(
            path,
            f"band {name}: column {band.extinction!r} is in {text!r}, as the file says, {what}; extinction "
            f"has to name magnitudes to subtract; if it does, {IGNORE}",
        )
    return said.in_mag
