"""The model's Monte Carlo noise: measured on replicate halo samples, and most of it taken out.

With m_0(u) the counts of the run's halos and m_r(u), r = 1 ... R, those of independent samples of the same
size, followed are those of all samples together,

    l = log mean_r m_r + Var_r[m_r] / (mean_r m_r)^2 / (2 (R + 1)),

where means include r = 0. The last term undoes the bias of a noisy mean's logarithm: it depends on u, and
would pull the fit to where noise is small. (The mean of the logarithms would have R + 1 times that bias.)
l is computed at nodes u_j spread as the posterior is, and interpolated between them to S(u). What the
interpolation misses there, l - S, is in part what it misses of the run's own halos, whose counts are known
everywhere (a control variate with common random numbers; S_0 interpolates log m_0):

    log m(u) = S(u) + rho (log m_0(u) - S_0(u)).

Let e_j and e_0j be the errors of S and S_0 at node j when it is left out: rho is the one for which
d_j = e_j - rho e_0j are smallest. Where the posterior is narrow, one sample of halos is rougher in u than the
mean of all of them, and rho is small: with rho = 1 its roughness would stay in the density, and make it
narrower. Away from the nodes rho rises to one (`Correction`): there the run's own halos are followed, but for
the difference of the two trends.

The interpolation is universal kriging (Rasmussen & Williams 2006, section 2.7): a Gaussian process in
coordinates z in which the posterior's modes have unit covariance, with a constant, a linear trend, a squared
exponential kernel and white noise. Length and noise are those with the smallest leave-one-out errors d_j
(their eq. 5.12).

The noise that is left in log m is measured with the replicates. With x_rj = m_r(u_j) / mean_r m_r(u_j) - 1,
p_rj its interpolation at node j when left out and e_rj = x_rj - p_rj,

    C_mc = mean_j {R / (R + 1)^2 Cov_r[p_rj] + Cov_r[p_rj / (R + 1) + rho e_rj] + kappa d_j d_j^T},

where the second term is the run's own halos'. The last is what the interpolation may miss of the model
itself: kappa is the share of d_j that isn't noise of the samples, which has the covariance
(R / (R + 1)^2 + (1 / (R + 1) - rho)^2) Cov_r[e_rj].
"""

import dataclasses
import itertools
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.infer.correction import NUGGET, REACH, Correction, n_nodes
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import Problem

LENGTHS = (2.0, 4.0, 8.0, 16.0)  # of the kernel, in units of a mode's size
WHITE = (NUGGET, 1e-4, 1e-2, 1.0)  # variance of white noise relative to the kernel's
_CONSTANT, _TREND = 1e3, 1e2  # prior variances relative to the kernel's: hardly any prior at all


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
    if not (np.isfinite(own).all() and np.isfinite(everyone).all()):
        raise InputError("the model's counts of galaxies aren't finite where the posterior is")
    problem = problem.expecting(everyone.mean(axis=0))
    whiten = np.linalg.inv(spread.factor)
    sd = np.where(problem.used, np.sqrt(np.maximum(np.diag(problem.log_cov), 1e-12)), np.inf)
    z = (nodes - spread.mean) @ whiten.T
    known = np.linalg.inv(_kernel(z, REACH) + NUGGET * np.eye(len(z)))
    found = _interpolation(z, np.stack([everyone, own]), sd, 1 / np.diag(known))
    # few nodes leave room for more, so that all corrections share compiled programs
    room = (0, max(n_nodes(problem.size) - len(nodes), 0))
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
    n = len(pairs[0][1]) + 1
    problem = dataclasses.replace(problem, correction=correction, n_averaged=n)
    replicates = np.stack([_relative(others) for _, others in pairs], axis=1)
    return Corrected(problem, found.noise(replicates, sd))


@dataclass(frozen=True)
class _Interpolation:
    """Of a `Correction`: S and S_0, rho; d_j and rho at the nodes when left out, and kriging's matrix.

    `loss` is the mean square of d_j in the units that counts are weighed with.
    """

    offset: Float[np.ndarray, "2 stat"]
    slope: Float[np.ndarray, "2 stat par"]
    weights: Float[np.ndarray, "2 node stat"]
    length: float
    follow: float
    error: Float[np.ndarray, "node stat"]
    share: Float[np.ndarray, "node"]
    inverse: Float[np.ndarray, "node node"]
    loss: float

    def noise(
        self, replicates: Float[np.ndarray, "replicate node stat"], sd: Float[np.ndarray, "stat"]
    ) -> Float[np.ndarray, "row stat"]:
        """Rows of C_mc, given x_rj and what kappa weighs counts with."""
        (n_rep, n_node, n_stat), share = replicates.shape, self.share[:, None]
        errors = self.inverse @ replicates / np.diag(self.inverse)[:, None]  # when a node is left out
        smooth = replicates - errors
        own = smooth / (n_rep + 1) + share * errors
        rows = np.concatenate([np.sqrt(n_rep) / (n_rep + 1) * smooth, own]) / np.sqrt(max(n_rep - 1, 1))
        part = n_rep / (n_rep + 1) ** 2 + (1 / (n_rep + 1) - share) ** 2
        of_samples = np.sum(part * (errors / sd) ** 2) / max(n_rep - 1, 1)
        missed = np.sum((self.error / sd) ** 2)
        kappa = max(1 - of_samples / max(missed, np.finfo(float).tiny), 0.0)
        together = np.concatenate([rows.reshape(-1, n_stat), np.sqrt(kappa) * self.error])
        return together / np.sqrt(n_node)


def _interpolation(
    z: Float[np.ndarray, "node par"],
    counts: Float[np.ndarray, "2 node stat"],
    sd: Float[np.ndarray, "stat"],
    unknown: Float[np.ndarray, "node"],
) -> _Interpolation:
    """Interpolate log-counts of all samples and of the run's own; errors are smallest in units of sd.

    unknown : v at each node, were it not one.
    """
    mean, rest = counts.mean(axis=1), 1 - np.minimum(unknown, 1.0)[:, None]
    trend, candidates = _CONSTANT + _TREND * z @ z.T, []
    for length, white in itertools.product(LENGTHS, WHITE):
        inverse = np.linalg.inv(trend + _kernel(z, length) + white * np.eye(len(z)))
        weights = inverse @ (counts - mean[:, None])
        errors = weights / np.diag(inverse)[:, None]
        everyone, own = errors / sd
        # rho_j = follow rest_j + 1 - rest_j
        size = np.sum((rest * own) ** 2)
        product = np.sum(rest * own * (everyone - (1 - rest) * own))
        follow = float(np.clip(product / size, 0.0, 1.0)) if size > 0 else 1.0
        share = 1 - (1 - follow) * rest
        error = errors[0] - share * errors[1]
        offset, slope = mean + _CONSTANT * weights.sum(axis=1), _TREND * weights.mT @ z
        loss = float(np.mean((error / sd) ** 2))
        candidates.append(
            _Interpolation(offset, slope, weights, length, follow, error, share[:, 0], inverse, loss)
        )
    return min(candidates, key=lambda one: one.loss)


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
