"""PSIS-corrected Laplace approximation: draws of Student-t distributions, weighted by the exact density.

With proposals q_r of n_r draws each, the weight of a draw is w = p(u) / sum_r (n_r / n) q_r(u). Weights are
Pareto-smoothed; a shape k-hat above 0.7 says that they can't be trusted (Vehtari et al. 2024, JMLR 25, 72).
"""

from dataclasses import dataclass

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from popinfer.infer.laplace import Laplace
from popinfer.infer.sample.draws import Draws, LogDensity, Progress, systematic_resample

_DRAWS_PER_PARAMETER = 10
_MIN_ROUND = 20


@dataclass(frozen=True)
class PsisSpec:
    """Size of a PSIS-Laplace run: proposals in all, in how many rounds, Student-t, draws kept."""

    n_proposals: int = 2000
    n_rounds: int = 5
    dof: float = 5.0
    scale: float = 1.1
    n_draws: int = 1000

    @property
    def n_steps(self) -> int:
        """Progress calls: one a proposal."""
        return self.n_proposals


def psis_laplace(
    key: Array, log_density: LogDensity, approx: Laplace, spec: PsisSpec, progress: Progress
) -> Draws:
    """Sample by importance weighting of Student-t proposals that adapt to what they find.

    The first round proposes from the Laplace approximation, each later one from the weighted mean and
    covariance of all rounds before it. Every proposal's weight is its density over the mixture of all rounds'
    proposals (Cornuet et al. 2012, Scandinavian Journal of Statistics 39, 798), so a poor early round costs
    draws, not correctness.

    The returned draws are resampled with smoothed weights into four pseudo-chains; ``log_weight`` holds the
    raw weights of all proposals, ``attrs`` the Pareto k-hat, the effective sample size and the share of
    proposals without a density (NaN), which weigh nothing.
    """
    n_par = len(approx.mean)
    round_key, pick_key = jax.random.split(key)
    density = eqx.filter_jit(log_density)
    u, log_p = np.empty((0, n_par)), np.empty(0)
    proposals: list[Laplace] = []
    log_weight = smoothed = np.empty(0)
    pareto_k = np.inf
    for index, size in enumerate(_round_sizes(spec)):
        proposals.append(approx if index == 0 else _moments(u, smoothed, approx))
        u = np.vstack([u, _draw_student_t(jax.random.fold_in(round_key, index), proposals[-1], size, spec)])
        for point in u[len(log_p) :]:
            log_p = np.append(log_p, float(density(jnp.asarray(point))))
            progress(len(log_p), spec.n_proposals, f"importance weights, round {index + 1}")
        log_weight = log_p - _log_mixture(u, proposals, _round_sizes(spec)[: index + 1], spec)
        log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
        smoothed, pareto_k = _smoothed(log_weight)
    picked = systematic_resample(pick_key, smoothed, 4 * (spec.n_draws // 4))
    attrs = {
        "sampler": "psis_laplace",
        "pareto_k": pareto_k,
        "importance_ess": float(1 / np.sum(smoothed**2)),
        "gradient_evaluations": 0,
        "density_evaluations": spec.n_proposals,
        "undefined_fraction": float(np.isnan(log_p).mean()),
    }
    return Draws(
        u[picked].reshape(4, -1, n_par),
        {"lp": log_p[picked].reshape(4, -1)},
        attrs | {"log_weight": log_weight},
    )


def _round_sizes(spec: PsisSpec) -> list[int]:
    """Number of proposals in each round: at least `_MIN_ROUND` in every one of them."""
    n_rounds = max(1, min(spec.n_rounds, spec.n_proposals // _MIN_ROUND))
    return np.diff(np.linspace(0, spec.n_proposals, n_rounds + 1).round().astype(int)).tolist()


def _smoothed(log_weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights, adding up to one, and k-hat; equal ones and infinity when none is finite."""
    if not np.isfinite(log_weight.max()):
        return np.full(len(log_weight), 1 / len(log_weight)), np.inf
    log_smoothed, pareto_k = az.psislw(log_weight - log_weight.max())
    weights = np.exp(np.asarray(log_smoothed))
    return weights / weights.sum(), float(pareto_k)


def _moments(u: np.ndarray, weights: np.ndarray, approx: Laplace) -> Laplace:
    """Weighted mean and covariance of the draws.

    While a few draws carry all the weight, weights are flattened until `_DRAWS_PER_PARAMETER` draws a
    parameter count, and the covariance of the Laplace approximation is kept in with the weight of one draw a
    parameter: a proposal that is too wide costs less than one that is too narrow.
    """
    n_par = u.shape[1]
    enough = min(_DRAWS_PER_PARAMETER * n_par, 0.5 * len(u))
    log_weights = np.log(np.maximum(weights, np.finfo(float).tiny))
    while 1 / np.sum(weights**2) < enough:
        log_weights = 0.8 * log_weights
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
    effective = 1 / np.sum(weights**2)
    mean = weights @ u
    cov = ((u - mean) * weights[:, None]).T @ (u - mean)
    return Laplace(mean, (effective * cov + n_par * approx.cov) / (effective + n_par))


def _draw_student_t(key: Array, proposal: Laplace, size: int, spec: PsisSpec) -> np.ndarray:
    normal_key, chi_key = jax.random.split(key)
    z = jax.random.normal(normal_key, (size, len(proposal.mean)))
    chi2 = jax.random.chisquare(chi_key, spec.dof, (size, 1))
    z = np.asarray(spec.scale * z * jnp.sqrt(spec.dof / chi2))
    return proposal.mean + z @ proposal.factor.T


def _log_mixture(u: np.ndarray, proposals: list[Laplace], sizes: list[int], spec: PsisSpec) -> np.ndarray:
    """Log density of the rounds' proposals, mixed in proportion to their sizes, up to a constant."""
    parts = []
    for proposal, size in zip(proposals, sizes, strict=True):
        z = solve_triangular(proposal.factor, (u - proposal.mean).T, lower=True).T / spec.scale
        log_volume = np.log(np.diag(proposal.factor)).sum()
        parts.append(_log_student_t(z, spec.dof) - log_volume + np.log(size / sum(sizes)))
    return np.asarray(logsumexp(np.stack(parts), axis=0))


def _log_student_t(z: np.ndarray, dof: float) -> np.ndarray:
    """Log density of a multivariate Student-t with unit scale, up to z-independent factors."""
    n = z.shape[1]
    constant = gammaln(0.5 * (dof + n)) - gammaln(0.5 * dof) - 0.5 * n * np.log(dof * np.pi)
    return constant - 0.5 * (dof + n) * np.log1p(np.sum(z**2, axis=1) / dof)
