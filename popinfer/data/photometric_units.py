"""Units of photometry: what one unit of a column is, from a run file's word or from what the file itself
says.

A flux unit is its AB magnitude, ab = -2.5 log10(unit / 3631 Jy) (Oke & Gunn 1983, ApJ 266, 713), so that
m = ab - 2.5 log10(F). Asinh magnitudes ("luptitudes", Lupton, Gunn & Szalay 1999, AJ 118, 1406) are

    m = -(2.5 / ln 10) [asinh((f / f0) / (2 b)) + ln b],    sigma_m = (2.5 / ln 10) (sigma_f / f0) / (2 b c),
    c = sqrt(1 + ((f / f0) / (2 b))^2),

with f0 the flux of magnitude zero and b the band's softening.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy import units
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Unit = Literal["mag", "luptitude", "maggies", "nmgy", "Jy", "mJy", "uJy", "nJy", "cgs"]
System = Literal["ab", "vega"]
MAG_PER_LN = 2.5 / np.log(10.0)

# AB magnitude of one unit of flux: a maggie by definition, the others from AB = 0 at 3631 Jy
AB_OF_UNIT: Mapping[str, float] = {
    "maggies": 0.0,
    "nmgy": 22.5,
    "Jy": 2.5 * float(np.log10(3631.0)),
    "mJy": 2.5 * float(np.log10(3631.0e3)),
    "uJy": 2.5 * float(np.log10(3631.0e6)),
    "nJy": 2.5 * float(np.log10(3631.0e9)),
    "cgs": 2.5 * float(np.log10(3631.0e-23)),
}
# b of SDSS photometry (Stoughton et al. 2002, AJ 123, 485, Table 21)
SDSS_SOFTENING: Mapping[str, float] = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}

_SDSS_FILTER = re.compile(r"sdss_([ugriz])0?", re.IGNORECASE)
_SYSTEM = r"(?P<{}>ab|vega|st)"
_MAGNITUDE = re.compile(
    rf"{_SYSTEM.format('before')}?[ _-]*(?:mag|magnitude)s?[ _-]*\(?{_SYSTEM.format('after')}?\)?"
)
_ASINH = re.compile(r"luptitudes?|lupt|asinh[ _-]*(?:mag|magnitude)s?(?:[ _-]*\(?ab\)?)?")
_PREFIX = {"": 1.0, "m": 1e-3, "milli": 1e-3, "u": 1e-6, "micro": 1e-6, "µ": 1e-6, "μ": 1e-6}
_PREFIX |= {"n": 1e-9, "nano": 1e-9, "p": 1e-12, "pico": 1e-12}
_MAGGIE = re.compile(r"(milli|m|micro|u|µ|μ|nano|n|pico|p)?[ -]?(?:maggies|maggie|maggy|mgys?)")
_JANSKY = re.compile(r"(milli|micro|nano|pico)?[ -]?(?:janskys?|janskies|jy)")
_INVERSE_SQUARE = re.compile(
    r"1\s*/\s*\(?\s*(.+?)\s*\)?\s*(?:\^|\*\*)?\s*2|\(?(.+?)\)?\s*(?:\^|\*\*)?\s*\(?-2\)?"
)
_FACTOR = re.compile(r"^(\d+\.?\d*)\s*(?:\*|x|×|\s)\s*10\s*(?:\^|\*\*)\s*\(?([+-]?\d+)\)?\s*\*?\s*")
_NO_UNIT = {"", "-", "--", "---", "none", "null", "nan", "unitless", "dimensionless", "1", "n/a", "unknown"}
_DETECTOR = re.compile(r"\b(adu|dn|counts?|cts?|electrons?|e-?|photons?|ph)\b", re.IGNORECASE)


class UnitError(ValueError):
    """A text that can't be a unit of photometry; ``known`` tells whether it is a unit at all."""

    def __init__(self, why: str, known: bool = True) -> None:
        super().__init__(why)
        self.known = known


@dataclass(frozen=True)
class Scale:
    """What one unit of a column is.

    Attributes
    ----------
    kind : "mag", "luptitude" or "flux".
    ab : AB magnitude of one unit of flux; 0 for magnitudes.
    power : 1 for a value or its standard deviation, -2 for an inverse variance, 2 for a variance.
    system : of magnitudes, where it is said.
    """

    kind: Literal["mag", "luptitude", "flux"]
    ab: float = 0.0
    power: int = 1
    system: System | None = None

    def agrees(self, other: "Scale") -> bool:
        """Whether both are the same unit; rounded values of the same constant count as equal."""
        return self.kind == other.kind and bool(abs(self.ab - other.ab) < 1e-3)

    def in_maggies(self) -> float:
        """Flux of one unit, in maggies."""
        return 10 ** (-0.4 * self.ab)


def scale_of(unit: Unit) -> Scale:
    """The scale that a run file's word names."""
    if unit == "mag" or unit == "luptitude":  # noqa: PLR1714  pyright narrows these
        return Scale(unit)
    return Scale("flux", AB_OF_UNIT[unit])


