"""From starts to the region of parameters where the posterior has mass: all its modes, and the counts there.

1. Gauss-Newton climbs the posterior density from each start, and from points along the direction in which
   the best of the modes is widest: a ridge may hold another mode.
2. Modes become a mixture of their Laplace approximations, weighted by their mass (density times volume).
3. All halo samples are evaluated at nodes spread over the mixture, counts corrected to their mean
   (`popinfer.infer.monte_carlo`), and the likelihood's covariance taken with the noise that is left.
4. With both, back to 1 from the modes. From the second round on nodes are draws of the posterior itself,
   importance-weighted. The region is settled when no mode moves by more than a standard deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from popinfer.infer.correction import FEW, n_nodes
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import (
    Information,
    LogDensity,
    Problem,
    information,
    log_density,
    precision,
    replicate_noise,
)
from popinfer.infer.mixture import Mixture
from popinfer.infer.monte_carlo import centered, corrected
from popinfer.infer.optimise import Compiled, Fit, gauss_newton
from popinfer.infer.sample.importance import PsisSpec, weigh
from popinfer.random import numpy_generator, stream

SEARCH_REPLICATES = 7  # a search for modes follows the mean of so many and the run's own halos
MAX_ROUNDS = 6
SETTLED = 1.0  # standard deviations of a mode: the nodes are where they should be
SAME = 2.0  # likewise: nearer ends are one mode
HOPELESS = 30.0  # nats below the best: a mode that holds nothing
MIN_SHARE = 1e-3  # of the posterior's mass: modes that hold less are left out
MAX_MODES = 4
_ALONG = (-1.2, 1.2)  # prior standard deviations along a ridge
_STEPS = 15  # of Gauss-Newton
_LAST_STEP = 0.5  # nats that a last step may promise
_PROPOSALS = PsisSpec(n_proposals=400, n_rounds=4)
_NODE_SHARE = 0.6  # power of the importance weights that nodes are picked with: wider than the posterior

Say = Callable[[int, float], None]


@dataclass(frozen=True)
class GivenPrecision:
    """Log posterior density of a problem with P fixed, for Gauss-Newton."""

    problem: Problem
    precision: np.ndarray

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-density and log-counts at u."""
        log_m = np.asarray(Compiled(self.problem).log_counts(jnp.asarray(u)))
        residual = self.problem.log_observed - log_m
        return float(-0.5 * residual @ self.precision @ residual - 0.5 * u @ u), log_m

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Derivative of log-counts at u, [stat, par]."""
        return Compiled(self.problem).jacobian(u)

    def linearised(
        self, u: np.ndarray, log_counts: np.ndarray, jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient, and Fisher information plus the prior's."""
        weighted = jacobian.T @ self.precision
        return weighted @ (self.problem.log_observed - log_counts) - u, weighted @ jacobian + np.eye(u.size)


@dataclass(frozen=True)
class Mode:
    """A maximum of the posterior density: Laplace approximation and log density there."""

    approx: Laplace
    log_density: float

    @property
    def log_mass(self) -> float:
        """Of the Laplace approximation, up to the same constant as the density."""
        return self.log_density + float(np.log(np.diag(self.approx.factor)).sum())

    def distance(self, u: np.ndarray) -> float:
        """Of u from the mode, in its standard deviations."""
        away = u - self.approx.mean
        return float(np.sqrt(away @ np.linalg.solve(self.approx.cov, away)))


@dataclass(frozen=True)
class Region:
    """Where the posterior has mass.

    Attributes
    ----------
    problem : with its counts corrected there. noise : rows of the Monte Carlo covariance that is left.
    modes : those that hold mass, the densest first. mixture : of the posterior, adapted to it.
    ends : the mode that each start led to before counts were corrected; None for one that holds no mass.
    converged : whether the modes stay where they are when the counts are corrected there.
    """

    problem: Problem
    noise: np.ndarray
    modes: tuple[Mode, ...]
    mixture: Mixture
    ends: tuple[Mode | None, ...]
    converged: bool

    @property
    def density(self) -> LogDensity:
        """Log posterior density with this region's covariance and corrections."""
        return log_density(self.problem, precision(self.problem, self.noise))

    def information(self, u: np.ndarray) -> Information:
        """What the data tell at u."""
        return information(self.problem, u, Compiled(self.problem).jacobian, self.noise)


