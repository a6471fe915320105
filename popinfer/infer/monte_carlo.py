"""The model's Monte Carlo noise: measured on replicate halo samples, and most of it taken out.

With m_0(u) the counts of the run's halos and m_r(u), r = 1 ... R, those of independent samples of the same
size, all of them change with u in nearly the same way. What the mean of all samples differs by from the run's
own counts is therefore a smooth function of u. It is computed at nodes u_j spread as the posterior is, and
interpolated between them (control variates with common random numbers):

    log m(u) = log m_0(u) + delta(u),    delta(u_j) = l(u_j) - log m_0(u_j),
    l = log mean_r m_r + Var_r[m_r] / (mean_r m_r)^2 / (2 (R + 1)),

where means include r = 0. The last term of l undoes the bias of a noisy mean's logarithm: it depends on u,
and would pull the fit to where noise is small. (The mean of the logarithms would have R + 1 times that bias.)

The interpolation is universal kriging (Rasmussen & Williams 2006, section 2.7): a Gaussian process in
coordinates z in which the nodes have unit covariance, with a constant, a linear trend and a squared
exponential kernel, whose length has the smallest leave-one-out error e_j (their eq. 5.12). The noise that is
left in log m,

    C_mc = mean_j Cov_r[m_r(u_j) / mean_r m_r(u_j)] / (R + 1) + mean_j e_j e_j^T,

has the part of the mean that R + 1 samples leave, and what the interpolation may miss.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.correction import Correction, n_nodes
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import Problem

LENGTHS = (2.0, 4.0, 8.0, 16.0)  # of the kernel, in units of the nodes' scatter
_CONSTANT, _TREND = 1e6, 1e2  # prior variances relative to the kernel's: hardly any prior at all
_NUGGET = 1e-6  # likewise; keeps long kernels' matrices regular


def centered(problem: Problem, u: Float[Array | np.ndarray, "par"], most: int | None = None) -> Problem:
    """The same problem with its counts moved by as much as makes them those of all halo samples at u.

    The covariance of counting is taken there too.

    Parameters
    ----------
    problem : corrected elsewhere, or not.
    u : where.
    most : replicates to use, at most.
    """
    own, others = _log_counts(problem, np.asarray(u), most)
    log_mean = _log_mean(own, others)
    correction = Correction.constant(log_mean - own, problem.size)
    problem = dataclasses.replace(problem, correction=correction, n_averaged=len(others) + 1)
    return problem.expecting(log_mean)


@dataclass(frozen=True)
class Corrected:
    """A problem with counts corrected, and rows whose outer products add up to C_mc."""

    problem: Problem
    noise: Float[np.ndarray, "row stat"]


def corrected(
    problem: Problem, nodes: Float[np.ndarray, "node par"], spread: Laplace, most: int | None = None
) -> Corrected:
    """Correct counts where the posterior is, and take the covariance of counting there.

    Parameters
    ----------
    problem : with any correction or none.
    nodes : points spread as the posterior is.
    spread : the nodes' mean and covariance, about: what distances are measured in.
    most : replicates to use, at most.
    """
    pairs = [_log_counts(problem, u, most) for u in nodes]
    log_means = np.stack([_log_mean(own, others) for own, others in pairs])
    delta = log_means - np.stack([own for own, _ in pairs])
    problem = problem.expecting(log_means.mean(axis=0))
    n = len(pairs[0][1]) + 1
    scatter = np.stack([_relative(others) for _, others in pairs])
    scatter = scatter.reshape(-1, scatter.shape[-1]) / np.sqrt(n * (n - 2) * len(nodes))
    whiten = np.linalg.inv(spread.factor)
    sd = np.where(problem.used, np.sqrt(np.maximum(np.diag(problem.log_cov), 1e-12)), np.inf)
    z = (nodes - spread.mean) @ whiten.T
    (offset, slope, weights, length), error = _interpolation(z, delta, sd)
    # few nodes leave room for more, so that all corrections share compiled programs
    room = ((0, max(n_nodes(problem.size) - len(nodes), 0)), (0, 0))
    padded = np.pad(z, room), np.pad(weights, room)
    correction = Correction(spread.mean, whiten, offset, slope, *padded, np.asarray(length))
    problem = dataclasses.replace(problem, correction=correction, n_averaged=n)
    return Corrected(problem, np.concatenate([scatter, error / np.sqrt(len(nodes))]))


def _interpolation(
    z: Float[np.ndarray, "node par"], delta: Float[np.ndarray, "node stat"], sd: Float[np.ndarray, "stat"]
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, float], Float[np.ndarray, "node stat"]]:
    """Offset, slope, weights and length of a `Correction`; leave-one-out errors, smallest in units of sd."""
    distance2 = np.sum((z[:, None] - z[None]) ** 2, axis=-1)
    trend, best = _CONSTANT + _TREND * z @ z.T + _NUGGET * np.eye(len(z)), None
    for length in LENGTHS:
        inverse = np.linalg.inv(trend + np.exp(-0.5 * distance2 / length**2))
        weights = inverse @ delta
        error = weights / np.diag(inverse)[:, None]
        size = float(np.mean((error / sd) ** 2))
        if best is None or size < best[0]:
            best = size, (_CONSTANT * weights.sum(axis=0), _TREND * weights.T @ z, weights, length), error
    assert best is not None
    return best[1], best[2]


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
