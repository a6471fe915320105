"""Optimisers: Gauss-Newton (default) for any objective of log-counts, optax Adam and L-BFGS for the guide.

Gauss-Newton solves weighted least squares with Levenberg-Marquardt damping. Its Jacobian comes from forward
mode (parameters are few) and doubles as the posterior's metric.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from popinfer.infer.correction import Correction
from popinfer.infer.likelihood import (
    LogCounts,
    LogDensity,
    Problem,
    correction_of,
    fair_share,
    poisson,
)

Progress = Callable[[int, float], None]
_FRESH = 5  # steps with one exact Jacobian


@dataclass(frozen=True)
class Fit:
    """Result of an optimisation.

    Attributes
    ----------
    u : best point. log_density : the objective there.
    n_steps : accepted and refused steps. converged : whether the last step gained less than the tolerance.
    """

    u: np.ndarray
    log_density: float
    n_steps: int
    converged: bool


@runtime_checkable
class Objective(Protocol):
    """A log-density of u through the model's log-counts, as Gauss-Newton sees it."""

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-density and log-counts at u."""
        ...

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Derivative of log-counts at u, [stat, par]."""
        ...

    def linearised(
        self, u: np.ndarray, log_counts: np.ndarray, jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient, and minus the Hessian without second derivatives of log-counts."""
        ...


@runtime_checkable
class Smooth(Protocol):
    """A log-density of u, as optax's optimisers see it."""

    def value(self, u: Array) -> Array:
        """Log-density at u; may be called inside a compiled program."""
        ...

    def value_and_grad(self, u: Array) -> tuple[Array, Array]:
        """Log-density and its gradient."""
        ...


@eqx.filter_jit
def _log_counts(counts: LogCounts, correction: Correction, u: Array) -> Array:
    return correction(counts(u), u)


@eqx.filter_jit
def _jacobian(counts: LogCounts, correction: Correction, u: Array) -> Array:
    return jax.jacfwd(lambda u: correction(counts(u), u))(u)


@eqx.filter_jit
def _composite_and_grad(
    u: Array, counts: LogCounts, correction: Correction, observed: Array | np.ndarray
) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda u: poisson(correction(counts(u), u), observed))(u)


@eqx.filter_jit
def _density_and_grad(u: Array, density: LogDensity) -> tuple[Array, Array]:
    return jax.value_and_grad(density)(u)


def density_and_grad(density: LogDensity) -> Callable[[Array], tuple[Array, Array]]:
    """Value and gradient as a compiled program, shared by all densities that differ in arrays only."""
    return lambda u: _density_and_grad(u, density)


@dataclass(frozen=True)
class Compiled:
    """A problem's functions as compiled programs, made at their first call and shared by all problems that
    differ in arrays only.

    The objective is share x composite log-likelihood + log-prior.
    """

    problem: Problem
    share: float = 1.0

    def with_fair_share(self, u: np.ndarray) -> "Compiled":
        """The same with the share that the information at u asks for."""
        return replace(self, share=fair_share(self.problem, np.asarray(self.jacobian(jnp.asarray(u)))))

    @property
    def correction(self) -> Correction:
        """The problem's correction; one that changes nothing where it has none."""
        return correction_of(self.problem)

    def log_counts(self, u: Array) -> Array:
        """Logarithm of the model's counts."""
        return _log_counts(self.problem.raw_log_counts, self.correction, u)

    def jacobian(self, u: Array | np.ndarray) -> np.ndarray:
        """Derivative of log_counts, [stat, par]."""
        return np.asarray(_jacobian(self.problem.raw_log_counts, self.correction, jnp.asarray(u)))

    def value(self, u: Array) -> Array:
        """The objective."""
        return self._given(self.log_counts(u), u)

    def _given(self, log_m: Array, u: Array) -> Array:
        return self.share * poisson(log_m, self.problem.observed) - 0.5 * jnp.sum(u**2)

    def value_and_grad(self, u: Array) -> tuple[Array, Array]:
        """The objective and its gradient."""
        problem = self.problem
        value, gradient = _composite_and_grad(u, problem.raw_log_counts, self.correction, problem.observed)
        return self.share * value - 0.5 * jnp.sum(u**2), self.share * gradient - u

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and log-counts."""
        log_m = self.log_counts(jnp.asarray(u))
        return float(self._given(log_m, jnp.asarray(u))), np.asarray(log_m)

    def linearised(
        self, u: np.ndarray, log_counts: np.ndarray, jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The objective's gradient and its expected curvature."""
        m = np.exp(log_counts)
        gradient = self.share * jacobian.T @ (self.problem.observed - m) - u
        return gradient, self.share * (jacobian * m[:, None]).T @ jacobian + np.eye(u.size)


