"""Laplace approximation of the posterior: whitening metric, first answer, identifiability check."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

FLAT_FRACTION = 1 / 3  # a profile that rises less than this share of the expected 4.5 nats is flat


@dataclass(frozen=True)
class Laplace:
    """Gaussian approximation N(mean, cov) in the unconstrained vector; ``factor @ factor.T = cov``."""

    mean: np.ndarray
    cov: np.ndarray

    @property
    def factor(self) -> np.ndarray:
        """Square root of the covariance: u = mean + factor @ z whitens the posterior."""
        return np.linalg.cholesky(self.cov)


@dataclass(frozen=True)
class FlatDirection:
    """A parameter whose profile doesn't rise as the Laplace approximation says it should."""

    name: str
    side: int
    rise: float
    expected: float


def polish(
    log_density_and_grad: Callable[[Array], tuple[Array, Array]], start: Laplace, *, max_steps: int = 20
) -> Laplace:
    """Move the mean to the density's mode by Newton steps in the Laplace metric (with backtracking)."""
    u = start.mean
    value, gradient = (np.asarray(x) for x in log_density_and_grad(jnp.asarray(u)))
    for _ in range(max_steps):
        step = start.cov @ gradient
        gain = 0.5 * gradient @ step
        if gain < 1e-3:
            break
        for shrink in (1.0, 0.5, 0.25, 0.1):
            trial = u + shrink * step
            new, new_gradient = (np.asarray(x) for x in log_density_and_grad(jnp.asarray(trial)))
            if np.isfinite(new) and new > value:
                u, value, gradient = trial, new, new_gradient
                break
        else:
            break
    return Laplace(u, start.cov)


def flat_directions(
    log_density: Callable[[Array], Array], names: tuple[str, ...], approx: Laplace, *, n_sigma: float = 3.0
) -> list[FlatDirection]:
    """Parameters along which the density rises much less than Laplace says at +- n_sigma.

    The path follows the conditional mean of the other parameters, the profile of the Gaussian. The density
    includes the prior: a parameter that the data say nothing about isn't flat, its shrinkage is zero.
    """
    found = []
    best = float(log_density(jnp.asarray(approx.mean)))
    expected = 0.5 * n_sigma**2
    for i, name in enumerate(names):
        direction = approx.cov[:, i] / np.sqrt(approx.cov[i, i])
        for side in (-1, 1):
            rise = best - float(log_density(jnp.asarray(approx.mean + side * n_sigma * direction)))
            if not np.isfinite(rise) or rise < FLAT_FRACTION * expected:
                found.append(FlatDirection(name, side, rise, expected))
    return found
