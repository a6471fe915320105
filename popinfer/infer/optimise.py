"""Optimisers of the log-density of a `Problem`: Gauss-Newton (default), optax Adam and L-BFGS.

Gauss-Newton solves the Poisson likelihood's weighted least squares with Levenberg-Marquardt damping. Its
Jacobian comes from forward mode (parameters are few) and doubles as the posterior's metric.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from popinfer.infer.likelihood import Correction, Problem, information, overcounting, poisson

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Fit:
    """Result of an optimisation.

    Attributes
    ----------
    u : best point. log_density : the objective of `Compiled` there.
    n_steps : accepted and refused steps. converged : whether the last step gained less than the tolerance.
    """

    u: np.ndarray
    log_density: float
    n_steps: int
    converged: bool


LogCounts = Callable[[Array], Array]


@eqx.filter_jit
def _log_counts(counts: LogCounts, u: Array) -> Array:
    return counts(u)


@eqx.filter_jit
def _jacobian(counts: LogCounts, u: Array) -> Array:
    return jax.jacfwd(counts)(u)


@eqx.filter_jit
def _composite(u: Array, counts: LogCounts, correction: Correction, observed: Array | np.ndarray) -> Array:
    return poisson(counts(u) + correction(u), observed)


@eqx.filter_jit
def _composite_and_grad(
    u: Array, counts: LogCounts, correction: Correction, observed: Array | np.ndarray
) -> tuple[Array, Array]:
    return jax.value_and_grad(_composite)(u, counts, correction, observed)


@dataclass(frozen=True)
class Compiled:
    """A problem's functions as compiled programs, made at their first call and shared by all problems that
    differ in arrays only.

    The objective is share x composite log-likelihood + log-prior. ``share``, the inverse of how often the
    soft counts count a galaxy, gives the prior its due weight.
    """

    problem: Problem
    share: float = 1.0

    def with_due_share(self, u: np.ndarray) -> "Compiled":
        """The same with the share that the information at u asks for.

        How often a galaxy is counted doesn't depend on Monte Carlo noise, which isn't measured for it.
        """
        noiseless = np.zeros((1, 2, len(self.problem.observed)))
        info = information(self.problem, u, self.jacobian, noiseless)
        return replace(self, share=1 / overcounting(info))

    @property
    def correction(self) -> Correction:
        """The problem's correction; zeros where it has none."""
        n_stat, n_par = len(self.problem.observed), self.problem.size
        none = Correction(jnp.zeros(n_stat), jnp.zeros((n_stat, n_par)), jnp.zeros(n_par))
        return jax.tree.map(jnp.asarray, self.problem.correction or none)

    def log_counts(self, u: Array) -> Array:
        """Logarithm of the model's counts."""
        return _log_counts(self.problem.raw_log_counts, u) + self.correction(u)

    def jacobian(self, u: Array) -> Array:
        """Derivative of log_counts, [stat, par]."""
        return _jacobian(self.problem.raw_log_counts, u) + self.correction.slope

    def composite(self, u: Array) -> Array:
        """Composite log-likelihood."""
        return _composite(u, self.problem.raw_log_counts, self.correction, self.problem.observed)

    def composite_and_grad(self, u: Array) -> tuple[Array, Array]:
        """Composite log-likelihood and its gradient."""
        return _composite_and_grad(u, self.problem.raw_log_counts, self.correction, self.problem.observed)

    def value(self, u: Array) -> Array:
        """The objective."""
        return self.share * self.composite(u) - 0.5 * jnp.sum(u**2)

    def value_and_grad(self, u: Array) -> tuple[Array, Array]:
        """The objective and its gradient."""
        value, gradient = self.composite_and_grad(u)
        return self.share * value - 0.5 * jnp.sum(u**2), self.share * gradient - u


