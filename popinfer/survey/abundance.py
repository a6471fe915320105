"""Statistics of absolute abundance beside the soft counts: galaxies in each slice, stellar mass functions.

Soft counts compare shapes. With the survey's solid angle the number of galaxies of a slice is a datum too,

    N = f_sky c V sum_j w_j,     Var N = N + sigma_cv^2 N^2,

with w_j the weights of the galaxies that the survey lists (mean number per volume), V the slice's volume over
the full sky and c the share of such galaxies that the catalog holds; given their number, the galaxies' soft
counts are independent of it. A table of the stellar mass function is compared with

    phi_i = sum_j w_j [Phi((M_i+1 - M_j) / s) - Phi((M_i - M_j) / s)] / (M_i+1 - M_i),

all galaxies of the slice at the table's redshift, whether the survey lists them or not, their log10 masses
smeared by the errors s of the published masses (Eddington bias). In the same way, w_ij, galaxies are put into
bins in which star formation rates are published: the mean log10 sSFR of those that form stars,

    sum_j w_ij f_j log10 sSFR_j / sum_j w_ij f_j,   f_j = Phi((log10 sSFR_j + 11) / 0.1).

Where the solid angle isn't known, a luminosity function says how many galaxies per volume the survey should
list; and the cosmic star formation rate density is compared at several redshifts, from halos drawn there.

Inference takes numbers y with covariance C as effective counts d = s y, s_i = o y_i / C_ii: the variance of
d_i is then o times d_i, as for soft counts that count each galaxy o times, and both have their due say in the
composite likelihood that guides the search (`popinfer.infer.likelihood`).
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from popinfer.population.relations import LG_SSFR_QUENCHED
from popinfer.records import Arr, Galaxies, Halos

LG_SSFR_UNIT = -14.0  # log10 of 1/yr: no galaxy that counts as star-forming has less, and means are positive
_EDGE = 0.1  # dex in sSFR between forming stars and not: counts have to be smooth in the parameters


class Population(NamedTuple):
    """What abundances are predicted from.

    Attributes
    ----------
    galaxies : of every slice.
    listed : sum of the weights that the survey lists, per slice [1/Mpc^3].
    z : redshifts of their halos.
    sfr_density : mean SFR of the galaxies of halos [shell, halo] per volume [Msun/yr/Mpc^3].
    """

    galaxies: Galaxies
    listed: Float[Array, "slice"]
    z: Float[Array, "slice halo"]
    sfr_density: Callable[[Halos], Float[Array, "shell"]]


class Abundance(eqx.Module):
    """Numbers that a model must reproduce in absolute terms.

    They are means over halos, or ratios of two such means, their terms. Of a sample in batches the terms are
    averaged, then divided: a ratio of few halos' numbers is wrong in the mean.

    Attributes
    ----------
    observed, cov : numbers and their covariance.
    slices : the redshift slice that each is predicted from.
    names : what a reader calls them.
    """

    observed: eqx.AbstractVar[Float[np.ndarray, "stat"]]
    cov: eqx.AbstractVar[Float[np.ndarray, "stat stat"]]
    slices: eqx.AbstractVar[tuple[int, ...]]
    names: eqx.AbstractVar[tuple[str, ...]]
    n_term: ClassVar[int] = 1

    @property
    @abstractmethod
    def relative_cov(self) -> Float[np.ndarray, "stat stat"]:
        """The part of the covariance that grows as the numbers' squares, over these."""

    @abstractmethod
    def __call__(self, population: Population) -> Float[Array, "term stat"]:
        """Predicted numbers, in one row; their numerators and denominators, where they are ratios."""

    @staticmethod
    def numbers(terms: Float[Array | np.ndarray, "term stat"]) -> Float[Array | np.ndarray, "stat"]:
        """Numbers from their terms, averaged over halos."""
        return terms[0] if len(terms) == 1 else terms[0] / terms[1]

    def observed_as(self, observed: Float[np.ndarray, "stat"]) -> "Abundance":
        """The same with other observed numbers, of the same relative errors."""
        ratio = observed / self.observed
        return dataclasses.replace(self, observed=observed, cov=self.cov * np.outer(ratio, ratio))


class PublishedAbundance(Abundance):
    """Numbers of a paper, whose errors are fractions of the model's numbers."""

    @property
    def relative_cov(self) -> Float[np.ndarray, "stat stat"]:
        """All of the published covariance: how it would change with the densities isn't known."""
        return self.cov / np.outer(self.observed, self.observed)


class NumberCounts(Abundance):
    """Galaxies of each slice that the survey lists.

    Attributes
    ----------
    volume : of the slices' lightcones inside the survey, times the share of galaxies in the catalog [Mpc^3].
    """

    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    volume: Float[np.ndarray, "stat"]

    @classmethod
    def build(
        cls,
        number: Float[np.ndarray, "slice"],
        volume: Float[np.ndarray, "slice"],
        cosmic_variance: Float[np.ndarray, "slice"],
        names: tuple[str, ...],
    ) -> "NumberCounts":
        """Observed numbers with Poisson noise and relative cosmic variance."""
        cov = np.diag(number + cosmic_variance * number**2)
        slices = tuple(range(len(number)))
        return cls(np.asarray(number, float), cov, slices, names, np.asarray(volume))

    @property
    def relative_cosmic_variance(self) -> Float[np.ndarray, "stat"]:
        """Variance of the numbers' field-to-field scatter over their squares."""
        return (np.diag(self.cov) - self.observed) / self.observed**2

    @property
    def relative_cov(self) -> Float[np.ndarray, "stat stat"]:
        """Cosmic variance."""
        return np.diag(self.relative_cosmic_variance)

    def __call__(self, population: Population) -> Float[Array, "1 stat"]:
        """Expected number of each slice."""
        return (jnp.asarray(self.volume) * population.listed)[None]