def find_region(
    key: PRNGKeyArray,
    problem: Problem,
    starts: list[np.ndarray],
    rounds: int = MAX_ROUNDS,
    progress: Say | None = None,
) -> Region:
    """Find all modes that the starts lead to and correct the counts around them.

    Parameters
    ----------
    key : of nodes and proposals.
    problem : corrected or not.
    starts : points to climb from; the first should be good.
    rounds : at most; with one the search ends with `SEARCH_REPLICATES`, uncorrected beyond them.
    progress : called with (round, how far a mode moved in its standard deviations).
    """
    here = centered(problem, starts[0], SEARCH_REPLICATES)
    noise = replicate_noise(here, starts[0], SEARCH_REPLICATES)
    modes, ends = _search(here, precision(here, noise), starts)
    mixture, moved, done = mixture_of(modes), np.inf, 0
    for done in range(1, rounds + 1):
        first, round_key = done == 1, stream(key, "nodes", done)
        if first:
            nodes = mixture.spread(round_key, n_nodes(problem.size, FEW))
        else:
            nodes, mixture = _nodes(round_key, here, noise, mixture)
        whole = corrected(problem, nodes, mixture.within(), SEARCH_REPLICATES if first else None)
        here, noise, before = whole.problem, whole.noise, modes
        modes, _ = _climbed(here, precision(here, noise), [one.approx.mean for one in before])
        moved = max(min(one.distance(old.approx.mean) for old in before) for one in modes)
        if first or len(modes) != len(before) or moved > SETTLED:
            mixture = mixture_of(modes)
        if progress is not None:
            progress(done, moved)
        if done > 1 and moved < SETTLED:
            break
    return Region(here, noise, modes, mixture, ends, bool(done > 1 and moved < SETTLED))


def mixture_of(modes: tuple[Mode, ...]) -> Mixture:
    """Laplace approximations of the modes, weighted by their mass."""
    log_mass = np.array([one.log_mass for one in modes])
    weights = np.exp(log_mass - log_mass.max())
    return Mixture(tuple(one.approx for one in modes), weights / weights.sum())


def _search(
    problem: Problem, matrix: np.ndarray, starts: list[np.ndarray]
) -> tuple[tuple[Mode, ...], tuple[Mode | None, ...]]:
    """Modes from the starts and from along the ridge of the best of them."""
    modes, ends = _climbed(problem, matrix, starts)
    best = modes[0].approx
    widest = np.linalg.eigh(best.cov).eigenvectors[:, -1]
    ridges = [best.mean + t * widest for t in _ALONG]
    found, _ = _climbed(problem, matrix, [*(one.approx.mean for one in modes), *ridges])
    return found, tuple(None if one is None else _nearest(found, one.approx.mean) for one in ends)


def _nearest(modes: tuple[Mode, ...], u: np.ndarray) -> Mode | None:
    """The mode that u belongs to."""
    nearest = min(modes, key=lambda one: one.distance(u))
    return nearest if nearest.distance(u) < SAME else None


def _climbed(
    problem: Problem, matrix: np.ndarray, starts: list[np.ndarray]
) -> tuple[tuple[Mode, ...], tuple[Mode | None, ...]]:
    """Distinct modes that hold mass, the densest first, and which of them each start leads to."""
    objective = GivenPrecision(problem, matrix)
    ends = [gauss_newton(objective, u, max_steps=_STEPS) for u in starts]
    best = max(end.log_density for end in ends)
    found: list[Mode] = []
    for end in sorted(ends, key=lambda end: -end.log_density):
        alone = all(one.distance(end.u) > SAME for one in found)
        if end.log_density > best - HOPELESS and alone and len(found) < 2 * MAX_MODES:
            found.append(_mode(objective, end))
    most = max(one.log_mass for one in found)
    modes = tuple(one for one in found if one.log_mass > most + np.log(MIN_SHARE))[:MAX_MODES]
    return modes, tuple(_nearest(modes, end.u) for end in ends)


def _mode(objective: GivenPrecision, end: Fit) -> Mode:
    """Laplace approximation where an optimisation ended, a last Newton step away."""
    _, log_counts = objective.at(end.u)
    gradient, curvature = objective.linearised(end.u, log_counts, objective.jacobian(end.u))
    cov = np.linalg.inv(curvature)
    gain = 0.5 * float(gradient @ cov @ gradient)
    if gain > _LAST_STEP:
        return Mode(Laplace(end.u, 0.5 * (cov + cov.T)), end.log_density)
    return Mode(Laplace(end.u + cov @ gradient, 0.5 * (cov + cov.T)), end.log_density + gain)


def _nodes(
    key: PRNGKeyArray, problem: Problem, noise: np.ndarray, mixture: Mixture
) -> tuple[np.ndarray, Mixture]:
    """Importance-weighted draws of the posterior, somewhat wider than it, and the mixture adapted to it."""
    density = log_density(problem, precision(problem, noise))
    found = weigh(stream(key, "proposals"), density, mixture, _PROPOSALS, lambda *_: None)
    wider = found.weights**_NODE_SHARE
    n = min(n_nodes(problem.size), np.count_nonzero(wider))
    rng = numpy_generator(stream(key, "choice"))
    picked = rng.choice(len(wider), n, replace=False, p=wider / wider.sum())
    return found.u[picked], found.proposal
