"""Units of wavelength, as filter files and run files write them.

Words that are common are told by a table, everything else by astropy, which is loaded for it alone.
"""

from pathlib import Path
from typing import Any

from popinfer.errors import InputError

_UNITS = {
    "angstrom": 1.0,
    "angstroms": 1.0,
    "aa": 1.0,
    "a": 1.0,  # astropy's ampere
    "nm": 10.0,
    "nanometer": 10.0,
    "nanometers": 10.0,
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "micrometer": 1e4,
    "m": 1e10,
}


def length(name: str | Path, unit: str) -> float:
    """Angstrom in one unit of length.

    Raises
    ------
    InputError
        The unit is none of length; the message names the filter.
    """
    known = _UNITS.get(unit.strip().lower())
    if known is not None:
        return known
    from astropy import units

    # Any: astropy's types do not know what its units are made from
    make: Any = units.Unit
    try:
        return float(make(unit).to("Angstrom"))
    except (ValueError, TypeError, units.UnitConversionError):
        raise InputError(
            f"filter {name}: its wavelengths are in '{unit}', which is no length; angstrom, nm or micron "
            "would be"
        ) from None
