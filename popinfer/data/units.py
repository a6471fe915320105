"""Units of photometry: what a file calls them, and the AB magnitude of one of each.

A flux F in a unit whose AB magnitude is a has the magnitude a - 2.5 log10 F. A nanomaggie has 22.5 by
definition; the others follow from AB = 0 at 3631 Jy (Oke & Gunn 1983, ApJ 266, 713). Files write units in
many ways: the words of surveys ("nanomaggies", "nmgy", "ABmag") are told by a table, everything else by
astropy.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

LIGHT = 2.99792458e18  # Angstrom/s

# the run file's own words; "mag" is AB or, with system: vega, Vega; "luptitude" an asinh magnitude of AB
FLUX_UNITS: dict[str, float] = {
    "maggy": 0.0,
    "nmgy": 22.5,
    "Jy": 2.5 * float(np.log10(3631.0)),
    "mJy": 2.5 * float(np.log10(3631.0e3)),
    "uJy": 2.5 * float(np.log10(3631.0e6)),
    "nJy": 2.5 * float(np.log10(3631.0e9)),
    "cgs": 2.5 * float(np.log10(3631.0e-23)),
}
UNITS = ("mag", "luptitude", *FLUX_UNITS)

_MAGNITUDES = ("mag", "mags", "magnitude", "magnitudes", "[mag]", "(mag)", "mag(1)")
_AB = ("ab", "abmag", "abmags", "mag(ab)", "abmagnitude", "abmagnitudes", "magab", "mag(abflux)")
_VEGA = ("vega", "vegamag", "vegamags", "mag(vega)", "magvega", "vegamagnitude", "vegamagnitudes")
_ASINH = ("luptitude", "luptitudes", "asinhmag", "mag(asinh)", "asinh")
_ST = ("stmag", "mag(st)", "magst", "stmagnitude")
_MAGGIES = ("maggy", "maggies", "mgy")
_NANOMAGGIES = ("nmgy", "nanomaggy", "nanomaggie", "nanomaggies", "nmaggy", "nmgys", "nanomgy")
_UNCALIBRATED = ("electron", "count", "ct", "adu", "dn", "photon", "ph", "e-")
_INVERSE = re.compile(
    r"^(?:1\s*/\s*\(?\s*(?P<over>.+?)\s*\)?|\(?(?P<base>.+?)\)?)\s*(?:\*\*|\^)?\s*(?P<power>\(?-?2\)?)\)?$"
)


@dataclass(frozen=True)
class FileUnit:
    """What a column's unit means.

    Attributes
    ----------
    kind : "flux", "mag" (of a system that isn't said), "ab", "vega", "luptitude", "uncalibrated" (counts of
        a detector), "other" (a unit of something else), or "unknown" (a word that can't be understood).
    ab : AB magnitude of one unit of flux; NaN for other kinds.
    inverse_variance : whether the column is in units of one over the square of it.
    """

    kind: Literal["flux", "mag", "ab", "vega", "luptitude", "uncalibrated", "other", "unknown"]
    ab: float = float("nan")
    inverse_variance: bool = False


_WORDS = {
    word: unit
    for words, unit in (
        (_MAGNITUDES, FileUnit("mag")),
        (_AB, FileUnit("ab")),
        (_VEGA, FileUnit("vega")),
        (_ASINH, FileUnit("luptitude")),
        (_ST, FileUnit("other")),
        (_MAGGIES, FileUnit("flux", FLUX_UNITS["maggy"])),
        (_NANOMAGGIES, FileUnit("flux", FLUX_UNITS["nmgy"])),
    )
    for word in words
}


def parse_unit(text: str | None) -> FileUnit | None:
    """What a file's unit means; None where the file says nothing.

    Parameters
    ----------
    text : the unit as the file states it, for example "nJy", "mag(AB)", "1 / nanomaggy^2".
    """
    if (
        text is None
        or not text.strip()
        or text.strip().lower() in ("1", "none", "-", "dimensionless", "unitless")
    ):
        return None
    return _known(text) or _inverse(text) or _from_astropy(text) or FileUnit("unknown")


def _inverse(text: str) -> FileUnit | None:
    """One over the square of a unit of flux, or of a magnitude."""
    match = _INVERSE.match(text.strip())
    if match is None or (match["over"] is None and "-" not in match["power"]):
        return None
    inner = _known(match["over"] or match["base"]) or _from_astropy(match["over"] or match["base"])
    if inner is None or inner.kind not in ("flux", "mag", "ab", "vega") or inner.inverse_variance:
        return None
    return FileUnit(inner.kind, inner.ab, inverse_variance=True)


def _known(text: str) -> FileUnit | None:
    """Words that surveys use."""
    letters = re.sub(r"[\s_]", "", text)
    word = letters.lower()
    if word in _WORDS:
        return _WORDS[word]
    if letters.startswith("MJy"):
        return None  # a million Jy, which is astropy's
    # micro in the spellings that astropy doesn't know
    micro = word.replace("µ", "u").replace("μ", "u").replace("micro", "u")
    for name in ("uJy", "nJy", "mJy", "Jy"):
        short = name.lower()
        if micro in (short, f"{short}s", short.replace("jy", "jansky"), short.replace("jy", "janskys")):
            return FileUnit("flux", FLUX_UNITS[name])
    if re.split(r"[/\s(*]", text.strip().lower())[0].rstrip("s") in tuple(
        w.rstrip("s") for w in _UNCALIBRATED
    ):
        return FileUnit("uncalibrated")
    return None


def _from_astropy(text: str) -> FileUnit | None:
    """What astropy understands of it."""
    import warnings

    from astropy import units

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)
            unit: Any = units.Unit(text)  # astropy's types name structured units too, which have no power
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        return None
    if isinstance(unit, units.UnrecognizedUnit) or unit == units.dimensionless_unscaled:
        return None
    if isinstance(unit, units.function.FunctionUnitBase):  # a logarithm of something
        is_ab = isinstance(unit, units.MagUnit) and unit.physical_unit == units.AB
        return FileUnit("ab" if is_ab else "other")
    if unit in (units.mag, units.mag**-2):
        return FileUnit("mag", inverse_variance=unit != units.mag)
    for power, inverse in ((1, False), (-2, True)):
        try:
            scale: Any = (unit ** (1 / power)).to(units.Jy)
            factor = float(scale)
        except (units.UnitConversionError, units.UnitTypeError, ValueError, TypeError):
            continue
        if factor > 0:
            return FileUnit("flux", FLUX_UNITS["Jy"] - 2.5 * float(np.log10(factor)), inverse)
    return FileUnit("other")


def flux_factor(ab: float, other_ab: float) -> float:
    """What a flux of one unit, of AB magnitude `ab`, is in another unit, of AB magnitude `other_ab`."""
    return float(10 ** (-0.4 * (ab - other_ab)))
