"""The model's Monte Carlo noise: measured on replicate halo samples, and most of it taken out.

With m_0(u) the counts of the run's halos and m_r(u), r = 1 ... R, those of independent samples of the same
size, followed are those of all samples together,

    l = log mean_r m_r + Var_r[m_r] / (mean_r m_r)^2 / (2 (R + 1)),

where means include r = 0. The last term undoes the bias of a noisy mean's logarithm: it depends on u, and
would pull the fit to where noise is small. (The mean of the logarithms would have R + 1 times that bias.)
l is computed at nodes u_j spread as the posterior is, and interpolated between them to S(u). What the
interpolation misses there, l - S, is in part what it misses of the run's own halos, whose counts are known
everywhere (a control variate with common random numbers; S_0 interpolates log m_0):

    log m(u) = S(u) + rho (log m_0(u) - S_0(u)),    rho = <e_j, e_0j> / <e_0j, e_0j>,

with e_j and e_0j the leave-one-out errors of S and S_0 at the nodes. Where the posterior is narrow, one
sample of halos is rougher in u than the mean of all of them, and rho is small: with rho = 1 its roughness
would stay in the density, and make it narrower. Far from the nodes rho rises to one: there the model itself
is followed.

The interpolation is universal kriging (Rasmussen & Williams 2006, section 2.7): a Gaussian process in
coordinates z in which the nodes have unit covariance, with a constant, a linear trend and a squared
exponential kernel, whose length has the smallest leave-one-out errors (their eq. 5.12) of log m. The noise
that is left in log m,

    C_mc = mean_j Cov_r[m_r(u_j) / mean_r m_r(u_j)] / (R + 1) + mean_j d_j d_j^T,    d_j = e_j - rho e_0j,

has the part of the mean that R + 1 samples leave, and what the interpolation may miss.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.correction import NUGGET, REACH, Correction, n_nodes
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import Problem

LENGTHS = (2.0, 4.0, 8.0, 16.0)  # of the kernel, in units of the nodes' scatter
_CONSTANT, _TREND = 1e6, 1e2  # prior variances relative to the kernel's: hardly any prior at all


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
    own = np.stack([one for one, _ in pairs])
    everyone = np.stack([_log_mean(one, others) for one, others in pairs])
    problem = problem.expecting(everyone.mean(axis=0))
    n = len(pairs[0][1]) + 1
    scatter = np.stack([_relative(others) for _, others in pairs])
    scatter = scatter.reshape(-1, scatter.shape[-1]) / np.sqrt(n * (n - 2) * len(nodes))
    whiten = np.linalg.inv(spread.factor)
    sd = np.where(problem.used, np.sqrt(np.maximum(np.diag(problem.log_cov), 1e-12)), np.inf)
    z = (nodes - spread.mean) @ whiten.T
    found = _interpolation(z, np.stack([everyone, own]), sd)
    # few nodes leave room for more, so that all corrections share compiled programs
    room = (0, max(n_nodes(problem.size) - len(nodes), 0))
    known = np.linalg.inv(_kernel(z, REACH) + NUGGET * np.eye(len(z)))
    correction = Correction(
        spread.mean,
        whiten,
        found.offset,
        found.slope,
        np.pad(z, (room, (0, 0))),
        np.pad(found.weights, ((0, 0), room, (0, 0))),
        np.asarray(found.length),
        np.asarray(found.follow),
        np.pad(known, (room, room)),
    )
    problem = dataclasses.replace(problem, correction=correction, n_averaged=n)
    return Corrected(problem, np.concatenate([scatter, found.error / np.sqrt(len(nodes))]))


@dataclass(frozen=True)
class _Interpolation:
    """Of a `Correction`: S and S_0, rho, and leave-one-out errors d_j."""

    offset: Float[np.ndarray, "2 stat"]
    slope: Float[np.ndarray, "2 stat par"]
    weights: Float[np.ndarray, "2 node stat"]
    length: float
    follow: float
    error: Float[np.ndarray, "node stat"]


def _interpolation(
    z: Float[np.ndarray, "node par"], counts: Float[np.ndarray, "2 node stat"], sd: Float[np.ndarray, "stat"]
) -> _Interpolation:
    """Interpolate log-counts of all samples and of the run's own; errors are smallest in units of sd."""
    mean = counts.mean(axis=1)
    trend, best = _CONSTANT + _TREND * z @ z.T + NUGGET * np.eye(len(z)), (np.inf, None)
    for length in LENGTHS:
        inverse = np.linalg.inv(trend + _kernel(z, length))
        weights = inverse @ (counts - mean[:, None])
        errors = weights / np.diag(inverse)[:, None]
        everyone, own = errors / sd
        follow = float(np.clip(np.sum(everyone * own) / max(np.sum(own**2), np.finfo(float).tiny), 0, 1))
        size = float(np.mean((everyone - follow * own) ** 2))
        if size < best[0]:
            offset, slope = mean + _CONSTANT * weights.sum(axis=1), _TREND * weights.mT @ z
            error = errors[0] - follow * errors[1]
            best = size, _Interpolation(offset, slope, weights, length, follow, error)
    assert best[1] is not None
    return best[1]


def _kernel(z: Float[np.ndarray, "node par"], length: float) -> Float[np.ndarray, "node node"]:
    """Squared exponential kernel between nodes."""
    return np.exp(-0.5 * np.sum((z[:, None] - z[None]) ** 2, axis=-1) / length**2)


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
