"""From the guide's optimum to the posterior around its mode.

Where the search stands, the counts' values and slopes are moved to those of several halo samples together
(`popinfer.infer.monte_carlo`), so that it doesn't follow the noise of one, and the likelihood's covariance is
taken there. With both fixed, Gauss-Newton finds a better place, and so on until it stays where it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from popinfer.infer.laplace import Laplace, laplace, polish
from popinfer.infer.likelihood import Information, LogDensity, Problem, information, log_density
from popinfer.infer.monte_carlo import centered, corrected
from popinfer.infer.optimise import Compiled, density_and_grad, gauss_newton

SEARCH_REPLICATES = 7  # a search for modes follows the mean of so many and the run's own halos
MAX_ROUNDS = 8
SETTLED = 0.5  # posterior standard deviations: the next correction wouldn't change
LONGEST = 5.0  # likewise: corrections hold near the place where they are made; beyond, go half the way
_STEPS = 8  # of Gauss-Newton in a round

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

    def linearised(self, u: np.ndarray, log_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient, and Fisher information plus the prior's."""
        j = np.asarray(Compiled(self.problem).jacobian(jnp.asarray(u)))
        weighted = j.T @ self.precision
        return weighted @ (self.problem.log_observed - log_counts) - u, weighted @ j + np.eye(u.size)


@dataclass(frozen=True)
class Mode:
    """A maximum of the posterior and what is known there.

    Attributes
    ----------
    problem : with its counts corrected. u : where. info : there.
    converged : whether the mode stays where it is when covariance and counts are taken there.
    """

    problem: Problem
    u: np.ndarray
    info: Information
    converged: bool

    @property
    def log_density(self) -> float:
        """Of the posterior, up to a constant."""
        return self.info.log_likelihood - 0.5 * float(self.u @ self.u)

    @property
    def density(self) -> LogDensity:
        """Log posterior density with covariance and corrections of this mode."""
        return log_density(self.problem, self.info.precision)

    def laplace(self) -> Laplace:
        """Laplace approximation around the density's maximum."""
        return polish(density_and_grad(self.density), laplace(self.info, self.u))


def find_mode(
    problem: Problem, u: np.ndarray, seed: int, most: int | None = None, progress: Say | None = None
) -> Mode:
    """Climb to a maximum of the posterior.

    Parameters
    ----------
    problem : corrected or not.
    u : start.
    seed : of the draws that measure the counts' curvature.
    most : replicates to use, at most.
    progress : called with (round, how far it moved in posterior standard deviations).
    """
    here = centered(problem, u, most)
    info, length = information(here, u, Compiled(here).jacobian), np.inf
    for step in range(1, MAX_ROUNDS + 1):
        whole = corrected(problem, u, laplace(info, u).factor, seed, most)
        problem, compiled = whole.problem, Compiled(whole.problem)
        info = information(problem, u, compiled.jacobian, whole.deviations)
        found = gauss_newton(GivenPrecision(problem, info.precision), u, max_steps=_STEPS)
        move = found.u - u
        length = float(np.sqrt(move @ (info.fisher + np.eye(u.size)) @ move))
        u = u + move * (1.0 if length < LONGEST else 0.5)
        info = information(problem, u, compiled.jacobian, whole.deviations)
        if progress is not None:
            progress(step, length)
        if length < SETTLED:
            break
    return Mode(problem, u, info, length < SETTLED)
