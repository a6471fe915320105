"""Tempered sequential Monte Carlo from the prior to the posterior: finds several maxima and the evidence.

Particles follow p_b(u) ~ N(u; 0, 1) L(u)^b from b = 0, the prior, to b = 1, the posterior (Del Moral, Doucet
& Jasra 2006, JRSS B 68, 411). At each stage

1. b rises until the weights w = L^(b' - b) keep a chosen effective size, (sum w)^2 / sum w^2 (Jasra et al.
   2011, Scandinavian Journal of Statistics 38, 1);
2. the log evidence grows by log mean w, and particles are resampled in proportion to w;
3. every particle makes Metropolis-adjusted Hamiltonian moves in the metric of the particles' covariance,
   along about a quarter of a period, the step size following the acceptance (Buchholz, Chopin & Jacob 2021,
   arXiv:1808.07730).

Each particle remembers the prior draw that it descends from: how unequally these lineages share the posterior
tells the Monte Carlo error of the whole run (Lee & Whiteley 2018, arXiv:1509.00394). With shares s of the
final particles, the error of the log evidence is at most about (sum s^2)^(1/2): exact for lineages that are
independent draws, and 1.3 times too large for the distributions of the tests.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import logsumexp

from popinfer.infer.draws import Draws, LogDensity, Progress
from popinfer.infer.laplace import Mixture
from popinfer.journal import kept
from popinfer.resampling import shuffled_systematic

_TARGET_ACCEPT = 0.8
_MAX_STAGES = 200
_SHRINK = 0.05  # share of the covariance's off-diagonal that is given up: few particles estimate it poorly
_BATCH = 16  # particles that move side by side: all of them would not fit into a GPU's memory


@dataclass(frozen=True)
class SmcSpec:
    """Size of a tempered run: particles, the effective share that a stage keeps, moves a stage.

    ``particles`` says whether they move in sequence or in batches; either way they end in the same place.
    """

    n_particles: int = 1000
    ess_fraction: float = 0.6
    n_moves: int = 3
    max_leapfrog: int = 8
    particles: Literal["auto", "sequence", "vmap"] = "auto"

    @property
    def n_steps(self) -> int:
        """Length of the progress bar, in percent: stages aren't known beforehand."""
        return 100

    @property
    def batch(self) -> int | None:
        """Particles that move side by side; None: one, because batches are slower on a CPU."""
        batched = self.particles == "vmap" or (self.particles == "auto" and jax.default_backend() != "cpu")
        return _BATCH if batched else None


class Particles(NamedTuple):
    """Positions [particle, par], log-likelihoods [particle] and their gradients [particle, par]."""

    u: Array
    log_likelihood: Array
    gradient: Array


class Tuning(NamedTuple):
    """Power of the likelihood, step size, leapfrog steps."""

    power: Array
    size: Array
    n_leapfrog: Array


class Moves(NamedTuple):
    """What became of the moves of each particle in one stage, [particle]: sums over its moves."""

    acceptance_rate: Array | np.ndarray
    n_accepted: Array | np.ndarray
    n_undefined: Array | np.ndarray

    @classmethod
    def none(cls, n: int) -> "Moves":
        """No moves yet."""
        return cls(np.zeros(n), np.zeros(n, int), np.zeros(n, int))


class Stage(NamedTuple):
    """The particles at one power of the likelihood, and what led there; ``number`` stages were made."""

    particles: Particles
    ancestor: np.ndarray
    moves: Moves
    power: float = 0.0
    size: float = 0.5
    log_evidence: float = 0.0
    gradients: int = 0
    number: int = 0


