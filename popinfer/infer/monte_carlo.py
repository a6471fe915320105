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
noise is small. (The mean of the logarithms would have R + 1 times that bias.) The noise that is left, for
u = u_c + F z with z standard normal and F F^T the posterior's covariance,

    C_mc = {Cov_r[m_r(u_c)] + sum_i Cov_r[m D_i m_r / mean_r m_r]} / (R + 1) + mean_z Cov_r[m q_r(z)],

has the part of the mean that R + 1 samples leave, and the curvatures q_r that the slopes miss.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.likelihood import Correction, Problem

N_CURVATURE = 4  # draws over which the last term is averaged


def centered(problem: Problem, u: Float[Array | np.ndarray, "par"]) -> Problem:
    """The same problem with its counts at u moved to those of all halo samples together; slopes are kept."""
    return _centered(problem, np.asarray(u))[0]


def _centered(problem: Problem, u: np.ndarray) -> tuple[Problem, np.ndarray]:
    own, others = _log_counts(problem)(u)
    offset = _log_mean(own, others) - own
    slope = np.zeros((own.size, problem.size)) if problem.correction is None else problem.correction.slope
    correction = Correction(offset, slope, u)
    return dataclasses.replace(problem, correction=correction, n_averaged=len(others) + 1), offset


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
) -> Corrected:
    """Correct counts and slopes around u; see the module's equations.

    Parameters
    ----------
    problem : with any correction or none.
    u : centre of the correction.
    factor : F, square root of the posterior's covariance.
    seed : of the draws z.
    """
    evaluate, size = _log_counts(problem), problem.size
    problem, offset = _centered(problem, u)
    counts = np.exp(np.asarray(problem.log_counts(jnp.asarray(u))))
    _, start = evaluate(u)
    pairs = [(evaluate(u + step), evaluate(u - step)) for step in factor.T]
    own = np.stack([0.5 * (up[0] - down[0]) for up, down in pairs])
    together = np.stack([0.5 * (_log_mean(*up) - _log_mean(*down)) for up, down in pairs])
    slope = np.linalg.solve(factor.T, together - own).T
    others = np.stack([0.5 * (up[1] - down[1]) for up, down in pairs], axis=1)
    shares = np.stack([0.5 * (_relative(up[1]) - _relative(down[1])) for up, down in pairs])
    z = np.random.default_rng(seed).standard_normal((N_CURVATURE, size))
    curvature = [evaluate(u + factor @ one)[1] - start - np.einsum("rps,p->rs", others, one) for one in z]
    deviations = np.concatenate(
        [
            _centred(np.exp(start))[None] / np.sqrt(problem.n_averaged),
            shares * counts / np.sqrt(problem.n_averaged),
            np.stack([_centred(one) for one in curvature]) * counts / np.sqrt(N_CURVATURE),
        ]
    )
    whole = dataclasses.replace(problem, correction=Correction(offset, slope, np.asarray(u)))
    return Corrected(whole, deviations)


def _log_counts(problem: Problem) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Logarithms of the counts of the run's halos, and of each replicate."""

    def evaluate(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(problem.raw_log_counts(jnp.asarray(u))), np.log(problem.replicates(jnp.asarray(u)))

    return evaluate


def _log_mean(own: Float[np.ndarray, "stat"], others: Float[np.ndarray, "replicate stat"]) -> np.ndarray:
    """Logarithm of the mean of all samples' counts, without the bias that its noise brings."""
    counts = np.exp(np.concatenate([own[None], others]))
    mean = counts.mean(axis=0)
    return np.log(mean) + 0.5 * counts.var(axis=0, ddof=1) / mean**2 / len(counts)


def _relative(log_counts: Float[np.ndarray, "replicate stat"]) -> np.ndarray:
    """Replicates' counts over their mean, less one."""
    counts = np.exp(log_counts)
    return counts / counts.mean(axis=0) - 1


def _centred(values: Float[np.ndarray, "replicate ..."]) -> np.ndarray:
    return values - values.mean(axis=0)
