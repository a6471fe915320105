"""Densities with known answers, and ways in which densities go wrong."""

import jax.numpy as jnp
import numpy as np

COV = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]])
MEAN = np.array([0.3, -1.0, 2.0])

_A = np.random.default_rng(0).normal(size=(5, 5))
COV5 = 0.1 * (_A @ _A.T / 5 + 0.3 * np.eye(5))  # correlated, about 0.3 wide, within the standard normal prior
MEAN5 = np.linspace(-0.5, 0.5, 5)
PRECISION5 = np.linalg.inv(COV5)
# log of the integral over u of the normalised prior times exp(gaussian5 + |u|^2 / 2)
LOG_EVIDENCE5 = 0.5 * np.linalg.slogdet(COV5)[1]

MODES, MODE_SD, MODE_WEIGHTS = np.array([-1.5, 1.5]), 0.2, np.array([0.3, 0.7])


def gaussian(u):
    """Three correlated parameters, not normalised."""
    return -0.5 * (u - MEAN) @ jnp.linalg.solve(jnp.asarray(COV), u - MEAN)


def gaussian5(u):
    """Five correlated parameters, not normalised."""
    return -0.5 * (u - MEAN5) @ jnp.asarray(PRECISION5) @ (u - MEAN5)


def bimodal(u):
    """Two modes of unequal weight along the first of three parameters, 15 standard deviations apart."""
    modes = -0.5 * ((u[0] - MODES) / MODE_SD) ** 2 + jnp.log(MODE_WEIGHTS)
    return jnp.logaddexp(*modes) - 0.5 * jnp.sum((u[1:] / MODE_SD) ** 2)


def near_modes(u):
    """The same, 6 standard deviations apart: the tails of proposals for one mode reach the other."""
    return bimodal(u + jnp.sign(u[0]) * jnp.array([0.9, 0.0, 0.0]))


def funnel(u):
    """Neal's funnel (2003, Annals of Statistics 31, 705): the width of all others follows the first."""
    return -0.5 * (u[0] / 3) ** 2 - 0.5 * jnp.sum(u[1:] ** 2) * jnp.exp(-u[0]) - 0.5 * (len(u) - 1) * u[0]


def cliff(u):
    """A Gaussian whose right half, where most of the mass was, gives NaN."""
    return jnp.where(u[0] < 0.3, -0.5 * jnp.sum(u**2), jnp.nan)


def no_slope(u):
    """A Gaussian whose gradient is NaN in its right half, where its value is a number."""
    return -0.5 * jnp.sum(u**2) + 0.0 * jnp.sqrt(jnp.maximum(0.3 - u[0], 0.0))


def infinite(u):
    """A Gaussian whose right half gives infinity, as a division by zero does."""
    return jnp.where(u[0] < 0.3, -0.5 * jnp.sum(u**2), jnp.inf)


def nowhere(u):
    """No density anywhere."""
    return jnp.nan * u[0]


def cauchy_like(u):
    """Tails of 1 / u^2 in each of three parameters."""
    return -1.0 * jnp.sum(jnp.log1p((u - MEAN) ** 2 / 0.1))


def rugged(u):
    """A Gaussian under ripples so fine that no step of a gradient's length is accepted."""
    return -0.5 * jnp.sum((u / 0.2) ** 2) + 30 * jnp.sum(jnp.sin(3e5 * u))