def gauss_newton(
    objective: Objective,
    u0: np.ndarray,
    *,
    max_steps: int = 40,
    tolerance: float = 0.05,
    progress: Progress | None = None,
) -> Fit:
    """Levenberg-Marquardt; between exact Jacobians, which cost as much as ten densities, Broyden's updates.

    A step changes the Jacobian by what the log-counts did that it didn't foresee (Broyden 1965, Mathematics
    of Computation 19, 577). It is computed again where no step helps, every `_FRESH` steps, and before the
    end is believed.

    Parameters
    ----------
    objective : a log-density.
    u0 : start. max_steps : steps at most.
    tolerance : stop when an undamped step promises to gain less than this in log-density.
    progress : called with (step, log-density).
    """
    u = np.asarray(u0, dtype=float)
    (value, log_counts), jacobian, age = objective.at(u), objective.jacobian(u), 0
    damping, converged, step = 1.0, False, 0
    for step in range(1, max_steps + 1):
        gradient, curvature = objective.linearised(u, log_counts, jacobian)
        small = 0.5 * gradient @ np.linalg.solve(curvature, gradient) < tolerance
        found = None if small else _damped_step(objective, (u, value), (gradient, curvature), damping)
        if found is None:
            if age == 0:
                converged = bool(small)
                break
            jacobian, age = objective.jacobian(u), 0
            if progress is not None:
                progress(step, value)
            continue
        before, counts_before = u, log_counts
        u, value, log_counts, damping = found
        if age + 1 < _FRESH:
            shift = u - before
            missed = log_counts - counts_before - jacobian @ shift
            jacobian, age = jacobian + np.outer(missed, shift) / (shift @ shift), age + 1
        else:
            jacobian, age = objective.jacobian(u), 0
        if progress is not None:
            progress(step, value)
    return Fit(u, value, step, converged)


def _damped_step(
    objective: Objective, at: tuple[np.ndarray, float], model: tuple[np.ndarray, np.ndarray], damping: float
) -> tuple[np.ndarray, float, np.ndarray, float] | None:
    """Raise the damping until a step improves the log-density, and lower it then; None when nothing does."""
    (u, value), (gradient, curvature) = at, model
    for _ in range(12):
        shift = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        shift *= min(1.0, 3.0 / np.max(np.abs(shift)))  # stay where the prior has mass
        trial, log_counts = objective.at(u + shift)
        if np.isfinite(trial) and trial > value:
            return u + shift, trial, log_counts, max(damping / 5, 1e-6)
        damping = max(damping, 1e-3) * 4
    return None


def adam(
    objective: Smooth,
    u0: np.ndarray,
    *,
    max_steps: int = 300,
    learning_rate: float = 0.05,
    progress: Progress | None = None,
) -> Fit:
    """optax Adam with a cosine-decayed learning rate; returns the best point seen."""
    schedule = optax.cosine_decay_schedule(learning_rate, max_steps, alpha=0.02)
    return _descend(objective, u0, optax.adam(schedule), max_steps, progress)


def lbfgs(objective: Smooth, u0: np.ndarray, *, max_steps: int = 60, progress: Progress | None = None) -> Fit:
    """optax L-BFGS with a zoom line search; returns the best point seen."""
    return _descend(objective, u0, optax.lbfgs(), max_steps, progress)


def _descend(
    objective: Smooth,
    u0: np.ndarray,
    optimiser: optax.GradientTransformationExtraArgs,
    max_steps: int,
    progress: Progress | None,
) -> Fit:
    best_u, best, n_steps, settled = np.asarray(u0, dtype=float), -np.inf, 0, 0
    for n_steps, (u, loss) in enumerate(_steps(objective, u0, optimiser, max_steps), start=1):
        gain = -loss - best
        settled = settled + 1 if abs(gain) < 1e-3 else 0
        if gain > 0:
            best_u, best = np.asarray(u), -loss
        if progress is not None:
            progress(n_steps, best)
        if settled >= 5 or not np.isfinite(loss):
            break
    return Fit(best_u, float(objective.value(jnp.asarray(best_u))), n_steps, settled >= 5)


def _steps(
    objective: Smooth, u0: np.ndarray, optimiser: optax.GradientTransformationExtraArgs, n: int
) -> Iterator[tuple[Array, float]]:
    def loss(u: Array) -> Array:
        return -objective.value(u)

    @jax.jit  # left alone, the line search would be compiled again at every step
    def advance(u: Array, state: Any, value: Array, gradient: Array) -> tuple[Array, Any]:
        updates, state = optimiser.update(-gradient, state, u, value=-value, grad=-gradient, value_fn=loss)
        return jnp.asarray(optax.apply_updates(u, updates)), state

    u = jnp.asarray(u0, dtype=float)
    state = optimiser.init(u)
    for _ in range(n):
        value, gradient = objective.value_and_grad(u)
        yield u, -float(value)
        u, state = advance(u, state, value, gradient)
