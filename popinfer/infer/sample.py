"""Samplers of a log-density of one vector, in Laplace-whitened coordinates z: u = mean + factor @ z.

`nuts` is the reference: blackjax NUTS, one compiled step called in a loop, four chains from overdispersed
starts, step size by dual averaging. `psis_laplace` is the fast route: draws from a Student-t around the mode,
weighted by the exact density, refused above Pareto k-hat 0.7 (Vehtari et al. 2024, JMLR 25, 72).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import arviz as az
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jaxtyping import Array
from scipy.special import gammaln

from popinfer.infer.laplace import Laplace

LogDensity = Callable[[Array], Array]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Draws:
    """Posterior draws of the unconstrained vector.

    Attributes
    ----------
    u : [chain, draw, par].
    stats : sample statistics by ArviZ's names, each [chain, draw].
    attrs : what the sampler says of the whole run (strings and numbers only).
    """

    u: np.ndarray
    stats: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NutsSpec:
    """Length and tuning of a NUTS run."""

    n_chains: int = 4
    n_warmup: int = 150
    n_draws: int = 400
    target_accept: float = 0.8
    max_tree_depth: int = 8
    start_scale: float = 2.0


@dataclass(frozen=True)
class PsisSpec:
    """Size of a PSIS-Laplace run: proposals, degrees of freedom and width of the Student-t, draws kept."""

    n_proposals: int = 2000
    dof: float = 8.0
    scale: float = 1.05
    n_draws: int = 1000


def nuts(key: Array, log_density: LogDensity, approx: Laplace, spec: NutsSpec, progress: Progress) -> Draws:
    """Sample with blackjax NUTS.

    Parameters
    ----------
    key : random key. log_density : of u. approx : whitening and centre of the starts.
    spec : lengths. progress : called with (step, total, text) after every step.
    """
    factor, mean = jnp.asarray(approx.factor), jnp.asarray(approx.mean)
    metric = jnp.ones(len(approx.mean))
    kernel = blackjax.nuts.build_kernel()

    def density(z: Array) -> Array:
        return log_density(mean + factor @ z)

    @jax.jit
    def step(key: Array, state: Any, step_size: Array) -> tuple[Any, Any]:
        return kernel(key, state, density, step_size, metric, max_num_doublings=spec.max_tree_depth)

    first = jax.jit(lambda z: blackjax.nuts.init(z, density))
    chains, infos, gradients, sizes = [], [], 0, []
    total = spec.n_chains * (spec.n_warmup + spec.n_draws)
    for chain in range(spec.n_chains):
        start_key, run_key = jax.random.split(jax.random.fold_in(key, chain))
        state = first(spec.start_scale * jax.random.normal(start_key, mean.shape))
        adapt_init, adapt_update, adapt_final = dual_averaging_adaptation(spec.target_accept)
        adaptation, draws, kept = adapt_init(0.5), [], []
        size = jnp.asarray(0.5)
        for i in range(spec.n_warmup + spec.n_draws):
            state, info = step(jax.random.fold_in(run_key, i), state, size)
            gradients += int(info.num_integration_steps)
            if i < spec.n_warmup:
                adaptation = adapt_update(adaptation, info.acceptance_rate)
                size = jnp.exp(adaptation.log_step_size)
                if i == spec.n_warmup - 1:
                    size = jnp.asarray(adapt_final(adaptation))
            else:
                draws.append(np.asarray(mean + factor @ state.position))
                kept.append(_nuts_stats(state, info))
            done = chain * (spec.n_warmup + spec.n_draws) + i + 1
            progress(done, total, f"chain {chain + 1}, step size {float(size):.2f}")
        chains.append(np.stack(draws))
        infos.append({k: np.array([s[k] for s in kept]) for k in kept[0]})
        sizes.append(float(size))
    stats = {k: np.stack([info[k] for info in infos]) for k in infos[0]}
    attrs = {
        "sampler": "nuts",
        "gradient_evaluations": gradients,
        "step_size": float(np.mean(sizes)),
        "max_tree_depth": spec.max_tree_depth,
    }
    return Draws(np.stack(chains), stats, attrs)


def _nuts_stats(state: Any, info: Any) -> dict[str, float]:
    return {
        "lp": float(state.logdensity),
        "energy": float(info.energy),
        "diverging": bool(info.is_divergent),
        "tree_depth": int(info.num_trajectory_expansions),
        "n_steps": int(info.num_integration_steps),
        "acceptance_rate": float(info.acceptance_rate),
    }


def psis_laplace(
    key: Array, log_density: LogDensity, approx: Laplace, spec: PsisSpec, progress: Progress
) -> Draws:
    """Sample by importance weighting of a Student-t around the mode.

    The returned draws are resampled with smoothed weights into four pseudo-chains; ``log_weight`` holds the
    raw weights of all proposals, ``attrs`` the Pareto k-hat and the effective sample size.
    """
    n_par = len(approx.mean)
    normal_key, chi_key, pick_key = jax.random.split(key, 3)
    z = jax.random.normal(normal_key, (spec.n_proposals, n_par))
    chi2 = jax.random.chisquare(chi_key, spec.dof, (spec.n_proposals, 1))
    z = np.asarray(spec.scale * z * jnp.sqrt(spec.dof / chi2))
    u = approx.mean + z @ approx.factor.T
    density = jax.jit(log_density)
    log_p = np.empty(spec.n_proposals)
    for i, point in enumerate(u):
        log_p[i] = float(density(jnp.asarray(point)))
        progress(i + 1, spec.n_proposals, "importance weights")
    log_weight = log_p - _log_student_t(z / spec.scale, spec.dof)
    log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
    smoothed, pareto_k = az.psislw(log_weight - log_weight.max())
    weights = np.exp(np.asarray(smoothed))
    weights /= weights.sum()
    picked = _systematic_resample(pick_key, weights, 4 * (spec.n_draws // 4))
    attrs = {
        "sampler": "psis_laplace",
        "pareto_k": float(pareto_k),
        "importance_ess": float(1 / np.sum(weights**2)),
        "gradient_evaluations": 0,
        "density_evaluations": spec.n_proposals,
    }
    # shuffled, so that pseudo-chains are exchangeable
    return Draws(
        u[picked].reshape(4, -1, n_par),
        {"lp": log_p[picked].reshape(4, -1)},
        attrs | {"log_weight": log_weight},
    )


def _log_student_t(z: np.ndarray, dof: float) -> np.ndarray:
    """Log density of a multivariate Student-t with unit scale, up to z-independent factors."""
    n = z.shape[1]
    constant = gammaln(0.5 * (dof + n)) - gammaln(0.5 * dof) - 0.5 * n * np.log(dof * np.pi)
    return constant - 0.5 * (dof + n) * np.log1p(np.sum(z**2, axis=1) / dof)


def _systematic_resample(key: Array, weights: np.ndarray, n: int) -> np.ndarray:
    offset_key, shuffle_key = jax.random.split(key)
    points = (np.arange(n) + float(jax.random.uniform(offset_key))) / n
    picked = np.searchsorted(np.cumsum(weights), points).clip(0, len(weights) - 1)
    return np.asarray(jax.random.permutation(shuffle_key, picked))
