"""Where one band's photometry is in a table and how it is to be read, as the run file describes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from popinfer.data.filters import FilterName
from popinfer.data.units import UNITS
from popinfer.errors import InputError

ErrorKind = Literal["sigma", "ivar"]
System = Literal["ab", "vega"]

_MAX_ZERO_POINT = 2.0  # mag; what is farther from AB is in another unit or system
_MAX_FLOOR = 1.0  # mag


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
    unit : "mag", "mmag" (thousandths), "luptitude" (asinh magnitude), "maggy", "nmgy" (nanomaggies), "Jy",
        "mJy", "uJy", "nJy" or "cgs" (erg/s/cm2/Hz). None takes the file's own, and magnitudes where the file
        says nothing.
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


def check_columns(path: str | Path, name: str, band: BandColumns) -> None:
    """Refuse a description of a band's columns that can't be right.

    Raises
    ------
    InputError
        Names the band, the key, and what would be right.
    """
    for key, unit in (("unit", band.unit), ("error_unit", band.error_unit)):
        if unit is not None and unit not in UNITS:
            refuse(path, f"band {name}: {key} {unit!r} is unknown; one of {', '.join(UNITS)}")
    if band.error_kind not in ("sigma", "ivar"):
        refuse(path, f"band {name}: error_kind {band.error_kind!r} has to be sigma or ivar")
    if band.system not in ("ab", "vega"):
        refuse(path, f"band {name}: system {band.system!r} has to be ab or vega")
    if not 0 <= band.error_floor <= _MAX_FLOOR:
        refuse(path, f"band {name}: error_floor {band.error_floor:g} has to lie within 0..{_MAX_FLOOR:g} mag")
    if not abs(band.zero_point) <= _MAX_ZERO_POINT:
        refuse(
            path,
            f"band {name}: zero_point {band.zero_point:g} has to lie within +-{_MAX_ZERO_POINT:g} mag; "
            "where values are so far from AB magnitudes, set unit, or system: vega",
        )
    if band.softening is not None and not 0 < band.softening < 1e-3:
        refuse(path, f"band {name}: softening {band.softening:g} has to be between 0 and 1e-3 maggies")
    if isinstance(band.error, float | int):
        if not 0 < band.error < np.inf:
            refuse(path, f"band {name}: error {band.error:g} has to be a number above 0, or a column")
        if band.error_kind == "ivar":
            refuse(path, f"band {name}: error {band.error:g} is a number for all rows: give it as a sigma")
    if band.error == band.value:
        refuse(path, f"band {name}: column {band.value!r} is named as value and as error")
    if band.extinction is not None and band.extinction in (band.value, band.error):
        refuse(path, f"band {name}: column {band.extinction!r} is named as extinction too")


def refuse(path: str | Path, why: str) -> NoReturn:
    """Raise the InputError that names the file."""
    raise InputError(f"{path}: {why}")
