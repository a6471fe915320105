"""Identifiability: what the data can tell about each parameter, and which combinations they can't.

In the unconstrained vector u every prior is a standard normal, so with G the Godambe information of the
likelihood the posterior covariance is (G + 1)^-1 near the point of evaluation. A parameter is known

    alone      to 1 / sqrt(G_ii + 1), all others fixed,
    together   to sqrt[(G + 1)^-1]_ii, all others free,

both in units of its prior's standard deviation. A large ratio of the two is a degeneracy; the eigenvectors
of the covariance with the largest eigenvalues name its partners.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

_NAMED = 0.3  # components of a unit vector that are smaller go unnamed
_WEAK = 0.5  # prior standard deviations: directions known worse than this are reported


@dataclass(frozen=True)
class Knowledge:
    """What the data tell about one parameter, in units of its prior's standard deviation.

    Attributes
    ----------
    alone, together : standard deviation with the others fixed, and with the others free.
    partner, correlation : the parameter it trades with most, and the correlation coefficient.
    """

    name: str
    alone: float
    together: float
    partner: str
    correlation: float

    @property
    def degeneracy(self) -> float:
        """How many times the others' freedom widens it."""
        return self.together / self.alone


@dataclass(frozen=True)
class Direction:
    """A combination of parameters that the data hardly constrain: its width and its larger components."""

    sd: float
    components: dict[str, float]


@dataclass(frozen=True)
class Identifiability:
    """All parameters, best known first, and the weak directions, weakest first."""

    parameters: list[Knowledge]
    weak: list[Direction]

    def __str__(self) -> str:
        """A table for the terminal, and the weak directions below it."""
        width = max(len(row.name) for row in self.parameters)
        lines = [f"{'parameter':{width}}   alone  together  widened  trades with"]
        for row in self.parameters:
            lines.append(
                f"{row.name:{width}}  {row.alone:6.3f}  {row.together:8.3f}  {row.degeneracy:6.1f}x  "
                f"{row.partner} ({row.correlation:+.2f})"
            )
        for direction in self.weak:
            mix = " ".join(f"{value:+.2f} {name}" for name, value in direction.components.items())
            lines.append(f"weak direction, known to {direction.sd:.2f}: {mix}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return asdict(self)


def identifiability(names: tuple[str, ...], godambe: Float[np.ndarray, "par par"]) -> Identifiability:
    """Rank parameters and find weak directions.

    Parameters
    ----------
    names : tuple[str, ...]
        One a row.
    godambe : Float[np.ndarray, "par par"]
        Information of the likelihood in the unconstrained vector, prior not included.
    """
    precision = 0.5 * (godambe + godambe.T) + np.eye(len(names))
    cov = np.linalg.inv(precision)
    sd = np.sqrt(np.diag(cov))
    correlation = cov / np.outer(sd, sd) - np.eye(len(names))
    rows = []
    for i, name in enumerate(names):
        j = int(np.argmax(np.abs(correlation[i])))
        rows.append(
            Knowledge(name, float(precision[i, i] ** -0.5), float(sd[i]), names[j], float(correlation[i, j]))
        )
    values, vectors = np.linalg.eigh(cov)
    weak = []
    for value, vector in zip(values[::-1], vectors.T[::-1], strict=True):
        if np.sqrt(value) > _WEAK:
            named = [i for i in np.argsort(-np.abs(vector)) if abs(vector[i]) > _NAMED]
            sign = np.sign(vector[named[0]])
            weak.append(Direction(float(np.sqrt(value)), {names[i]: float(sign * vector[i]) for i in named}))
    return Identifiability(sorted(rows, key=lambda row: row.together), weak)
