"""Importance sampling recovers known distributions and knows when it fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import COV, MEAN, cauchy_like, funnel, gaussian, nowhere
from toy import silent

from popinfer.infer.laplace import Laplace
from popinfer.infer.mixture import Mixture
from popinfer.infer.sample import PsisSpec, psis_laplace
from popinfer.infer.sample.importance import _round_sizes


def effective_error(u):
    """Standard error of the mean if every draw were worth a third of an independent one."""
    return np.sqrt(3 * np.diag(COV) / u.shape[0])


def test_psis_recovers_mean_and_covariance():
    near = Mixture.single(Laplace(MEAN + 0.15, 1.2 * COV))
    draws = psis_laplace(jax.random.key(0), gaussian, near, PsisSpec(2000, n_draws=1000), silent)
    assert draws.u.shape == (4, 250, 3)
    u = draws.u.reshape(-1, 3)
    assert draws.attrs["pareto_k"] < 0.7
    assert draws.attrs["importance_ess"] > 400
    assert np.all(np.abs(u.mean(axis=0) - MEAN) < 4 * effective_error(u))
    np.testing.assert_allclose(np.cov(u.T), COV, atol=0.2)


def test_psis_keeps_the_weights_of_all_proposals():
    draws = psis_laplace(
        jax.random.key(0), gaussian, Mixture.single(Laplace(MEAN, COV)), PsisSpec(200, n_draws=40), silent
    )
    assert draws.attrs["log_weight"].shape == (200,)
    lp = [float(gaussian(jnp.asarray(u))) for u in draws.u[0]]
    np.testing.assert_allclose(draws.stats["lp"][0], lp, rtol=1e-6, atol=1e-8)


def shifted_and_wide(u):
    return gaussian((u - MEAN) / 4 + MEAN - 0.8)


@pytest.mark.parametrize("target", [cauchy_like, shifted_and_wide])
def test_psis_knows_when_its_proposal_misses_the_target(target):
    narrow = Mixture.single(Laplace(MEAN, 0.25 * COV))
    draws = psis_laplace(jax.random.key(1), target, narrow, PsisSpec(2000, n_rounds=1), silent)
    assert draws.attrs["pareto_k"] > 0.7


def test_psis_adapts_to_a_target_that_its_first_proposal_misses():
    narrow = Mixture.single(Laplace(MEAN, 0.25 * COV))
    draws = psis_laplace(jax.random.key(1), shifted_and_wide, narrow, PsisSpec(4000), silent)
    assert draws.attrs["pareto_k"] < 0.7
    assert draws.attrs["importance_ess"] > 1000
    u = draws.u.reshape(-1, 3)
    np.testing.assert_allclose(u.mean(axis=0), MEAN + 4 * 0.8, atol=0.6)
    np.testing.assert_allclose(np.cov(u.T) / 16, COV, atol=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_psis_adaptation_does_not_hide_a_funnel(seed):
    start = Mixture.single(Laplace(np.zeros(3), np.diag([9.0, 1.0, 1.0])))
    draws = psis_laplace(jax.random.key(seed), funnel, start, PsisSpec(2000), silent)
    assert draws.attrs["pareto_k"] > 0.7 or draws.attrs["importance_ess"] < 400  # what the gate asks for


def test_psis_that_finds_no_density_anywhere_says_so():
    draws = psis_laplace(
        jax.random.key(2), nowhere, Mixture.single(Laplace(MEAN, COV)), PsisSpec(100, n_draws=40), silent
    )
    assert draws.attrs["pareto_k"] == np.inf


@pytest.mark.parametrize("n", [1, 3, 30, 100, 103])
def test_psis_rounds_add_up_and_none_is_tiny(n):
    sizes = _round_sizes(PsisSpec(n))
    assert sum(sizes) == n
    assert min(sizes) >= min(n, 20)


def two_modes(u):
    """Three quarters of the mass around MEAN, one quarter twelve standard deviations away."""
    away = 12 * jnp.sqrt(jnp.diag(jnp.asarray(COV)))
    return jnp.logaddexp(jnp.log(3.0) + gaussian(u), gaussian(u - away))


def test_psis_shares_its_draws_between_two_known_modes():
    away = 12 * np.sqrt(np.diag(COV))
    start = Mixture((Laplace(MEAN, COV), Laplace(MEAN + away, COV)), np.array([0.4, 0.6]))
    draws = psis_laplace(jax.random.key(3), two_modes, start, PsisSpec(2000), silent)
    assert draws.attrs["pareto_k"] < 0.7
    far = draws.u[..., 0] > MEAN[0] + 0.5 * away[0]
    assert far.mean() == pytest.approx(0.25, abs=0.05)


def test_psis_gives_no_weight_where_the_density_is_not_finite():
    def half(u):
        return jnp.where(u[0] > MEAN[0], gaussian(u), jnp.nan)

    draws = psis_laplace(
        jax.random.key(2), half, Mixture.single(Laplace(MEAN, COV)), PsisSpec(400, n_draws=200), silent
    )
    assert np.all(draws.u[..., 0] > MEAN[0])