class ListedDensity(PublishedAbundance):
    """Density of the galaxies of each slice that the survey lists, as a luminosity function has it [1/Mpc^3].

    For catalogs whose solid angle isn't known; see `popinfer.data.published.listed_density`.
    """

    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, population: Population) -> Float[Array, "1 stat"]:
        """Expected density of each slice."""
        return population.listed[None]


class SfrDensity(PublishedAbundance):
    """Cosmic star formation rate density at several redshifts [Msun/yr/Mpc^3].

    Attributes
    ----------
    shells : halos at these redshifts, weights in 1/Mpc^3, the same for all halo batches.
    """

    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    shells: Halos

    def __call__(self, population: Population) -> Float[Array, "1 stat"]:
        """Density at each redshift."""
        return population.sfr_density(self.shells)[None]


class MassBins(PublishedAbundance):
    """Numbers in bins of stellar mass, of all galaxies of one slice.

    Attributes
    ----------
    low, high : limits of the bins [log10 Msun].
    scatter : error of the published masses [dex]; positive.
    z_range : galaxies between these redshifts count.
    """

    low: eqx.AbstractVar[Float[Arr, "stat"]]
    high: eqx.AbstractVar[Float[Arr, "stat"]]
    scatter: eqx.AbstractVar[float]
    z_range: eqx.AbstractVar[tuple[float, float]]

    def in_bins(self, population: Population) -> Float[Array, "point stat"]:
        """Number of galaxies per volume that each point of the slice puts into each bin [1/Mpc^3]."""
        galaxies, index = population.galaxies, self.slices[0]
        z = population.z[index]
        inside = (z >= self.z_range[0]) & (z <= self.z_range[1])
        weight = galaxies.weight_all[index].reshape(2, -1) * inside
        lgm = galaxies.lg_mstar[index][:, None]
        edges = [jnp.asarray(x, lgm.dtype) for x in (self.low, self.high)]
        below, above = (norm.cdf((edge - lgm) / self.scatter) for edge in edges)
        return weight.reshape(-1, 1) * (above - below)


class MassFunction(MassBins):
    """Number density of galaxies per dex of stellar mass in one slice [1/Mpc^3/dex]; see `MassBins`.

    Attributes
    ----------
    rescale : the lightcone's volume over the volume between the redshifts that count.
    """

    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    low: Float[Arr, "stat"]
    high: Float[Arr, "stat"]
    scatter: float
    z_range: tuple[float, float]
    rescale: float = 1.0

    def __call__(self, population: Population) -> Float[Array, "1 stat"]:
        """Density in every bin."""
        density = jnp.sum(self.in_bins(population), axis=0) * self.rescale
        return (density / jnp.asarray(self.high - self.low, density.dtype))[None]


class MainSequence(MassBins):
    """Mean log10 specific star formation rate of star-forming galaxies in units of 10^-14/yr; see `MassBins`.

    Rates are those of now, with the fluctuations of star formation, as lines of ionised gas tell them; which
    galaxies form stars is told by their smooth histories.
    """

    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    low: Float[Arr, "stat"]
    high: Float[Arr, "stat"]
    scatter: float
    z_range: tuple[float, float]
    n_term: ClassVar[int] = 2

    def __call__(self, population: Population) -> Float[Array, "2 stat"]:
        """Sum of all galaxies' rates in every bin, and their number."""
        galaxies, index = population.galaxies, self.slices[0]
        forms_stars = norm.cdf((galaxies.lg_ssfr[index] - LG_SSFR_QUENCHED) / _EDGE)
        forming = self.in_bins(population) * forms_stars[:, None]
        # no star formation at all, minus infinity, counts as none: a product with its weight would be NaN
        rate = jnp.maximum(galaxies.lg_ssfr_now[index] - LG_SSFR_UNIT, 0.0)
        return jnp.stack([rate @ forming, jnp.sum(forming, axis=0)])


@dataclass(frozen=True)
class EffectiveCounts:
    """Abundances in the form of counts; see the module's equations.

    Attributes
    ----------
    scale : counts per unit of the numbers.
    observed, cov, relative_cov : of the counts.
    slices : of each.
    """

    scale: Float[np.ndarray, "stat"]
    observed: Float[np.ndarray, "stat"]
    cov: Float[np.ndarray, "stat stat"]
    relative_cov: Float[np.ndarray, "stat stat"]
    slices: tuple[int, ...]

    @classmethod
    def of(cls, abundance: Abundance, overcounting: Float[np.ndarray, "slice"]) -> "EffectiveCounts":
        """Scale numbers to counts.

        Parameters
        ----------
        abundance : Abundance
            Positive numbers with their covariance.
        overcounting : Float[np.ndarray, "slice"]
            How often the soft counts of each slice count a galaxy, `overcounting_of`.
        """
        times_counted = overcounting[list(abundance.slices)]
        scale = times_counted * abundance.observed / np.diag(abundance.cov)
        cov = np.outer(scale, scale) * abundance.cov
        return cls(scale, scale * abundance.observed, cov, abundance.relative_cov, abundance.slices)


def overcounting_of(observed: Float[np.ndarray, "stat"], cov: Float[np.ndarray, "stat stat"]) -> float:
    """How often overlapping soft counts count a galaxy.

    With l the eigenvalues of D^-1/2 Cov D^-1/2, D = diag(counts), all one if the counts were independent:
    sum l^2 / sum l, the mean over the modes in which the counts vary.
    """
    values = np.linalg.eigvalsh(cov / np.sqrt(np.outer(observed, observed)))
    return float(np.sum(values**2) / np.sum(values))