def smc(key: Array, log_density: LogDensity, start: Mixture, spec: SmcSpec, progress: Progress) -> Draws:
    """Sample by tempering; the final particles are dealt into four pseudo-chains.

    Parameters
    ----------
    key : Array
        Random key.
    log_density : LogDensity
        Of u, standard normal log-prior included.
    start : Mixture
        Gives u's size only.
    spec : SmcSpec
        Sizes.
    progress : Progress
        Called with (percent, 100, text) after every move.

    Returns
    -------
    Draws
        Statistics ``ancestor`` (the prior draw that a particle descends from) and, of the moves of the last
        stage, ``acceptance_rate``, ``n_accepted`` and ``undefined`` (one at least ended where the density is
        NaN); attributes ``log_evidence`` (normalised if the likelihood is; of a normalised prior), its Monte
        Carlo error ``log_evidence_sd``, ``power`` (1 when the posterior was reached) and
        ``mutation_acceptance``.
    """
    n, n_par = 4 * (spec.n_particles // 4), len(start.main.mean)
    start_key, stage_key, deal_key = jax.random.split(key, 3)
    particles = _particles_at(log_density, jax.random.normal(start_key, (n, n_par)), spec.batch)
    stage = Stage(particles, np.arange(n), Moves.none(n), gradients=n)
    while (
        stage.power < 1 and stage.number < _MAX_STAGES and np.isfinite(stage.particles.log_likelihood).any()
    ):
        stage = _advance(jax.random.fold_in(stage_key, stage.number), stage, log_density, spec, progress)
    return _dealt(deal_key, stage, spec)


def _advance(key: Array, stage: Stage, log_density: LogDensity, spec: SmcSpec, progress: Progress) -> Stage:
    """Temper, resample and move all particles."""
    resample_key, move_key = jax.random.split(key)
    n = len(stage.ancestor)
    log_likelihood = np.asarray(stage.particles.log_likelihood)
    log_likelihood = np.where(np.isnan(log_likelihood), -np.inf, log_likelihood)
    log_weight, power = _temper(log_likelihood, stage.power, spec.ess_fraction)
    weight = np.exp(log_weight - logsumexp(log_weight))
    picked = shuffled_systematic(resample_key, weight, n)
    factor = jnp.asarray(_factors(np.asarray(stage.particles.u), weight)[picked])
    particles: Particles = jax.tree.map(lambda x: x[picked], stage.particles)
    size, moves = stage.size, Moves.none(n)
    gradients = stage.gradients
    for index in range(spec.n_moves):
        n_leapfrog = int(np.clip(np.ceil(0.5 * np.pi / size), 1, spec.max_leapfrog))
        keys = jax.random.split(jax.random.fold_in(move_key, index), n)
        tuning = Tuning(*(jnp.asarray(x) for x in (power, size, n_leapfrog)))
        particles, done = _moved(log_density, (keys, particles, factor), tuning, spec.batch)
        moves = jax.tree.map(lambda old, new: old + np.asarray(new), moves, done)
        mean_rate = float(np.mean(done.acceptance_rate))
        size = float(np.clip(size * np.exp(mean_rate - _TARGET_ACCEPT), 1e-3, 1.5))
        gradients += n * n_leapfrog
        # powers grow about geometrically: their fourth root fills the bar evenly
        text = f"stage {stage.number + 1}, likelihood to the power {power:.2g}"
        progress(round(100 * power**0.25), 100, text)
    log_evidence = stage.log_evidence + float(np.asarray(logsumexp(log_weight))) - np.log(n)
    ancestor = stage.ancestor[picked]
    return Stage(particles, ancestor, moves, power, size, float(log_evidence), gradients, stage.number + 1)


def _moved(
    log_density: LogDensity, each: tuple[Array, Particles, Array], tuning: Tuning, batch: int | None
) -> tuple[Particles, Moves]:
    """One move of all particles, or what the stage at work has kept of it."""
    keys, particles, factor = each

    def compute() -> dict[str, np.ndarray]:
        after, moves = _move_all(log_density, each, tuning, batch)
        return {name: np.asarray(x) for name, x in {**after._asdict(), **moves._asdict()}.items()}

    where = {"key": np.asarray(jax.random.key_data(keys)), "at": np.asarray(particles.u)}
    where |= {"factor": np.asarray(factor)} | {name: np.asarray(x) for name, x in tuning._asdict().items()}
    result = kept("smc", where, compute)
    after = Particles(*(jnp.asarray(result[name]) for name in Particles._fields))
    return after, Moves(*(result[name] for name in Moves._fields))


def _dealt(key: Array, stage: Stage, spec: SmcSpec) -> Draws:
    """Deal the particles of the last stage into pseudo-chains, in random order."""
    u, n = np.asarray(stage.particles.u), len(stage.ancestor)
    stats = {
        "lp": np.asarray(stage.particles.log_likelihood) - 0.5 * np.square(u).sum(axis=1),
        "ancestor": stage.ancestor,
        "acceptance_rate": stage.moves.acceptance_rate / spec.n_moves,
        "n_accepted": stage.moves.n_accepted,
        "undefined": stage.moves.n_undefined > 0,
    }
    order = np.asarray(jax.random.permutation(key, n))
    lineage_fraction = np.bincount(stage.ancestor) / n
    attrs = {
        "sampler": "smc",
        "log_evidence": stage.log_evidence,
        "log_evidence_sd": float(np.sqrt(np.sum(lineage_fraction**2))),
        "power": float(stage.power),
        "n_stages": stage.number,
        "mutation_acceptance": float(np.mean(stats["acceptance_rate"])),
        "step_size": stage.size,
        "gradient_evaluations": stage.gradients,
    }
    pseudo_chains = {name: np.asarray(values)[order].reshape(4, -1) for name, values in stats.items()}
    return Draws(u[order].reshape(4, -1, u.shape[1]), pseudo_chains, attrs)


def _evaluate(log_density: LogDensity, u: Array) -> tuple[Array, Array]:
    """Log-likelihood of u and its gradient; NaN and zero where either isn't defined."""
    value, gradient = jax.value_and_grad(lambda u: log_density(u) + 0.5 * jnp.sum(u**2))(u)
    sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    # -inf is a number that a likelihood may have: outside its support
    value = jnp.where(sound | (value == -jnp.inf), value, jnp.nan)
    return value, jnp.where(sound, gradient, 0.0)


@eqx.filter_jit
def _particles_at(log_density: LogDensity, u: Array, batch: int | None) -> Particles:
    """Particles at u [particle, par]."""
    return Particles(u, *jax.lax.map(lambda position: _evaluate(log_density, position), u, batch_size=batch))


@eqx.filter_jit
def _move_all(
    log_density: LogDensity, each: tuple[Array, Particles, Array], tuning: Tuning, batch: int | None
) -> tuple[Particles, Moves]:
    """One move of all particles: keys, particles and metrics, each with a leading particle axis."""

    def move(arguments: tuple[Array, Particles, Array]) -> tuple[Particles, Moves]:
        return _move(log_density, *arguments, tuning)

    return jax.lax.map(move, each, batch_size=batch)


def _move(
    log_density: LogDensity, key: Array, start: Particles, factor: Array, tuning: Tuning
) -> tuple[Particles, Moves]:
    """One Hamiltonian move of one particle in the metric of a factor: where it is then, what became of it."""
    momentum_key, size_key, accept_key = jax.random.split(key, 3)
    # jittered, so that no particle's trajectory closes on itself at every move
    size = tuning.size * jax.random.uniform(size_key, minval=0.8, maxval=1.2)

    def kick(particle: Particles, momentum: Array) -> Array:
        return momentum + 0.5 * size * factor.T @ (tuning.power * particle.gradient - particle.u)

    def leapfrog(_: Array, state: tuple[Particles, Array]) -> tuple[Particles, Array]:
        particle, momentum = state
        momentum = kick(particle, momentum)
        u = particle.u + size * factor @ momentum
        particle = Particles(u, *_evaluate(log_density, u))
        return particle, kick(particle, momentum)

    def energy(particle: Particles, momentum: Array) -> Array:
        quadratic = jnp.sum(particle.u**2) + jnp.sum(momentum**2)
        return 0.5 * quadratic - tuning.power * particle.log_likelihood

    momentum = jax.random.normal(momentum_key, start.u.shape)
    end, end_momentum = jax.lax.fori_loop(0, tuning.n_leapfrog, leapfrog, (start, momentum))
    log_ratio = energy(start, momentum) - energy(end, end_momentum)
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    rate = jnp.exp(jnp.minimum(log_ratio, 0.0))
    accept = jax.random.uniform(accept_key) < rate
    moves = Moves(rate, accept.astype(int), jnp.isnan(end.log_likelihood).astype(int))
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), end, start), moves


