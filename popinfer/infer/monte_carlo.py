"""The model's Monte Carlo noise: measured on replicate halo samples, and most of it taken out.

With m_0(u) the counts of the run's halos and m_r(u), r = 1 ... R, those of independent samples of the same
size, all of them change with u in nearly the same way. Mean and slope of all samples around one point u_c
therefore correct the run's own counts wherever the posterior has mass (control variates with common random
numbers):

    log m(u) = log m_0(u) + c + B (u - u_c),
    c = l(u_c) - log m_0(u_c),    B = D l - D log m_0,
    l = log mean_r m_r + Var_r[m_r] / (mean_r m_r)^2 / (2 (R + 1)),

where D are slopes, central differences over one posterior standard deviation, and means include r = 0. The
last term of l undoes the bias of a noisy mean's logarithm: it depends on u, and would pull the fit to where
noise is small. (The mean of the logarithms would have R + 1 times that bias.) The noise that is left in
log m, for u = u_c + F z with z standard normal and F F^T the posterior's covariance,

    C_mc = {Cov_r[q_r] + sum_i Cov_r[D_i q_r]} / (R + 1) + mean_z Cov_r[curvature of log m_r(z)],

with q_r = m_r / mean_r m_r, has the part of the mean that R + 1 samples leave, and what the slopes miss.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.likelihood import Correction, Problem

N_CURVATURE = 4  # draws over which the last term is averaged


def centered(problem: Problem, u: Float[Array | np.ndarray, "par"], most: int | None = None) -> Problem:
    """The same problem with its counts at u moved to those of all halo samples together; slopes are kept.

    Parameters
    ----------
    problem : corrected elsewhere, or not.
    u : where.
    most : replicates to use, at most.
    """
    own, others = _log_counts(problem, np.asarray(u), most)
    offset = _log_mean(own, others) - own
    slope = np.zeros((own.size, problem.size)) if problem.correction is None else problem.correction.slope
    correction = Correction(offset, slope, np.asarray(u))
    return dataclasses.replace(problem, correction=correction, n_averaged=len(others) + 1)


@dataclass(frozen=True)
class Corrected:
    """A problem with counts and slopes corrected, and deviations whose covariance over replicates is C_mc."""

    problem: Problem
    deviations: Float[np.ndarray, "term replicate stat"]


def corrected(
    problem: Problem,
    u: Float[np.ndarray, "par"],
    factor: Float[np.ndarray, "par par"],
    seed: int,
    most: int | None = None,
) -> Corrected:
    """Correct counts and slopes around u; see the module's equations.

    Parameters
    ----------
    problem : with any correction or none.
    u : centre of the correction.
    factor : F, square root of the posterior's covariance.
    seed : of the draws z.
    most : replicates to use, at most.
    """

    def evaluate(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _log_counts(problem, u, most)

    own, start = evaluate(u)
    offset, n = _log_mean(own, start) - own, len(start) + 1
    pairs = [(evaluate(u + step), evaluate(u - step)) for step in factor.T]
    slopes = np.stack([0.5 * (up[0] - down[0]) for up, down in pairs])
    together = np.stack([0.5 * (_log_mean(*up) - _log_mean(*down)) for up, down in pairs])
    slope = np.linalg.solve(factor.T, together - slopes).T
    others = np.stack([0.5 * (up[1] - down[1]) for up, down in pairs], axis=1)
    shares = np.stack([0.5 * (_relative(up[1]) - _relative(down[1])) for up, down in pairs])
    draws = np.random.default_rng(seed).standard_normal((N_CURVATURE, problem.size))
    curvature = [evaluate(u + factor @ z)[1] - start - np.einsum("rps,p->rs", others, z) for z in draws]
    deviations = np.concatenate(
        [
            _relative(start)[None] / np.sqrt(n),
            shares / np.sqrt(n),
            np.stack([one - one.mean(axis=0) for one in curvature]) / np.sqrt(N_CURVATURE),
        ]
    )
    correction = Correction(offset, slope, np.asarray(u))
    return Corrected(dataclasses.replace(problem, correction=correction, n_averaged=n), deviations)


def _log_counts(problem: Problem, u: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the counts of the run's halos, and of each replicate."""
    return np.asarray(problem.raw_log_counts(jnp.asarray(u))), problem.log_replicates(u, most)


def _log_mean(own: Float[np.ndarray, "stat"], others: Float[np.ndarray, "replicate stat"]) -> np.ndarray:
    """Logarithm of the mean of all samples' counts, without the bias that its noise brings."""
    counts = np.exp(np.concatenate([own[None], others]))
    mean = counts.mean(axis=0)
    return np.log(mean) + 0.5 * counts.var(axis=0, ddof=1) / mean**2 / len(counts)


def _relative(log_counts: Float[np.ndarray, "replicate stat"]) -> np.ndarray:
    """Replicates' counts over their mean, less one."""
    counts = np.exp(log_counts)
    return counts / counts.mean(axis=0) - 1
