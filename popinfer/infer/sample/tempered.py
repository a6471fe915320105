"""Tempered sequential Monte Carlo from the prior to the posterior: finds several modes and the evidence.

Particles follow p_b(u) ~ N(u; 0, 1) L(u)^b from b = 0, the prior, to b = 1, the posterior (Del Moral, Doucet
& Jasra 2006, JRSS B 68, 411). At each stage

1. b rises until the weights w = L^(b' - b) keep a chosen effective size, (sum w)^2 / sum w^2 (Jasra et al.
   2011, Scandinavian Journal of Statistics 38, 1);
2. the log evidence grows by log mean w, and particles are resampled in proportion to w;
3. every particle makes Metropolis-adjusted Hamiltonian moves in the metric of the particles' covariance,
   along about a quarter of a period, the step size following the acceptance (Buchholz, Chopin & Jacob 2021,
   arXiv:1808.07730).

Each particle remembers the prior draw that it descends from: how unequally these lineages share the posterior
tells the Monte Carlo error of the whole run (Lee & Whiteley 2018, arXiv:1509.00394).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import logsumexp

from popinfer.infer.laplace import Laplace
from popinfer.infer.sample.draws import Draws, LogDensity, Progress, systematic_resample

_TARGET_ACCEPT = 0.8
_MAX_STAGES = 200
_SHRINK = 0.05  # share of the covariance's off-diagonal that is given up: few particles estimate it poorly


@dataclass(frozen=True)
class SmcSpec:
    """Size of a tempered run: particles, the effective share that a stage keeps, moves a stage."""

    n_particles: int = 1000
    ess_fraction: float = 0.6
    n_moves: int = 3
    max_leapfrog: int = 8

    @property
    def n_steps(self) -> int:
        """Length of the progress bar, in percent: stages aren't known beforehand."""
        return 100


class Particles(NamedTuple):
    """Positions [particle, par], log-likelihoods [particle] and their gradients [particle, par]."""

    u: Array
    log_likelihood: Array
    gradient: Array


class Tuning(NamedTuple):
    """Power of the likelihood, square root of the particles' covariance, step size, leapfrog steps."""

    power: Array | float
    factor: Array | np.ndarray
    size: Array | float
    n_leapfrog: Array | int