def gauss_newton(
    compiled: Compiled,
    u0: np.ndarray,
    *,
    max_steps: int = 40,
    tolerance: float = 0.05,
    progress: Progress | None = None,
) -> Fit:
    """Levenberg-Marquardt on the Poisson composite likelihood and the standard normal prior.

    Parameters
    ----------
    u0 : start. max_steps : Jacobian evaluations at most.
    tolerance : stop when an undamped step promises to gain less than this in log-density.
    progress : called with (step, log-density).
    """
    problem = compiled.problem
    u, value = np.asarray(u0, dtype=float), float(compiled.value(jnp.asarray(u0)))
    damping, converged, step = 1.0, False, 0
    for step in range(1, max_steps + 1):
        j = np.asarray(compiled.jacobian(jnp.asarray(u)))
        m = np.exp(np.asarray(compiled.log_counts(jnp.asarray(u))))
        gradient = compiled.share * j.T @ (problem.observed - m) - u
        curvature = compiled.share * (j * m[:, None]).T @ j + np.eye(u.size)
        expected = 0.5 * gradient @ np.linalg.solve(curvature, gradient)
        if expected < tolerance:
            converged = True
            break
        u, value, damping, moved = _damped_step(compiled, (u, value), (gradient, curvature), damping)
        if progress is not None:
            progress(step, value)
        if not moved:
            break
    return Fit(u, value, step, converged)


def _damped_step(
    compiled: Compiled, at: tuple[np.ndarray, float], model: tuple[np.ndarray, np.ndarray], damping: float
) -> tuple[np.ndarray, float, float, bool]:
    """Raise the damping until a step improves the log-density; lower it after a success."""
    (u, value), (gradient, curvature) = at, model
    for _ in range(12):
        shift = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        shift *= min(1.0, 3.0 / np.max(np.abs(shift)))  # stay where the prior has mass
        trial = float(compiled.value(jnp.asarray(u + shift)))
        if np.isfinite(trial) and trial > value:
            return u + shift, trial, max(damping / 5, 1e-6), True
        damping = max(damping, 1e-3) * 4
    return u, value, damping, False


def adam(
    compiled: Compiled,
    u0: np.ndarray,
    *,
    max_steps: int = 300,
    learning_rate: float = 0.05,
    progress: Progress | None = None,
) -> Fit:
    """optax Adam with a cosine-decayed learning rate; returns the best point seen."""
    schedule = optax.cosine_decay_schedule(learning_rate, max_steps, alpha=0.02)
    return _descend(compiled, u0, optax.adam(schedule), max_steps, progress)


def lbfgs(
    compiled: Compiled, u0: np.ndarray, *, max_steps: int = 60, progress: Progress | None = None
) -> Fit:
    """optax L-BFGS with a zoom line search; returns the best point seen."""
    return _descend(compiled, u0, optax.lbfgs(), max_steps, progress)


def _descend(
    compiled: Compiled,
    u0: np.ndarray,
    optimiser: optax.GradientTransformationExtraArgs,
    max_steps: int,
    progress: Progress | None,
) -> Fit:
    best_u, best, n_steps, settled = np.asarray(u0, dtype=float), -np.inf, 0, 0
    for n_steps, (u, loss) in enumerate(_steps(compiled, u0, optimiser, max_steps), start=1):
        gain = -loss - best
        settled = settled + 1 if abs(gain) < 1e-3 else 0
        if gain > 0:
            best_u, best = np.asarray(u), -loss
        if progress is not None:
            progress(n_steps, best)
        if settled >= 5 or not np.isfinite(loss):
            break
    return Fit(best_u, float(compiled.value(jnp.asarray(best_u))), n_steps, settled >= 5)


def _steps(
    compiled: Compiled, u0: np.ndarray, optimiser: optax.GradientTransformationExtraArgs, n: int
) -> Iterator[tuple[Array, float]]:
    def loss(u: Array) -> Array:
        return -compiled.value(u)

    @jax.jit  # left alone, the line search would be compiled again at every step
    def advance(u: Array, state: Any, value: Array, gradient: Array) -> tuple[Array, Any]:
        updates, state = optimiser.update(-gradient, state, u, value=-value, grad=-gradient, value_fn=loss)
        return jnp.asarray(optax.apply_updates(u, updates)), state

    u = jnp.asarray(u0, dtype=float)
    state = optimiser.init(u)
    for _ in range(n):
        value, gradient = compiled.value_and_grad(u)
        yield u, -float(value)
        u, state = advance(u, state, value, gradient)
