"""Pathfinder: the best of the Gaussians along the way to a mode (Zhang et al. 2022, JMLR 23, 306).

A quasi-Newton ascent from a point far out estimates, at each step, an inverse Hessian H and with it the
Gaussian q = N(z + H g, H), g the gradient of the log density p. Its evidence lower bound,

    ELBO = < log p(z) - log q(z) >_q,

from a few draws of q says how near q is to p; the Gaussian with the largest one is returned. Where a
posterior is skewed or flat-topped that is nearer to its bulk than the Laplace approximation at the mode.

Parameters are few, so H is the full BFGS estimate in the coordinates whitened by the Laplace approximation,
which is the first of the Gaussians compared: the result isn't worse than it, up to the noise of the draws.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from popinfer.infer.laplace import Laplace

Density = Callable[[Array], Array]
_TOLERANCE = 1e-4  # nats that the next step promises: where to stop
_LONGEST_STEP = 3.0  # in whitened coordinates


class Point(NamedTuple):
    """A point of the path: whitened position z [par], log density, its gradient [par], inverse Hessian."""

    z: np.ndarray
    value: float
    gradient: np.ndarray
    inverse: np.ndarray


def pathfinder(
    key: Array,
    log_density: Density,
    approx: Laplace,
    *,
    start_scale: float = 2.0,
    n_draws: int = 20,
    max_steps: int = 40,
) -> Laplace:
    """Gaussian approximation with the largest evidence lower bound on the way to a mode.

    Parameters
    ----------
    key : random key. log_density : of u. approx : whitening, and centre of the start.
    start_scale : the path begins at a draw of N(0, start_scale^2) in whitened coordinates.
    n_draws : draws for each ELBO, in antithetic pairs. max_steps : quasi-Newton steps at most.

    Returns
    -------
    Laplace
        In u; ``approx`` itself where the density isn't finite at the start of the path.
    """
    start_key, draw_key = jax.random.split(key)
    factor, mean = approx.factor, approx.mean
    whitening = jnp.asarray(mean), jnp.asarray(factor)

    def both(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = _value_and_grad(log_density, whitening, jnp.asarray(z))
        return np.asarray(value), np.asarray(gradient)

    normal = np.asarray(jax.random.normal(draw_key, (n_draws // 2, len(mean))))
    normal = np.concatenate([normal, -normal])  # pairs: odd terms of log p cancel, and their noise
    z = start_scale * np.asarray(jax.random.normal(start_key, mean.shape))
    found = [approx] + [
        Laplace(mean + factor @ (p.z + p.inverse @ p.gradient), factor @ p.inverse @ factor.T)
        for p in _path(both, z, max_steps)
    ]
    return max(found, key=lambda one: _elbo(log_density, one, normal))


@eqx.filter_jit
def _value_and_grad(log_density: Density, whitening: tuple[Array, Array], z: Array) -> tuple[Array, Array]:
    mean, factor = whitening
    return jax.value_and_grad(lambda z: log_density(mean + factor @ z))(z)


def _path(both: Callable[[np.ndarray], tuple], z: np.ndarray, max_steps: int) -> list[Point]:
    """BFGS ascent; the start itself is left out, nothing is known of the curvature there."""
    value, gradient = both(z)
    point, path = Point(z, float(value), gradient, np.eye(len(z))), []
    while len(path) < max_steps and np.isfinite(point.value) and np.all(np.isfinite(point.gradient)):
        direction = point.inverse @ point.gradient
        if 0.5 * point.gradient @ direction < _TOLERANCE:
            break
        direction *= min(1.0, _LONGEST_STEP / np.max(np.abs(direction)))
        climbed = _climb(both, point, direction, first=not path)
        if climbed is None:
            break
        point = climbed
        path.append(point)
    return path


def _climb(
    both: Callable[[np.ndarray], tuple], point: Point, direction: np.ndarray, *, first: bool
) -> Point | None:
    """Go along the direction, less far until the density rises as it should; None when it never does."""
    for shrink in 0.5 ** np.arange(12):
        step = shrink * direction
        value, gradient = both(point.z + step)
        enough = point.value + 1e-4 * point.gradient @ step
        if np.isfinite(value) and value > enough and np.all(np.isfinite(gradient)):
            inverse = _bfgs(point.inverse, step, point.gradient - gradient, first=first)
            return Point(point.z + step, float(value), gradient, inverse)
    return None


def _bfgs(inverse: np.ndarray, step: np.ndarray, change: np.ndarray, *, first: bool) -> np.ndarray:
    """Update of the inverse Hessian of -log p; none where the curvature along the step isn't positive.

    The first one scales all directions by what is known of one (Nocedal & Wright 2006, eq. 6.20).
    """
    curvature = step @ change
    if curvature <= 1e-6 * np.linalg.norm(step) * np.linalg.norm(change):
        return inverse
    if first:
        inverse = inverse * curvature / (change @ change)
    left = np.eye(len(step)) - np.outer(step, change) / curvature
    return left @ inverse @ left.T + np.outer(step, step) / curvature


def _elbo(log_density: Density, gaussian: Laplace, normal: np.ndarray) -> float:
    """Evidence lower bound, up to a constant, with draws from given standard normals [draw, par]."""
    u = gaussian.mean + normal @ gaussian.factor.T
    density = eqx.filter_jit(log_density)
    log_p = np.array([float(density(jnp.asarray(one))) for one in u])
    log_q = -0.5 * np.square(normal).sum(axis=1) - np.log(np.diag(gaussian.factor)).sum()
    bound = float(np.mean(log_p - log_q))
    return bound if np.isfinite(bound) else -np.inf