def _temper(log_likelihood: np.ndarray, power: float, ess_fraction: float) -> tuple[np.ndarray, float]:
    """Log weights of the step to the next power, and that power: the largest that keeps enough of them.

    Particles outside the support of the likelihood count for nothing from the start: the share is kept of
    those inside.
    """
    wanted = ess_fraction * np.isfinite(log_likelihood).sum()

    def effective(step: float) -> float:
        log_weight = step * log_likelihood
        return float(np.exp(2 * np.asarray(logsumexp(log_weight)) - np.asarray(logsumexp(2 * log_weight))))

    low, high = 0.0, 1.0 - power
    if effective(high) >= wanted:
        return high * log_likelihood, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= wanted else (low, middle)
    return high * log_likelihood, power + high


def _factors(u: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Metric of each particle's moves, [particle, par, par]: a square root of the covariance.

    Particles of one half move in the metric of the other half. One that had a say in its own metric would
    find it changed by where it is, and its moves would not keep the posterior.
    """
    half = np.arange(len(u)) % 2
    return np.stack([_factor(u, weight * (half != side)) for side in (0, 1)])[half]


def _factor(u: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Square root of the weighted particles' covariance, its correlations slightly shrunk."""
    # no weight at all: the other half has it; the unweighted covariance is too wide rather than too narrow
    cov = np.atleast_2d(np.cov(u, rowvar=False, aweights=weight if weight.any() else None, ddof=0))
    diagonal = np.diag(np.diag(cov) + 1e-12)
    return np.linalg.cholesky((1 - _SHRINK) * cov + _SHRINK * diagonal)