def smc(key: Array, log_density: LogDensity, approx: Laplace, spec: SmcSpec, progress: Progress) -> Draws:
    """Sample by tempering; the final particles are dealt into four pseudo-chains.

    Parameters
    ----------
    key : random key. log_density : of u, standard normal log-prior included. approx : gives u's size only.
    spec : sizes. progress : called with (percent, 100, text) after every move.

    Returns
    -------
    Draws
        Statistics ``ancestor`` (the prior draw that a particle descends from), ``acceptance_rate`` and
        ``n_accepted`` of the moves of the last stage; attributes ``log_evidence`` (of the likelihood, for a
        normalised prior), ``power`` (1 when the posterior was reached), ``mutation_acceptance``.
    """
    n, n_par = 4 * (spec.n_particles // 4), len(approx.mean)
    start_key, stage_key = jax.random.split(key)
    evaluate = _evaluator(log_density)
    # one particle after another: the model is heavy, and batches of it are slower on a CPU
    mutate = jax.jit(
        lambda keys, particles, tuning: jax.lax.map(
            lambda one: _move(one[0], one[1], tuning, evaluate), (keys, particles)
        )
    )
    u = jax.random.normal(start_key, (n, n_par))
    particles = Particles(u, *jax.jit(lambda all_u: jax.lax.map(evaluate, all_u))(u))
    ancestor, power, log_evidence, size, gradients, stage = np.arange(n), 0.0, 0.0, 0.5, n, 0
    acceptance, accepted = np.zeros(n), np.zeros(n, int)
    while power < 1 and stage < _MAX_STAGES and np.isfinite(particles.log_likelihood).any():
        resample_key, move_key = jax.random.split(jax.random.fold_in(stage_key, stage))
        log_likelihood = np.asarray(particles.log_likelihood)
        log_weight, power = _temper(log_likelihood, power, spec.ess_fraction)
        log_evidence += float(logsumexp(log_weight)) - np.log(n)
        picked = systematic_resample(resample_key, np.exp(log_weight - logsumexp(log_weight)), n)
        particles, ancestor = jax.tree.map(lambda x, rows=picked: x[rows], particles), ancestor[picked]
        factor = _factor(np.asarray(particles.u))
        acceptance, accepted = np.zeros(n), np.zeros(n, int)
        for move in range(spec.n_moves):
            n_leapfrog = int(np.clip(np.ceil(0.5 * np.pi / size), 1, spec.max_leapfrog))
            keys = jax.random.split(jax.random.fold_in(move_key, move), n)
            particles, rate, moved = mutate(keys, particles, Tuning(power, factor, size, n_leapfrog))
            acceptance, accepted = acceptance + np.asarray(rate) / spec.n_moves, accepted + np.asarray(moved)
            size = float(np.clip(size * np.exp(np.mean(rate) - _TARGET_ACCEPT), 1e-3, 1.5))
            gradients += n * n_leapfrog
            # powers grow about geometrically: their fourth root fills the bar evenly
            progress(round(100 * power**0.25), 100, f"stage {stage + 1}, likelihood to the power {power:.2g}")
        stage += 1
    lp = np.asarray(particles.log_likelihood) - 0.5 * np.square(np.asarray(particles.u)).sum(axis=1)
    stats = {"lp": lp, "ancestor": ancestor, "acceptance_rate": acceptance, "n_accepted": accepted}
    order = np.random.default_rng(0).permutation(n)
    attrs = {
        "sampler": "smc",
        "log_evidence": float(log_evidence),
        "power": float(power),
        "n_stages": stage,
        "mutation_acceptance": float(acceptance.mean()),
        "step_size": size,
        "gradient_evaluations": gradients,
    }
    return Draws(
        np.asarray(particles.u)[order].reshape(4, -1, n_par),
        {name: values[order].reshape(4, -1) for name, values in stats.items()},
        attrs,
    )


def _evaluator(log_density: LogDensity) -> Callable[[Array], tuple[Array, Array]]:
    """Log-likelihood of u and its gradient; -inf and zero where either isn't finite."""
    both = jax.value_and_grad(lambda u: log_density(u) + 0.5 * jnp.sum(u**2))

    def evaluate(u: Array) -> tuple[Array, Array]:
        value, gradient = both(u)
        sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        return jnp.where(sound, value, -jnp.inf), jnp.where(sound, gradient, 0.0)

    return evaluate


def _move(key: Array, start: Particles, tuning: Tuning, evaluate: Callable) -> tuple[Particles, Array, Array]:
    """One Hamiltonian move of one particle: where it is then, acceptance probability, whether it moved."""
    momentum_key, size_key, accept_key = jax.random.split(key, 3)
    power, factor = tuning.power, jnp.asarray(tuning.factor)
    # jittered, so that no particle's trajectory closes on itself at every move
    size = tuning.size * jax.random.uniform(size_key, minval=0.8, maxval=1.2)

    def kick(particle: Particles, momentum: Array) -> Array:
        return momentum + 0.5 * size * factor.T @ (power * particle.gradient - particle.u)

    def leapfrog(_: Array, state: tuple[Particles, Array]) -> tuple[Particles, Array]:
        particle, momentum = state
        momentum = kick(particle, momentum)
        u = particle.u + size * factor @ momentum
        particle = Particles(u, *evaluate(u))
        return particle, kick(particle, momentum)

    def energy(particle: Particles, momentum: Array) -> Array:
        quadratic = jnp.sum(particle.u**2) + jnp.sum(momentum**2)
        return 0.5 * quadratic - power * particle.log_likelihood

    momentum = jax.random.normal(momentum_key, start.u.shape)
    end, end_momentum = jax.lax.fori_loop(0, tuning.n_leapfrog, leapfrog, (start, momentum))
    log_ratio = energy(start, momentum) - energy(end, end_momentum)
    rate = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio), 0.0))
    accept = jax.random.uniform(accept_key) < rate
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), end, start), rate, accept


def _temper(log_likelihood: np.ndarray, power: float, ess_fraction: float) -> tuple[np.ndarray, float]:
    """Log weights of the step to the next power, and that power: the largest that keeps enough of them.

    Particles outside the support of the likelihood count for nothing from the start: the share is kept of
    those inside.
    """
    wanted = ess_fraction * np.isfinite(log_likelihood).sum()

    def effective(step: float) -> float:
        log_weight = step * log_likelihood
        return float(np.exp(2 * logsumexp(log_weight) - logsumexp(2 * log_weight)))

    low, high = 0.0, 1.0 - power
    if effective(high) >= wanted:
        return high * log_likelihood, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= wanted else (low, middle)
    return high * log_likelihood, power + high


def _factor(u: np.ndarray) -> np.ndarray:
    """Square root of the particles' covariance, its correlations slightly shrunk."""
    cov = np.atleast_2d(np.cov(u, rowvar=False))
    diagonal = np.diag(np.diag(cov) + 1e-12)
    return np.linalg.cholesky((1 - _SHRINK) * cov + _SHRINK * diagonal)
