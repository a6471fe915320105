"""From soft counts to a posterior: a Gaussian likelihood of the counts' own modes, and a guide to its peak.

Compared are logarithms, y with log m(u), because errors of the model and of a halo sample are fractions of a
count, and because a residual in the logarithm grows however far the model is from the data. With d the
observed counts, D their covariance, and m_c the model's counts where the posterior is,

    y = log d + diag(V) / 2                         (without the bias of a noisy count's logarithm),
    V = R_kl + (D_kl / (d_k d_l) - R_kl) sqrt(d_k d_l / (m_ck m_cl)),     (counting)
    C = V + C_error + C_mc(u_c)                     (the model's allowed error, the halo sample).

V is in proportion to 1 / m, not to 1 / d: a count that happens to be high would otherwise weigh more than one
that happens to be low, and draw the model up. Not so R, errors in proportion to a number (cosmic variance,
published tables; none in soft counts). V is taken from the observed galaxies in all else, and m_c / d is kept
within two standard deviations, so that a bad model can't remove the counts that refute it.

Overlapping kernels make neighbouring counts almost equal, and C almost singular. The statistics are therefore
the leading eigenvectors of the counting noise's correlation matrix, as many as hold 99 % of its trace in each
redshift slice, of residuals in units of their standard deviation; numbers that aren't soft counts
(abundances) are all kept. That matrix, and with it the correlations in C_error, is the survey's that laid
the kernels out: part of the design, not of the data, for surveys simulated in its place. With E the matrix
that takes residuals to these modes,

    log L(u) = -1/2 (y - log m)^T P (y - log m),    P = E (E^T C E)^-1 E^T,    F = J^T P J,

with J = d log m / du and F the Fisher information. C is fixed while u varies, taken where the posterior is.

The guide is the Poisson log-likelihood of the soft counts, sum_k d_k log m_k - m_k. It is a composite
likelihood, which counts a galaxy as often as kernels overlap, so its width means nothing, but it is smooth.
Multiplied by `fair_share` it has its due weight against the prior.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from popinfer.infer.correction import Correction

TRACE_KEPT = 0.99
EXPECTED_REACH = 2.0  # standard deviations that m_c may be away from d
RIDGE = 0.05  # of the prior's unit information; affects only directions known worse than the prior

LogCounts = Callable[[Array], Array]


@dataclass(frozen=True)
class Problem:
    """What inference needs to know: functions of the unconstrained vector u.

    Attributes
    ----------
    names : one a component of u; the prior of u is standard normal.
    raw_log_counts : u -> log m_0, log-counts of the run's halos (all slices), float64; its arrays are
        arguments of compiled programs when it is an equinox Module.
    observed : d. A count that isn't used is one in model and data, without variance.
    data_cov : D, covariance of d.
    layout_cov : D of the survey that laid the kernels out, whose correlations define modes; data_cov when
        absent.
    relative_cov : R of the module's equations.
    expected : m_c, counts that V is taken at; d when absent.
    slice_of : redshift slice of each count; soft counts of different slices are independent.
    replicates : the same as raw_log_counts for independent halo samples of the same size.
    n_soft : how many of the counts are soft counts; those after them are abundances.
    model_cov : C_error, covariance of the errors allowed to the model's log-counts.
    correction : takes Monte Carlo noise out of the log-counts; none to begin with.
    n_averaged : halo samples whose mean the corrected counts follow.
    """

    names: tuple[str, ...]
    raw_log_counts: LogCounts
    observed: Float[np.ndarray, "stat"]
    data_cov: Float[np.ndarray, "stat stat"]
    slice_of: Int[np.ndarray, "stat"]
    replicates: tuple[LogCounts, ...]
    n_soft: int
    model_cov: Float[np.ndarray, "stat stat"] | float = 0.0
    relative_cov: Float[np.ndarray, "stat stat"] | float = 0.0
    correction: Correction | None = None
    n_averaged: int = 1
    expected: Float[np.ndarray, "stat"] | None = None
    layout_cov: Float[np.ndarray, "stat stat"] | None = None

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    @property
    def used(self) -> Bool[np.ndarray, "stat"]:
        """Counts that say something."""
        return np.diag(self.data_cov) > 0

    @property
    def counting_cov(self) -> Float[np.ndarray, "stat stat"]:
        """V of the module's equations."""
        scale = np.sqrt(self.observed / (self.observed if self.expected is None else self.expected))
        falling = self.data_cov / np.outer(self.observed, self.observed) - self.relative_cov
        return self.relative_cov + falling * np.outer(scale, scale)

    @property
    def log_observed(self) -> Float[np.ndarray, "stat"]:
        """y of the module's equations."""
        return np.log(self.observed) + 0.5 * np.diag(self.counting_cov)

    @property
    def log_cov(self) -> Float[np.ndarray, "stat stat"]:
        """Covariance of y and of the model's errors, without Monte Carlo noise."""
        return self.counting_cov + self.model_cov

    def expecting(self, log_counts: Float[np.ndarray, "stat"]) -> "Problem":
        """The same problem with V taken at a model's counts, as far as the data allow."""
        plain = dataclasses.replace(self, expected=None)
        reach = EXPECTED_REACH * np.sqrt(np.diag(plain.log_cov))
        away = np.clip(log_counts - np.log(self.observed), -reach, reach)
        return dataclasses.replace(self, expected=self.observed * np.exp(away))

    def log_counts(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of the model's counts m, corrected for Monte Carlo noise."""
        raw = self.raw_log_counts(u)
        return raw if self.correction is None else self.correction(raw, u)

    def log_replicates(
        self, u: Float[Array | np.ndarray, "par"], most: int | None = None
    ) -> Float[np.ndarray, "replicate stat"]:
        """Logarithms of the counts of the replicate halo samples, or of the first few."""
        return np.stack([np.asarray(one(jnp.asarray(u))) for one in self.replicates[:most]])


def eigenmodes(problem: Problem) -> Float[np.ndarray, "stat mode"]:
    """E of the module's equations: each slice's modes of soft counts, then abundances one by one."""
    soft = np.arange(len(problem.observed)) < problem.n_soft
    layout_cov = problem.data_cov if problem.layout_cov is None else problem.layout_cov
    columns = [np.eye(len(soft))[:, ~soft & problem.used]]
    for index in np.unique(problem.slice_of[soft]):
        own = np.flatnonzero(problem.used & soft & (problem.slice_of == index))
        cov = layout_cov[np.ix_(own, own)]
        sd = np.sqrt(np.diag(cov))
        values, vectors = np.linalg.eigh(cov / np.outer(sd, sd))
        values, vectors = values[::-1], vectors[:, ::-1]
        n_kept = int(np.searchsorted(np.cumsum(values), TRACE_KEPT * values.sum())) + 1
        modes = np.zeros((len(soft), min(n_kept, len(own))))
        modes[own] = vectors[:, :n_kept] / np.sqrt(np.diag(problem.log_cov)[own])[:, None]
        columns.append(modes)
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class Information:
    """What the modes tell about u at one point; see the module's equations.

    Attributes
    ----------
    jacobian : J. residual : y - log m. modes : E.
    cov : E^T (V + C_error) E. cov_mc : E^T C_mc E.
    """

    jacobian: Float[np.ndarray, "stat par"]
    residual: Float[np.ndarray, "stat"]
    modes: Float[np.ndarray, "stat mode"]
    cov: Float[np.ndarray, "mode mode"]
    cov_mc: Float[np.ndarray, "mode mode"]

    @property
    def precision(self) -> Float[np.ndarray, "stat stat"]:
        """P."""
        return self.modes @ np.linalg.solve(self.cov + self.cov_mc, self.modes.T)

    @property
    def fisher(self) -> Float[np.ndarray, "par par"]:
        """F."""
        return self.jacobian.T @ self.precision @ self.jacobian

    @property
    def gradient(self) -> Float[np.ndarray, "par"]:
        """Gradient of log L."""
        return self.jacobian.T @ self.precision @ self.residual

    def monte_carlo_share(self) -> Float[np.ndarray, "_"]:
        """Share of the halo sample's noise in the variance along each well-measured direction.

        Eigenvalues of the estimator's Monte Carlo variance relative to all of it, in the directions where the
        data inform more than the prior, largest first.
        """
        values, vectors = np.linalg.eigh(self.fisher)
        keep = vectors[:, values > 1.0]
        if keep.shape[1] == 0:
            return np.zeros(1)
        total = self.cov + self.cov_mc
        project = keep.T @ np.linalg.pinv(self.fisher, hermitian=True) @ self.jacobian.T @ self.modes
        project = project @ np.linalg.inv(total)
        share = np.linalg.solve(project @ total @ project.T, project @ self.cov_mc @ project.T)
        return np.sort(np.real(np.linalg.eigvals(share)))[::-1]


def information(
    problem: Problem,
    u: Float[Array | np.ndarray, "par"],
    jacobian: Callable[[Array], Array | np.ndarray],
    noise: Float[np.ndarray, "row stat"] | None = None,
) -> Information:
    """What the data tell about u, near u.

    Parameters
    ----------
    problem : with its counts corrected, or as they are.
    u : where.
    jacobian : of log_counts.
    noise : rows whose outer products add up to the Monte Carlo covariance of log-counts, from
        `popinfer.infer.monte_carlo`; that of the replicates at u when absent.
    """
    return Information(
        np.asarray(jacobian(jnp.asarray(u))),
        problem.log_observed - np.asarray(problem.log_counts(jnp.asarray(u))),
        *_covariances(problem, replicate_noise(problem, u) if noise is None else noise),
    )


def precision(problem: Problem, noise: Float[np.ndarray, "row stat"]) -> Float[np.ndarray, "stat stat"]:
    """P of the module's equations, given rows of the Monte Carlo covariance."""
    modes, cov, cov_mc = _covariances(problem, noise)
    return modes @ np.linalg.solve(cov + cov_mc, modes.T)


def _log_peak(precision: Float[np.ndarray, "stat stat"]) -> float:
    """Log of the modes' density at no residual, in an orthonormal basis: log(pdet(P) / (2 pi)^rank) / 2."""
    values = np.linalg.eigvalsh(precision)
    values = values[values > 1e-12 * values[-1]]
    return float(0.5 * np.sum(np.log(values / (2 * np.pi))))


def replicate_noise(
    problem: Problem, u: Float[Array | np.ndarray, "par"], most: int | None = None
) -> Float[np.ndarray, "row stat"]:
    """Rows of the Monte Carlo covariance of log-counts at u, of a mean of `problem.n_averaged` samples."""
    replicates = problem.log_replicates(u, most)
    return (replicates - replicates.mean(axis=0)) / np.sqrt(problem.n_averaged * (len(replicates) - 1))


def _covariances(
    problem: Problem, noise: Float[np.ndarray, "row stat"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, E^T (V + C_error) E, and E^T C_mc E, slice by slice: halos of slices are independent."""
    modes, slice_of = eigenmodes(problem), problem.slice_of
    parts = [noise[:, slice_of == index] @ modes[slice_of == index] for index in np.unique(slice_of)]
    return modes, modes.T @ problem.log_cov @ modes, np.sum([one.T @ one for one in parts], axis=0)


class LogDensity(eqx.Module):
    """Log posterior density of u: log L as a density of the modes, minus |u|^2 / 2 of the prior.

    Its arrays are arguments of `equinox.filter_jit` programs. ``log_peak`` doesn't depend on u: with it
    evidences of models of the same survey compare, as far as the modes span the same space.
    """

    raw_log_counts: LogCounts
    correction: Correction
    log_observed: Float[Array | np.ndarray, "stat"]
    precision: Float[Array | np.ndarray, "stat stat"]
    log_peak: Float[Array, ""]

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density at u."""
        residual = jnp.asarray(self.log_observed) - self.correction(self.raw_log_counts(u), u)
        chi2 = residual @ jnp.asarray(self.precision) @ residual
        return self.log_peak - 0.5 * chi2 - 0.5 * jnp.sum(u**2)


def correction_of(problem: Problem) -> Correction:
    """The problem's correction; one that changes nothing where it has none."""
    none = Correction.constant(np.zeros(len(problem.observed)), problem.size)
    return jax.tree.map(jnp.asarray, problem.correction or none)


def log_density(problem: Problem, precision: Float[np.ndarray, "stat stat"]) -> LogDensity:
    """Log posterior density of a problem, given P."""
    data = jnp.asarray(problem.log_observed), jnp.asarray(precision), jnp.asarray(_log_peak(precision))
    return LogDensity(problem.raw_log_counts, correction_of(problem), *data)


def poisson(log_m: Float[Array, "stat"], d: Float[Array | np.ndarray, "stat"]) -> Float[Array, ""]:
    """Poisson log-likelihood of counts d, relative to a perfect model."""
    return jnp.sum(d * (log_m - jnp.log(d)) - (jnp.exp(log_m) - d))


def fair_share(problem: Problem, jacobian: Float[np.ndarray, "stat par"]) -> float:
    """Weight of the composite likelihood against the prior: one over how often it counts a galaxy.

    The composite likelihood's magnitude adjustment (Pauli, Racugno & Ventura 2011, Statistica Sinica 21,
    149): mean of the score's variance J^T diag(d) (V + C_error) diag(d) J over its Fisher information
    J^T diag(d) J, both taken with the observed counts, so that a bad starting model doesn't matter.
    """
    scaled, ridge = jacobian * problem.observed[:, None], RIDGE * np.eye(problem.size)
    sensitivity = scaled.T @ jacobian + ridge
    variability = scaled.T @ problem.log_cov @ scaled + ridge
    return float(problem.size / np.trace(np.linalg.solve(sensitivity, variability)))
