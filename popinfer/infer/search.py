"""From starts to the posterior's maxima: all that hold mass, as a mixture of their Laplace approximations.

1. Levenberg-Marquardt climbs the posterior density from each start, and from points along the direction in
   which the best maximum is widest: a ridge may hold another one.
2. The covariance of the likelihood is taken anew at the best maximum, and the maxima are climbed again, until
   none moves by more than a standard deviation (`scale_of` says of what).

On more halos than the search had, `follow_maxima` climbs on from what it found, and leaves out what holds
nothing there.

Each maximum's share of the mixture is its mass, density times volume.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from popinfer.errors import InputError
from popinfer.infer.counts import (
    BatchedCounts,
    evaluate,
    jacobians_of_batches,
    log_counts,
    log_counts_and_jacobian,
)
from popinfer.infer.data import Data
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.likelihood import Likelihood, fisher_between_batches
from popinfer.infer.optimise import Fit, levenberg_marquardt

MAX_ROUNDS = 4
# in standard deviations, times `scale_of` the number of parameters
SETTLED = 1.0  # of a maximum between rounds
SAME = 2.0  # nearer ends are one maximum
ENTERED = 1.0  # a climb that comes as near to a known maximum, and no higher, goes there
HOPELESS = 30.0  # nats below the best: a maximum that holds nothing
MIN_SHARE = 1e-3  # of the posterior's mass: maxima that hold less are left out
# of the same on few halos, whose noise moves maxima against each other by several nat: the least that the
# highest of two may seem to lack there (of two maxima that hold 0.46 and 0.54, one held 0.06 of the search's)
MIN_SHARE_ON_FEW = 1e-5
MAX_MAXIMA = 4
_ALONG = (-1.2, 1.2)  # prior standard deviations along a ridge
_STEPS = 60  # of Levenberg-Marquardt; stiff curved valleys take forty
_LAST_STEP = 0.5  # nats that a last step may promise
# so many steps that together gain less [nat] than a standard deviation is worth end a climb: on few halos the
# density is rough, and a climb goes on finding hundredths of a nat (27 parameters: 0.3 nat in 40 steps)
_CRAWL, _CRAWLED = 8, 0.5

Say = Callable[[int, float], None]


@dataclass(frozen=True)
class GivenCovariance:
    """Log posterior density with the likelihood's covariance fixed, for Levenberg-Marquardt."""

    counts: BatchedCounts
    likelihood: Likelihood

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-density and log-counts at u."""
        log_m = log_counts(self.counts, u)
        return self.likelihood.log_posterior(log_m, u), log_m

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Derivative of log-counts at u, [stat, par]."""
        return log_counts_and_jacobian(self.counts, u)[1]

    def gradient_and_curvature(
        self, u: np.ndarray, log_counts: np.ndarray, jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient, and Fisher information plus the prior's."""
        info = self.likelihood.information(log_counts, jacobian)
        return info.gradient - u, info.fisher + np.eye(u.size)

    def covariance(self, u: np.ndarray) -> np.ndarray:
        """Laplace covariance of the posterior at u, without what halo noise adds to the information."""
        fisher = fisher_between_batches(self.likelihood, jacobians_of_batches(self.counts, u))
        cov = np.linalg.inv(fisher + np.eye(u.size))
        return 0.5 * (cov + cov.T)


@dataclass(frozen=True)
class Maximum:
    """A maximum of the posterior density.

    Attributes
    ----------
    approx : Laplace approximation there.
    log_density : log of the posterior density there, natural and unnormalised.
    """

    approx: Laplace
    log_density: float

    @property
    def log_mass(self) -> float:
        """Of the Laplace approximation, up to the same constant as the density."""
        return self.log_density + float(np.log(np.diag(self.approx.factor)).sum())

    def distance(self, u: Float[np.ndarray, "par"]) -> float:
        """Of u from the maximum, in its standard deviations."""
        away = u - self.approx.mean
        return float(np.sqrt(away @ np.linalg.solve(self.approx.cov, away)))


def mixture_of(maxima: tuple[Maximum, ...]) -> Mixture:
    """Laplace approximations of maxima, weighted by their mass."""
    log_mass = np.array([maximum.log_mass for maximum in maxima])
    weights = np.exp(log_mass - log_mass.max())
    return Mixture(tuple(maximum.approx for maximum in maxima), weights / weights.sum())


@dataclass(frozen=True)
class Search:
    """Where the posterior has mass, as far as some halo batches tell.

    Attributes
    ----------
    likelihood : with its covariance taken at the best maximum.
    maxima : those that hold mass, the densest first.
    ends : the maximum that each start led to; None for a start that didn't arrive at one that holds mass.
    settled : whether the maxima stay where they are when the covariance is taken there.
    """

    likelihood: Likelihood
    maxima: tuple[Maximum, ...]
    ends: tuple[Maximum | None, ...]
    settled: bool

    @property
    def mixture(self) -> Mixture:
        """Laplace approximations of the maxima, weighted by their mass."""
        return mixture_of(self.maxima)


def scale_of(n_par: int) -> float:
    """Unit of distances between maxima, in standard deviations.

    Most of a Gaussian lies sqrt(n) from its center: two maxima that are twice this unit, sqrt(n), apart lie
    within each other's bulk. Up to four parameters the unit is one.
    """
    return max(1.0, np.sqrt(n_par) / 2)


def likelihood_at(counts: BatchedCounts, data: Data, u: Float[np.ndarray, "par"]) -> Likelihood:
    """The likelihood with its covariance taken at one point.

    Parameters
    ----------
    counts : BatchedCounts
        The model, on halo batches whose scatter tells the halo sample's noise.
    data : Data
        Observed counts of the kernels, and their noise.
    u : Float[np.ndarray, "par"]
        Unconstrained vector of the free parameters at which the model's counts and their noise are taken.

    Returns
    -------
    Likelihood
        Covariance of counting, of the allowed model error and of the halo sample, in the modes that hold it.
    """
    exact = evaluate(counts, u[None])
    return Likelihood.of(data.expecting(exact.values[0]), exact.halo_cov, exact.n_batch)


def find_maxima(
    counts: BatchedCounts, data: Data, starts: list[Float[np.ndarray, "par"]], progress: Say | None = None
) -> Search:
    """Find all maxima that the starts lead to.

    Parameters
    ----------
    counts : BatchedCounts
        The model, on as many halo batches as a search needs.
    data : Data
        Observed counts of the kernels, and their noise.
    starts : list[Float[np.ndarray, "par"]]
        Points to climb from; the covariance is first taken at the first where the model gives a number.
    progress : Say or None
        Called with (round, how far a maximum moved in its standard deviations).

    Returns
    -------
    Search
        The maxima, their widths and masses, and where each start ended.

    Raises
    ------
    InputError
        The model gives no number at any of the starts.
    """
    likelihood = likelihood_at(counts, data, _first_defined(counts, starts))
    maxima, reached = _climb_from(GivenCovariance(counts, likelihood), starts, MIN_SHARE_ON_FEW)
    best = maxima[0].approx
    widest = np.linalg.eigh(best.cov).eigenvectors[:, -1]
    ridge = [best.mean + t * widest for t in _ALONG]
    found = Search(likelihood, maxima, reached, False)
    return _settled(counts, data, found, ridge, MIN_SHARE_ON_FEW, progress)


def follow_maxima(counts: BatchedCounts, data: Data, mixture: Mixture, progress: Say | None = None) -> Search:
    """Find where maxima that few halos told are on more of them.

    Parameters
    ----------
    counts : BatchedCounts
        The model on all halo batches.
    data : Data
        Observed counts.
    mixture : Mixture
        The maxima's Laplace approximations.
    progress : Say or None
        As in `find_maxima`.
    """
    starts = [mixture.components[i].mean for i in np.argsort(-mixture.weights, kind="stable")]
    likelihood = likelihood_at(counts, data, _first_defined(counts, starts))
    maxima, reached = _climb_from(GivenCovariance(counts, likelihood), starts, MIN_SHARE)
    return _settled(counts, data, Search(likelihood, maxima, reached, False), [], MIN_SHARE, progress)


def climb_under(
    counts: BatchedCounts, likelihood: Likelihood, starts: list[np.ndarray]
) -> tuple[Maximum, ...]:
    """Maxima of the posterior with a covariance that doesn't change any more, the densest first.

    Parameters
    ----------
    counts : BatchedCounts
        The model on all halo batches.
    likelihood : Likelihood
        With the covariance that draws are made with.
    starts : list[np.ndarray]
        Maxima with other covariances, and points that may lead to further ones.
    """
    return _climb_from(GivenCovariance(counts, likelihood), starts, MIN_SHARE)[0]


def _settled(
    counts: BatchedCounts,
    data: Data,
    search: Search,
    more: list[np.ndarray],
    min_share: float,
    progress: Say | None,
) -> Search:
    """Climb again, with the covariance taken at the best maximum and from more starts, until maxima stay."""
    likelihood, maxima, ends, moved = search.likelihood, search.maxima, search.ends, np.inf
    enough = SETTLED * scale_of(maxima[0].approx.mean.size)
    for done in range(1, MAX_ROUNDS + 1):
        before = maxima
        likelihood = likelihood_at(counts, data, before[0].approx.mean)
        again = [*(maximum.approx.mean for maximum in before), *more]
        maxima, _ = _climb_from(GivenCovariance(counts, likelihood), again, min_share)
        ends = tuple(None if end is None else _nearest(maxima, end.approx.mean) for end in ends)
        moved, more = max(min(old.distance(new.approx.mean) for old in before) for new in maxima), []
        if progress is not None:
            progress(done, moved)
        if moved < enough:
            break
    return Search(likelihood, maxima, ends, bool(moved < enough))


def _first_defined(counts: BatchedCounts, starts: list[np.ndarray]) -> np.ndarray:
    """The first start at which the model gives a number."""
    for u in starts:
        if np.all(np.isfinite(log_counts(counts, u))):
            return u
    raise InputError(
        f"at none of the search's {len(starts)} starting points does the model make galaxies that every "
        "slice can be compared with: it is far from the data. Check units, magnitude system and filters "
        "of the catalog, and the priors in free"
    )


def _nearest(maxima: tuple[Maximum, ...], u: np.ndarray) -> Maximum | None:
    """The maximum that u belongs to."""
    nearest = min(maxima, key=lambda maximum: maximum.distance(u))
    return nearest if nearest.distance(u) < SAME * scale_of(u.size) else None


def _climb_from(
    objective: GivenCovariance, starts: list[np.ndarray], min_share: float
) -> tuple[tuple[Maximum, ...], tuple[Maximum | None, ...]]:
    """Distinct maxima that hold mass, the densest first, and which of them each start leads to."""
    ends: list[Fit] = []
    climbed: list[Maximum] = []
    for u in starts:
        end = levenberg_marquardt(objective, u, max_steps=_STEPS, enough=_enough(climbed))
        ends.append(end)
        if np.isfinite(end.log_density) and not _is_near_maximum(climbed, end.u, end.log_density):
            climbed.append(_maximum(objective, end))
    climbed.sort(key=lambda maximum: maximum.log_density, reverse=True)
    distinct: list[Maximum] = []
    same = SAME * scale_of(starts[0].size)
    for maximum in climbed:
        alone = all(other.distance(maximum.approx.mean) > same for other in distinct)
        if (
            maximum.log_density > climbed[0].log_density - HOPELESS
            and alone
            and len(distinct) < 2 * MAX_MAXIMA
        ):
            distinct.append(maximum)
    most = max(maximum.log_mass for maximum in distinct)
    heavy = [maximum for maximum in distinct if maximum.log_mass > most + np.log(min_share)]
    least = sorted((maximum.log_mass for maximum in heavy), reverse=True)[:MAX_MAXIMA][-1]
    maxima = tuple(maximum for maximum in heavy if maximum.log_mass >= least)
    return maxima, tuple(_nearest(maxima, end.u) for end in ends)


def _enough(maxima: list[Maximum]) -> Callable[[np.ndarray, float], bool]:
    """Whether the rest of one climb is of no interest: it goes to a known maximum, or hardly rises."""
    values: list[float] = []

    def enough(u: np.ndarray, log_density: float) -> bool:
        values.append(log_density)
        crawls = len(values) > _CRAWL and log_density - values[-1 - _CRAWL] < _CRAWLED
        return crawls or _is_near_maximum(maxima, u, log_density)

    return enough


def _is_near_maximum(maxima: list[Maximum], u: np.ndarray, log_density: float) -> bool:
    """Whether a climb has come so near to a maximum that it can but end there."""
    near = ENTERED * scale_of(u.size)
    return any(maximum.distance(u) < near and log_density <= maximum.log_density for maximum in maxima)


def _maximum(objective: GivenCovariance, end: Fit) -> Maximum:
    """Laplace approximation where a climb ended, a last Newton step away.

    The step is that of the density on these halos; the width is that of the posterior on any.
    """
    linear = end.linear or (objective.at(end.u)[1], objective.jacobian(end.u))
    gradient, curvature = objective.gradient_and_curvature(end.u, *linear)
    step = np.linalg.solve(curvature, gradient)
    gain = 0.5 * float(gradient @ step)
    u, log_density = (end.u, end.log_density) if gain > _LAST_STEP else (end.u + step, end.log_density + gain)
    return Maximum(Laplace(u, objective.covariance(end.u)), log_density)