def parse_unit(text: str | None) -> Scale | None:
    """What a file's own unit says.

    Parameters
    ----------
    text : str or None
        For example "nJy", "mag(AB)", "1 / nanomaggy2", "1e-29 erg / (s cm2 Hz)".

    Returns
    -------
    Scale or None
        None where the text says nothing.

    Raises
    ------
    UnitError
        It is no unit that is known, or one of something else than calibrated magnitudes or flux densities.
    """
    plain = " ".join((text or "").strip().strip("[]").split())
    if plain.casefold() in _NO_UNIT:
        return None
    scale = _from_word(plain)
    if scale is not None:
        return scale
    unit = _astropy_unit(plain)
    if unit is not None:
        return _from_astropy(plain, unit)
    square = _INVERSE_SQUARE.fullmatch(plain)
    base = None if square is None else _from_word(square[1] or square[2])
    if base is not None and base.power == 1:
        return Scale(base.kind, base.ab, -2, base.system)
    if _DETECTOR.search(plain):
        raise UnitError("isn't calibrated: it counts what the detector saw")
    raise UnitError("isn't a unit that is known", known=False)


def _from_word(text: str) -> Scale | None:
    """Words that catalogs use and astropy doesn't know, or takes for something else."""
    word = text.casefold()
    if word == "ab":
        return Scale("mag", system="ab")
    magnitude = _MAGNITUDE.fullmatch(word)
    if magnitude:
        named = {magnitude["before"], magnitude["after"]} - {None}
        if "st" in named or len(named) > 1:
            raise UnitError("isn't AB or Vega: ST magnitudes are per wavelength, and have to be converted")
        return Scale("mag", system="ab" if "ab" in named else "vega" if "vega" in named else None)
    if _ASINH.fullmatch(word):
        return Scale("luptitude")
    for pattern, ab in ((_MAGGIE, 0.0), (_JANSKY, AB_OF_UNIT["Jy"])):
        match = pattern.fullmatch(word)
        # a capital M of Jy is mega, and only astropy reads case: the short prefixes are left to it
        if match:
            return Scale("flux", ab - 2.5 * float(np.log10(_PREFIX[match[1] or ""])))
    return None


def _astropy_unit(text: str) -> Any:
    """The unit as astropy reads it in any of its formats, or None."""
    text = re.sub(r"\bergs\b", "erg", re.sub(r"\bsec\b", "s", text))
    text = _FACTOR.sub(r"\1e\2 ", text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for format_ in ("generic", "fits", "cds"):
            try:
                return units.Unit(text, format=format_)
            except (ValueError, TypeError, ArithmeticError):
                continue
    return None


def _from_astropy(text: str, unit: Any) -> Scale | None:
    if isinstance(unit, units.LogUnit | units.LogQuantity):
        raise UnitError("is an instrumental magnitude, or a logarithm: convert it to AB magnitudes")
    if unit.is_equivalent(units.dimensionless_unscaled):
        if np.isclose(unit.to(units.dimensionless_unscaled), 1.0):
            return None
        raise UnitError("is a fraction: fluxes and their errors need a unit")
    for power in (1, -2, 2):
        base = unit ** (1 / power)
        if base.is_equivalent(units.mag) and np.isclose(base.to(units.mag), 1.0):
            return Scale("mag", power=power)
        for reference, ab in ((units.mgy, 0.0), (units.Jy, AB_OF_UNIT["Jy"])):
            if base.is_equivalent(reference):
                return Scale("flux", ab - 2.5 * float(np.log10(base.to(reference))), power)
    if unit.is_equivalent(units.Unit("erg / (s cm2 Angstrom)")):
        raise UnitError("is per wavelength: convert it to flux per frequency, F_nu = F_lambda lambda^2 / c")
    if _DETECTOR.search(text):
        raise UnitError("isn't calibrated: it counts what the detector saw")
    raise UnitError("is no magnitude and no flux density per frequency")


def softening_of(filter_name: str) -> float | None:
    """SDSS' softening b of a filter; None for a filter of another survey."""
    match = _SDSS_FILTER.fullmatch(filter_name)
    return SDSS_SOFTENING[match[1].lower()] if match else None


def from_luptitudes(mag: FloatArray, err: FloatArray, softening: float) -> tuple[FloatArray, FloatArray]:
    """Fluxes and their errors in units of f0 (maggies) from asinh magnitudes.

    Parameters
    ----------
    mag, err : asinh magnitudes and their errors, shape (row,).
    softening : b, in units of f0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.sinh(-mag / MAG_PER_LN - np.log(softening))
        return 2 * softening * x, err / MAG_PER_LN * 2 * softening * np.hypot(1.0, x)


def to_luptitudes(flux: FloatArray, err: FloatArray, softening: float) -> tuple[FloatArray, FloatArray]:
    """Asinh magnitudes and their errors from fluxes in units of f0; the inverse of `from_luptitudes`."""
    x = flux / (2 * softening)
    mag = -MAG_PER_LN * (np.arcsinh(x) + np.log(softening))
    return mag, MAG_PER_LN * err / (2 * softening * np.hypot(1.0, x))
