"""Optimisers: Levenberg-Marquardt for any objective of log-counts, optax Adam and L-BFGS for guides.

Levenberg-Marquardt solves (H + damping diag(H)) step = gradient, H the expected curvature, and takes the step
when the log-density rises by a fair part of what the quadratic model promises; else the damping rises. The
Jacobian comes from forward mode (parameters are few); between exact ones Broyden's rank-one update follows
the steps. A damping that was raised because the Jacobian was old, or because of rounding, says nothing of a
fresh Jacobian: each one starts from no more than the first damping.
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

from popinfer.infer.counts import BatchedCounts, log_counts, log_counts_and_jacobian
from popinfer.infer.data import Data
from popinfer.infer.likelihood import fair_share, poisson

Progress = Callable[[int, float], None]
_FRESH = 5  # steps with one exact Jacobian
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1.0, 1e-6, 1e5
_FAIR, _GOOD = 1e-3, 0.5  # actual over promised gain: of a step that is taken, and of a Jacobian that is kept
_LONGEST = 3.0  # prior standard deviations: a step stays where the prior has mass


@dataclass(frozen=True)
class Fit:
    """Result of an optimisation.

    Attributes
    ----------
    u : best point.
    log_density : the objective there.
    n_steps : accepted and refused steps.
    converged : whether the last step gained less than the tolerance.
    linear : log-counts at u and their exact derivative [stat, par], where the optimiser knows them.
    """

    u: np.ndarray
    log_density: float
    n_steps: int
    converged: bool
    linear: tuple[np.ndarray, np.ndarray] | None = None


@runtime_checkable
class Objective(Protocol):
    """A log-density of u through the model's log-counts, as Levenberg-Marquardt sees it."""

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-density and log-counts at u."""
        ...

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Derivative of log-counts at u, [stat, par]."""
        ...

    def gradient_and_curvature(
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
def _composite_and_grad(u: Array, counts: BatchedCounts, observed: Array | np.ndarray) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda u: poisson(counts(u), observed))(u)


@eqx.filter_jit
def _density_and_grad(u: Array, density: Any) -> tuple[Array, Array]:
    return jax.value_and_grad(density)(u)


def density_and_grad(density: Any) -> Callable[[Array], tuple[Array, Array]]:
    """Value and gradient of an equinox Module as a compiled program, shared by all that differ in arrays."""
    return lambda u: _density_and_grad(u, density)


@dataclass(frozen=True)
class Composite:
    """The guide: weight x composite log-likelihood + log-prior, through compiled programs."""

    counts: BatchedCounts
    data: Data
    weight: float = 1.0

    def with_fair_weight(self, u: np.ndarray) -> "Composite":
        """The same with the weight that the information at u asks for."""
        return replace(self, weight=fair_share(self.data, self.jacobian(u)))

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Derivative of log-counts, [stat, par]."""
        return log_counts_and_jacobian(self.counts, u)[1]

    def value(self, u: Array) -> Array:
        """The objective."""
        return self._from_log_counts(self.counts(u), u)

    def _from_log_counts(self, log_m: Array, u: Array) -> Array:
        return self.weight * poisson(log_m, self.data.observed) - 0.5 * jnp.sum(u**2)

    def value_and_grad(self, u: Array) -> tuple[Array, Array]:
        """The objective and its gradient."""
        value, gradient = _composite_and_grad(u, self.counts, self.data.observed)
        return self.weight * value - 0.5 * jnp.sum(u**2), self.weight * gradient - u

    def at(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and log-counts."""
        log_m = log_counts(self.counts, u)
        return float(self._from_log_counts(jnp.asarray(log_m), jnp.asarray(u))), log_m

    def gradient_and_curvature(
        self, u: np.ndarray, log_counts: np.ndarray, jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The objective's gradient and its expected curvature."""
        m = np.exp(log_counts)
        gradient = self.weight * jacobian.T @ (self.data.observed - m) - u
        curvature = self.weight * (jacobian * m[:, None]).T @ jacobian + np.eye(u.size)
        return gradient, curvature


def levenberg_marquardt(
    objective: Objective,
    u0: np.ndarray,
    *,
    max_steps: int = 60,
    tolerance: float = 1e-2,
    enough: Callable[[np.ndarray, float], bool] | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Maximise an objective of log-counts.

    Parameters
    ----------
    objective : Objective
        What to climb.
    u0 : np.ndarray
        Where to start.
    max_steps : int
        Accepted and refused steps together.
    tolerance : float
        Stop when an undamped step promises to gain less than this in log-density.
    enough : callable or None
        Says of a point and its log-density whether the rest of the way is of no interest.
    progress : Progress or None
        Called with (step, log-density).
    """
    u, arrived = np.asarray(u0, dtype=float), enough or (lambda *_: False)
    value, log_counts = objective.at(u)
    if arrived(u, value):
        return Fit(u, value, 0, False)
    jacobian, age, damping, converged, step = objective.jacobian(u), 0, _FIRST_DAMPING, False, 0
    for step in range(1, max_steps + 1):
        gradient, curvature = objective.gradient_and_curvature(u, log_counts, jacobian)
        small = 0.5 * gradient @ np.linalg.solve(curvature, gradient) < tolerance
        taken = None if small else _damped_step(objective, (u, value), (gradient, curvature), damping)
        if taken is None:
            if age == 0:
                converged = bool(small)
                break
            jacobian, age, damping = objective.jacobian(u), 0, min(damping, _FIRST_DAMPING)
        else:
            before, counts_before = u, log_counts
            u, value, log_counts, damping, ratio = taken
            if arrived(u, value):
                return Fit(u, value, step, False)
            if age + 1 < _FRESH and ratio > _GOOD:
                shift = u - before
                missed = log_counts - counts_before - jacobian @ shift
                jacobian, age = jacobian + np.outer(missed, shift) / (shift @ shift), age + 1
            else:
                jacobian, age, damping = objective.jacobian(u), 0, min(damping, _FIRST_DAMPING)
        if progress is not None:
            progress(step, value)
    return Fit(u, value, step, converged, (log_counts, jacobian) if age == 0 else None)


def _damped_step(
    objective: Objective, at: tuple[np.ndarray, float], model: tuple[np.ndarray, np.ndarray], damping: float
) -> tuple[np.ndarray, float, np.ndarray, float, float] | None:
    """Raise the damping until a step is fair, and lower it then; None when no step is.

    Returns the point, its log-density and log-counts, the next damping, and actual over promised gain.
    """
    (u, value), (gradient, curvature) = at, model
    while damping <= _MOST_DAMPING:
        shift = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        shift *= min(1.0, _LONGEST / np.max(np.abs(shift)))
        promised = float(gradient @ shift - 0.5 * shift @ curvature @ shift)
        trial, log_counts = objective.at(u + shift)
        ratio = (trial - value) / promised
        if np.isfinite(trial) and ratio > _FAIR:
            easier = damping / 5 if ratio > _GOOD else damping
            return u + shift, trial, log_counts, max(easier, _LEAST_DAMPING), ratio
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
