"""Pathfinder finds Gaussians exactly, skewed posteriors better than their mode, and gives up in peace."""

import jax
import jax.numpy as jnp
import numpy as np
from targets import COV5, MEAN5, bimodal, cliff, gaussian5, nowhere

from popinfer.infer.laplace import Laplace
from popinfer.infer.pathfinder import _bfgs, _elbo, pathfinder


def skewed(u):
    """Log-gamma distributions: the mean is 0.27 to the left of the mode at zero, sd 0.80."""
    return jnp.sum(2.0 * u - 2.0 * jnp.exp(u))


def test_a_gaussian_is_found_from_a_wrong_start():
    wrong, right = Laplace(MEAN5 + 0.8, 0.5 * np.eye(5)), Laplace(MEAN5, COV5)
    normal = np.random.default_rng(1).normal(size=(1000, 5))
    found = pathfinder(jax.random.key(0), gaussian5, wrong)
    bounds = [_elbo(gaussian5, one, normal) for one in (wrong, found, right)]
    # differences are Kullback-Leibler divergences from the posterior
    assert bounds[2] - bounds[0] > 10 and bounds[2] - bounds[1] < 1
    np.testing.assert_array_less(np.abs(found.mean - MEAN5) / np.sqrt(np.diag(COV5)), 0.3)


def test_result_is_not_worse_than_the_start_by_more_than_noise():
    normal = np.random.default_rng(1).normal(size=(2000, 4))
    mode = Laplace(np.zeros(4), 0.5 * np.eye(4))
    for seed in range(3):
        found = pathfinder(jax.random.key(seed), skewed, mode, n_draws=100)
        assert _elbo(skewed, found, normal) > _elbo(skewed, mode, normal) - 0.3


def test_path_leads_into_a_mode():
    found = pathfinder(jax.random.key(1), bimodal, Laplace(np.zeros(3), np.eye(3)))
    assert abs(abs(found.mean[0]) - 1.5) < 0.1
    np.testing.assert_allclose(np.diag(found.cov)[0], 0.04, rtol=0.5)


def test_no_density_gives_the_start_back():
    start = Laplace(np.zeros(3), np.eye(3))
    assert pathfinder(jax.random.key(1), nowhere, start) is start


def test_region_without_density_is_not_crossed():
    start = Laplace(np.array([-2.0, 0.0, 0.0]), 0.2 * np.eye(3))
    found = pathfinder(jax.random.key(2), cliff, start)
    assert np.isfinite(cliff(jnp.asarray(found.mean)))


def test_quasi_newton_update_knows_the_curvature_along_the_step():
    precision = np.linalg.inv(COV5)
    step = np.linspace(0.1, 0.5, 5)
    for first in (True, False):
        inverse = _bfgs(np.eye(5), step, precision @ step, first=first)
        np.testing.assert_allclose(inverse @ (precision @ step), step)
    np.testing.assert_array_equal(_bfgs(np.eye(5), step, -step, first=True), np.eye(5))
