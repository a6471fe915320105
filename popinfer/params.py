"""Free parameters: named physical quantities <-> one unconstrained vector.

A prior on a physical parameter x is the push-forward of a standard normal u: x = T(u). The unconstrained
vector u therefore has the standard normal as its prior whatever the priors are, which is also a good
preconditioner; Jacobians are exact because the prior is evaluated in u, and the density of x is
N(u; 0, 1) |du/dx|.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from popinfer.errors import InputError

# probability that values of a truncated prior keep from its ends
_TINY = 1e-15

PriorKind = Literal["normal", "truncnormal", "uniform", "lognormal"]


@dataclass(frozen=True)
class Prior:
    """Prior of one physical parameter.

    Attributes
    ----------
    kind : ``normal`` (loc, scale), ``truncnormal`` (normal restricted to [low, high]), ``uniform``
        (low, high), or ``lognormal`` (median ``loc``, scatter ``scale`` in ln).
    loc, scale, low, high : in the parameter's physical unit.

    Examples
    --------
    >>> prior = Prior("uniform", low=0.0, high=4.0)
    >>> float(prior.to_physical(jnp.zeros(()))), float(prior.to_unconstrained(2.0))
    (2.0, 0.0)
    """

    kind: PriorKind
    loc: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuse priors that are no distributions."""
        if self.kind != "uniform" and not self.scale > 0:
            raise InputError(f"prior {self.kind}: scale is {self.scale}, must be > 0")
        if self.kind in ("uniform", "truncnormal") and not self.low < self.high:
            raise InputError(f"prior {self.kind}: low {self.low} must be below high {self.high}")
        if self.kind == "uniform" and not math.isfinite(self.high - self.low):
            raise InputError("prior uniform: low and high must be finite")
        if self.kind == "lognormal" and not self.loc > 0:
            raise InputError(f"prior lognormal: median loc is {self.loc}, must be > 0")

    def to_physical(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """Map a standard normal number to the physical parameter."""
        if self.kind == "normal":
            return self.loc + self.scale * u
        if self.kind == "lognormal":
            return self.loc * jnp.exp(self.scale * u)
        p = norm.cdf(u)
        if self.kind == "uniform":
            return self.low + (self.high - self.low) * p
        p_low, p_high = self._cdf_bounds()
        x = norm.ppf(p_low + (p_high - p_low) * jnp.clip(p, _TINY, 1 - _TINY))
        return self.loc + self.scale * x

    def to_unconstrained(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Map physical values to u.

        Raises
        ------
        InputError
            The prior excludes a value.
        """
        x = np.asarray(x, float)
        if self.kind == "normal":
            return np.asarray((x - self.loc) / self.scale)
        if self.kind == "lognormal":
            if not np.all(x > 0):
                raise InputError(f"value {x[~(x > 0)].flat[0]} is outside its lognormal prior (x > 0)")
            return np.asarray(np.log(x / self.loc) / self.scale)
        inside = (self.low < x) & (x < self.high)
        if not np.all(inside):
            raise InputError(
                f"value {x[~inside].flat[0]} is outside its prior's range ({self.low}, {self.high})"
            )
        if self.kind == "uniform":
            p = (x - self.low) / (self.high - self.low)
        else:
            p_low, p_high = self._cdf_bounds()
            p = (ndtr((x - self.loc) / self.scale) - p_low) / (p_high - p_low)
        return np.asarray(ndtri(np.clip(p, _TINY, 1 - _TINY)))

    def _cdf_bounds(self) -> tuple[float, float]:
        def cdf(edge: float) -> float:
            return 0.5 * (1 + math.erf((edge - self.loc) / (self.scale * math.sqrt(2))))

        return cdf(self.low), cdf(self.high)

    def __str__(self) -> str:
        """Short human form, as in reports."""
        if self.kind == "uniform":
            return f"uniform({self.low:g}, {self.high:g})"
        text = f"{self.kind}({self.loc:g}, {self.scale:g})"
        return text if self.kind != "truncnormal" else f"{text} in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Declaration:
    """What one parameter of a component is; stands in the annotation of a field of its ``Params``.

    Attributes
    ----------
    unit : of its values, "" when it has none.
    meaning : a few words for reports.
    low, high : ends of its domain, which are part of it.
    why : what is wrong with values outside, as the end of a sentence.
    prior : what stands for it when it is freed without a prior of the user's own; None where nothing does.
    label : how its name is written; that of the field when empty.
    source : where default and prior come from, for the docs.
    """

    unit: str
    meaning: str
    low: float
    high: float
    why: str = ""
    prior: Prior | None = None
    label: str = ""
    source: str = ""

    @property
    def domain(self) -> str:
        """The domain as text, ``0 to 1``, with its unit."""
        return f"{self.low:g} to {self.high:g}{f' {self.unit}' if self.unit else ''}"

    def contains(self, value: float) -> bool:
        """Whether a value is finite and inside the domain."""
        return math.isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class FreeParam:
    """One free parameter.

    Attributes
    ----------
    name : dotted name, such as ``dust.lg_av``.
    prior : its prior, in physical units.
    unit : unit of its values; empty where it has none.
    meaning : one line in plain words, for the report.
    """

    name: str
    prior: Prior
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class ParamSpace:
    """The free parameters.

    Attributes
    ----------
    free : each parameter with its prior, in the order of the vector's axis.
    """

    free: tuple[FreeParam, ...]

    def __post_init__(self) -> None:
        """Refuse an empty or ambiguous list."""
        if not self.free:
            raise InputError("no free parameter: list at least one under 'free'")
        if len(set(self.names)) < len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise InputError(f"free parameter given twice: {', '.join(twice)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted names."""
        return tuple(p.name for p in self.free)

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.free)

    def to_physical(self, u: Float[Array, "par"]) -> dict[str, Float[Array, ""]]:
        """Physical values by dotted name."""
        return {p.name: p.prior.to_physical(u[i]) for i, p in enumerate(self.free)}

    def to_unconstrained(self, values: dict[str, float]) -> np.ndarray:
        """Vector for physical values; names that are absent sit at their prior's centre (u = 0)."""
        unknown = set(values) - set(self.names)
        if unknown:
            raise InputError(f"not a free parameter: {', '.join(sorted(unknown))}")
        return np.array(
            [float(p.prior.to_unconstrained(values[p.name])) if p.name in values else 0.0 for p in self.free]
        )

    def log_prior(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density of the prior in the unconstrained vector (standard normal)."""
        return -0.5 * jnp.sum(u**2) - 0.5 * u.size * jnp.log(2 * jnp.pi)
