"""Units of masses and lengths in halo files, and what turns them into Msun and comoving Mpc.

A unit is written as ``Msun``, ``Msun/h``, ``1e10 Msun/h``, ``Mpc``, ``Mpc/h``, ``kpc/h``, with "log10" before
it where a column holds logarithms, and with "physical" or "pMpc" where lengths aren't comoving. OpenCosmo
writes the Hubble parameter as ``littleh``.
"""

import re
from dataclasses import dataclass

from popinfer.errors import InputError

_LENGTHS = {"mpc": 1.0, "kpc": 1e-3, "gpc": 1e3, "pc": 1e-6, "m": 1 / 3.0856775814913673e22}
_MASSES = {"msun": 1.0, "solmass": 1.0, "m_sun": 1.0, "msol": 1.0, "g": 1 / 1.98841e33, "kg": 1 / 1.98841e30}
_FORM = re.compile(
    r"(?P<log>(log10|lg|dex)[ (]*)?"
    r"(?P<factor>\d+\.?\d*(e[+-]?\d+)?[ *]*|10\^\d+[ *]*)?"
    r"(?P<physical>physical |p)?(?P<comoving>comoving |c)?(?P<name>[a-z_]+)\)?"
    r"(?P<h> ?(/|per) ?\(?(littleh|hubble|h)\)?|[ *](littleh|h)(\^|\*\*)?\(?-1(\.0)?\)?)?\)?"
)


@dataclass(frozen=True)
class Unit:
    """A unit, in terms of Msun or Mpc.

    Attributes
    ----------
    factor : of the unit with h = 1.
    per_h : whether values are to be divided by h.
    log10 : whether values are logarithms.
    physical : whether lengths are physical ones, to be multiplied by 1 + z.
    """

    factor: float
    per_h: bool = False
    log10: bool = False
    physical: bool = False

    def scale(self, h: float) -> float:
        """What values, or their antilogarithms, are multiplied by."""
        return self.factor / h if self.per_h else self.factor


def mass_unit(text: str, what: str) -> Unit:
    """Unit of a mass.

    Parameters
    ----------
    text : str
        As a person or a file writes it.
    what : str
        Opens the message.

    Raises
    ------
    InputError
        It is no unit of mass that is known.
    """
    return _parsed(text, _MASSES, f"{what}: '{text}' is no unit of mass; write Msun, Msun/h or 1e10 Msun/h")


def length_unit(text: str, what: str) -> Unit:
    """Unit of a length; see `mass_unit`."""
    return _parsed(text, _LENGTHS, f"{what}: '{text}' is no unit of length; write Mpc, Mpc/h or kpc/h")


def _parsed(text: str, names: dict[str, float], refusal: str) -> Unit:
    match = _FORM.fullmatch(text.strip().lower())
    if match is None:
        raise InputError(refusal)
    name, comoving, physical = match["name"], match["comoving"], match["physical"]
    if name not in names and f"{(physical or '').strip()}{(comoving or '').strip()}{name}" in names:
        name, physical = f"{(physical or '').strip()}{(comoving or '').strip()}{name}", None
    if name not in names:
        raise InputError(refusal)
    number = (match["factor"] or "1").strip(" *").replace("10^", "1e")
    return Unit(names[name] * float(number), bool(match["h"]), bool(match["log"]), bool(physical))
