"""What was learnt, in words: each parameter with its unit and against its prior, and derived relations.

A reader who knows the field but not the names in run files should understand every line.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from popinfer.report.numbers import fixed_decimals, measured, of_parameter
from popinfer.report.parameters import WEAK_SHRINKAGE, ParameterRow
from popinfer.report.relations import RelationRow

_AS_EXPECTED = 0.5  # prior standard deviations: nearer to the prior's mean nothing is said
_NUISANCES = ("template.", "zero_point.")  # errors of tools, which come after what is said of galaxies
_HELD = 3e-3  # dex, or a fraction: nobody knows a relation that well
_RELATIONS = {
    "smhm": "stellar mass at fixed halo mass",
    "quenched_fraction": "quenched fraction",
    "lg_ssfr": "specific star formation rate",
    "csfrd": "cosmic star formation rate density",
}
_POINTS = {"smhm": 12.0, "quenched_fraction": 10.5, "lg_ssfr": 10.0, "csfrd": 0.0}  # where a sentence is told


@dataclass(frozen=True)
class LearnedParameter:
    """A parameter in words.

    Attributes
    ----------
    name : in the run file. words : what it is.
    value : median and 68 % interval, with the unit.
    against : how the posterior compares with the prior.
    """

    name: str
    words: str
    value: str
    against: str


@dataclass(frozen=True)
class Learned:
    """What the report opens with.

    Attributes
    ----------
    parameters : those that the data taught something about, the best known first, nuisances last.
    weak : names of those they said little about.
    relations : a sentence each.
    held : relations that no free parameter moves.
    """

    parameters: tuple[LearnedParameter, ...]
    weak: tuple[str, ...]
    relations: tuple[str, ...]
    held: tuple[str, ...]


def learned_of(rows: Sequence[ParameterRow], relations: Sequence[RelationRow]) -> Learned:
    """Put a posterior into words.

    Parameters
    ----------
    rows : Sequence[ParameterRow]
        Of the parameters.
    relations : Sequence[RelationRow]
        Of the derived relations, at the points of the report's table.
    """
    weak = tuple(row.name for row in rows if row.shrinkage < WEAK_SHRINKAGE)
    taught = [row for row in rows if row.name not in weak]
    taught.sort(key=lambda row: (row.name.startswith(_NUISANCES), -np.nan_to_num(row.shrinkage)))
    told = [row for row in relations if row.x == _POINTS[row.name] and np.isfinite(row.median)]
    held = [row for row in told if row.high - row.low < _HELD]
    return Learned(
        tuple(LearnedParameter(row.name, _words(row), measured(row), _against(row)) for row in taught),
        weak,
        tuple(_sentence(row) for row in told if row not in held),
        tuple(_RELATIONS[row.name] for row in held),
    )


def _words(row: ParameterRow) -> str:
    """A declared meaning as a line of its own; the name where there is none."""
    return row.meaning[:1].upper() + row.meaning[1:] if row.meaning else row.name


def _against(row: ParameterRow) -> str:
    """The posterior in units of the prior, and the truth where it is known."""
    truth = f"the truth is {of_parameter(row.truth, row)}" if np.isfinite(row.truth) else ""
    return "; ".join(filter(None, (_against_prior(row), truth)))


def _against_prior(row: ParameterRow) -> str:
    if not np.isfinite(row.shrinkage):
        return ""
    narrower = 1 / max(1 - row.shrinkage, 1e-3)
    times = f"{narrower:.2g} times narrower than the prior" if narrower < 1000 else "without width"
    if abs(row.prior_shift) < _AS_EXPECTED:
        return f"{times}, near its mean"
    side = "above" if row.prior_shift > 0 else "below"
    return f"{times}, {abs(row.prior_shift):.1f} prior sd {side} its mean"


def _sentence(row: RelationRow) -> str:
    """One relation at one point, with what is published there."""
    at = f" (z = {row.z:.2g})" if np.isfinite(row.z) else ""
    x = f"{row.x:g}"
    told = {
        "smhm": f"Central galaxies of halos of 10^{x} Msun{at} have a median stellar mass of {{}} Msun",
        "quenched_fraction": f"Of galaxies of 10^{x} Msun{at}, {{}} are quenched",
        "lg_ssfr": f"{row.of} of 10^{x} Msun{at} form stars at a specific rate of {{}} per year",
        "csfrd": f"The cosmic star formation rate density at z = {x} is {{}} Msun/yr/Mpc^3",
    }
    low, median, high = (_value(row.name, value) for value in (row.low, row.median, row.high))
    published = "; ".join(f"{label}: {_value(row.name, value)}" for label, value in row.published)
    beside = f". Published: {published}." if published else "."
    return f"{told[row.name].format(median)} (68 %: {low} … {high}){beside}"


def _value(name: str, value: float) -> str:
    """A relation's value: fractions in percent, logarithms as powers of ten."""
    return f"{100 * value:.0f} %" if name == "quenched_fraction" else f"10^{fixed_decimals(value)}"
