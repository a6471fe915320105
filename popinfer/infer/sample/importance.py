"""Importance sampling of the exact density, from proposals that begin with its Laplace approximations.

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
from scipy.special import logsumexp

from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.draws import Draws, LogDensity, Progress, systematic_resample
from popinfer.random import numpy_generator

_MIN_ROUND = 20
_BATCH = 20  # densities between two words of progress


@dataclass(frozen=True)
class PsisSpec:
    """Size of an importance sampling run: proposals in all, in how many rounds, their width, draws kept."""

    n_proposals: int = 2000
    n_rounds: int = 5
    scale: float = 1.1
    n_draws: int = 1000

    @property
    def n_steps(self) -> int:
        """Progress calls: one a proposal."""
        return self.n_proposals


@dataclass(frozen=True)
class Weighted:
    """Proposals [draw, par], their log densities, raw log weights, smoothed weights that add up to one.

    ``proposal`` is the last round's mixture adapted to all of them.
    """

    u: np.ndarray
    log_p: np.ndarray
    log_weight: np.ndarray
    weights: np.ndarray
    pareto_k: float
    proposal: Mixture

    @property
    def ess(self) -> float:
        """(sum w)^2 / sum w^2."""
        return float(1 / np.sum(self.weights**2))


def psis_laplace(
    key: Array, log_density: LogDensity, start: Mixture, spec: PsisSpec, progress: Progress
) -> Draws:
    """Sample by importance weighting of Student-t mixtures that adapt to what they find.

    Parameters
    ----------
    key : random key. log_density : of u. start : Laplace approximation of each mode.
    spec : sizes. progress : called with (proposals so far, all, text).

    Returns
    -------
    Draws
        Resampled with smoothed weights into four pseudo-chains; ``log_weight`` holds the raw weights of all
        proposals, ``attrs`` the Pareto k-hat, the effective sample size and the share of proposals without a
        density (NaN), which weigh nothing.
    """
    propose_key, pick_key = jax.random.split(key)
    found = weigh(propose_key, log_density, start, spec, progress)
    picked = systematic_resample(pick_key, found.weights, 4 * (spec.n_draws // 4))
    attrs = {
        "sampler": "psis_laplace",
        "pareto_k": found.pareto_k,
        "importance_ess": found.ess,
        "gradient_evaluations": 0,
        "density_evaluations": spec.n_proposals,
        "undefined_fraction": float(np.isnan(found.log_p).mean()),
        "log_weight": found.log_weight,
    }
    stats = {"lp": found.log_p[picked].reshape(4, -1)}
    return Draws(found.u[picked].reshape(4, -1, found.u.shape[1]), stats, attrs)


def weigh(
    key: Array, log_density: LogDensity, start: Mixture, spec: PsisSpec, progress: Progress
) -> Weighted:
    """Proposals and their weights.

    The first round proposes from the start, each later one from a mixture adapted to all rounds before it.
    Every proposal's weight is its density over the mixture of all rounds' proposals (Cornuet et al. 2012,
    Scandinavian Journal of Statistics 39, 798), so a poor early round costs draws, not correctness.
    """
    rng = numpy_generator(key)
    u, log_p = np.empty((0, len(start.main.mean))), np.empty(0)
    log_weight = weights = np.empty(0)
    rounds, pareto_k = [start], np.inf
    for index, size in enumerate(_round_sizes(spec)):
        u = np.vstack([u, rounds[-1].draw(rng, size, spec.scale)])
        for first in range(len(log_p), len(u), _BATCH):
            log_p = np.append(log_p, _densities(log_density, u[first : first + _BATCH]))
            progress(len(log_p), spec.n_proposals, f"importance weights, round {index + 1}")
        log_weight = log_p - _log_proposal(u, rounds, _round_sizes(spec)[: index + 1], spec.scale)
        log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
        weights, pareto_k = smoothed(log_weight)
        rounds.append(rounds[-1].adapted(u, weights))
    return Weighted(u, log_p, log_weight, weights, pareto_k, rounds[-1])


@eqx.filter_jit
def _mapped(log_density: LogDensity, u: Array) -> Array:
    return jax.lax.map(log_density, u)


def _densities(log_density: LogDensity, u: np.ndarray) -> np.ndarray:
    """Log densities of up to `_BATCH` points; one program whatever their number."""
    padded = np.concatenate([u, np.repeat(u[-1:], _BATCH - len(u), axis=0)])
    return np.asarray(_mapped(log_density, jnp.asarray(padded)))[: len(u)]


def _round_sizes(spec: PsisSpec) -> list[int]:
    """Number of proposals in each round: at least `_MIN_ROUND` in every one of them."""
    n_rounds = max(1, min(spec.n_rounds, spec.n_proposals // _MIN_ROUND))
    return np.diff(np.linspace(0, spec.n_proposals, n_rounds + 1).round().astype(int)).tolist()


def smoothed(log_weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights, adding up to one, and k-hat; equal ones and infinity when none is finite."""
    if not np.isfinite(log_weight.max()):
        return np.full(len(log_weight), 1 / len(log_weight)), np.inf
    log_smoothed, pareto_k = az.psislw(log_weight - log_weight.max())
    weights = np.exp(np.asarray(log_smoothed))
    return weights / weights.sum(), float(pareto_k)


def _log_proposal(u: np.ndarray, rounds: list[Mixture], sizes: list[int], scale: float) -> np.ndarray:
    """Log density of the rounds' proposals, mixed in proportion to their sizes."""
    shares = np.log(np.array(sizes) / sum(sizes))
    parts = [one.log_density(u, scale) + share for one, share in zip(rounds, shares, strict=False)]
    return np.asarray(logsumexp(np.stack(parts), axis=0))
