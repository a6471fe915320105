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
MAG_PER_LN = 2.5 / np.log(10.0)  # magnitudes per natural logarithm of flux

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
UNITS = ("mag", "mmag", "luptitude", *FLUX_UNITS)

# words are compared without blanks, brackets, hyphens and underscores
_NO_UNIT = ("", "1", "none", "null", "nan", "n/a", "na", "dimensionless", "unitless", "unit", "?")
_MAGNITUDES = ("mag", "mags", "magnitude", "magnitudes", "mag1")
_MILLIMAGNITUDES = ("mmag", "mmags", "millimag", "millimags", "millimagnitude", "millimagnitudes")
_ASINH = ("luptitude", "luptitudes", "asinhmag", "asinhmags", "magasinh", "asinh", "asinhmagnitude")
_SYSTEM = re.compile(r"(?P<before>ab|vega|st)?(?:mag(?:nitude)?s?)?(?P<after>ab|vega|st|abflux)?")
# a scale like 1e-9 or 10^-9, a prefix, and maggies or Jansky in any spelling
_FLUX = re.compile(
    r"(?:(?:(?P<number>[0-9.]+)(?:e(?P<exponent>[+-]?\d{1,2}))?|10(?:\^|\*\*)\(?(?P<power>[+-]?\d{1,2})\)?)[*.x]?)?"
    r"(?P<prefix>nano|micro|milli|pico|kilo|mega|[npumkM])?-?"
    r"(?:(?P<maggy>maggy|maggie|maggies|maggys|mgy|mgys|mgies)|jy|jys|jansky|janskys|janskies)"
)
_PREFIXES = {
    "": 0, "k": 3, "kilo": 3, "M": 6, "mega": 6, "m": -3, "milli": -3, "u": -6, "micro": -6, "n": -9,
    "nano": -9, "p": -12, "pico": -12,
}  # fmt: skip
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
    in_mag : one unit of magnitudes in mag: 0.001 for mmag.
    inverse_variance : whether the column is in units of one over the square of it.
    """

    kind: Literal["flux", "mag", "ab", "vega", "luptitude", "uncalibrated", "other", "unknown"]
    ab: float = float("nan")
    inverse_variance: bool = False
    in_mag: float = 1.0


_WORDS = {
    word: unit
    for words, unit in (
        (_MAGNITUDES, FileUnit("mag")),
        (_MILLIMAGNITUDES, FileUnit("mag", in_mag=1e-3)),
        (_ASINH, FileUnit("luptitude")),
        (("cgs",), FileUnit("flux", FLUX_UNITS["cgs"])),
    )
    for word in words
}


def parse_unit(text: str | None) -> FileUnit | None:
    """What a file's unit means; None where the file says nothing.

    Parameters
    ----------
    text : str or None
        The unit as the file states it, for example "nJy", "mag(AB)", "1 / nanomaggy^2".
    """
    if text is None or re.sub(r"[\s_-]", "", text).lower() in _NO_UNIT:
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
    return FileUnit(inner.kind, inner.ab, inverse_variance=True, in_mag=inner.in_mag)


def _letters(text: str) -> str:
    """A unit without what only sets its parts apart."""
    return re.sub(r"[\s_\[\]()-]", "", text)


def _known(text: str) -> FileUnit | None:
    """Words that surveys use."""
    word = _letters(text).lower()
    if word in _WORDS:
        return _WORDS[word]
    match = _SYSTEM.fullmatch(word)
    if match is not None and (match["before"] is None) != (match["after"] is None):
        system = (match["before"] or match["after"]).removesuffix("flux")
        return FileUnit("other") if system == "st" else FileUnit("vega" if system == "vega" else "ab")
    if re.split(r"[/\s(*]", text.strip().lower())[0].rstrip("s") in tuple(
        w.rstrip("s") for w in _UNCALIBRATED
    ):
        return FileUnit("uncalibrated")
    return _scaled_flux(text)


def _scaled_flux(text: str) -> FileUnit | None:
    """Maggies and Jansky with a scale and a prefix, in spellings that astropy doesn't know."""
    compact = re.sub(r"[\s_\[\]]", "", text).replace("\u00b5", "u").replace("\u03bc", "u")
    mega = re.match(r"[\d.e^*()x+-]*MJy", compact) is not None  # the only prefix that its case tells
    match = _FLUX.fullmatch(compact.lower())
    if match is None:
        return None
    prefix = "M" if mega else match["prefix"] or ""
    exponent = _PREFIXES[prefix] + int(match["exponent"] or match["power"] or 0)
    try:
        number = float(match["number"] or 1.0)
    except ValueError:  # several points
        return None
    if not 0 < number < np.inf:
        return None
    one = FLUX_UNITS["maggy" if match["maggy"] else "Jy"]
    return FileUnit("flux", one - 2.5 * (exponent + float(np.log10(number))))


def _from_astropy(text: str) -> FileUnit | None:
    """What astropy understands of it."""
    import warnings

    from astropy import units

    text = re.sub(r"\bsec\b", "s", re.sub(r"\bergs\b", "erg", text))
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
    for power, inverse in ((1, False), (-2, True)):
        in_mag = _of_magnitude(unit ** (1 / power))
        if in_mag is not None:
            return FileUnit("mag", inverse_variance=inverse, in_mag=in_mag)
    for power, inverse in ((1, False), (-2, True)):
        try:
            scale: Any = (unit ** (1 / power)).to(units.Jy)
            factor = float(scale)
        except (units.UnitConversionError, units.UnitTypeError, ValueError, TypeError):
            continue
        if factor > 0:
            return FileUnit("flux", FLUX_UNITS["Jy"] - 2.5 * float(np.log10(factor)), inverse)
    return FileUnit("other")


def _of_magnitude(unit: Any) -> float | None:
    """What one unit is in mag; None where it is none, as dex: to astropy the two differ by a factor only."""
    bases = [base.to_string() for base in unit.bases]
    if list(unit.powers) != [1] or bases[0] not in ("mag", "mmag"):
        return None
    return float(unit.scale) * (1e-3 if bases[0] == "mmag" else 1.0)


def flux_factor(ab: float, other_ab: float) -> float:
    """What a flux of one unit, of AB magnitude `ab`, is in another unit, of AB magnitude `other_ab`."""
    return float(10 ** (-0.4 * (ab - other_ab)))
