"""Tempered particles recover known distributions, modes and evidence, and say where they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import (
    COV5,
    LOG_EVIDENCE5,
    MEAN5,
    MODE_SD,
    MODE_WEIGHTS,
    MODES,
    bimodal,
    cliff,
    gaussian5,
    nowhere,
)
from toy import silent

from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.tempered import SmcSpec, _factors, _temper, smc

FIVE, THREE = (Mixture.single(Laplace(np.zeros(n), np.eye(n))) for n in (5, 3))


@pytest.fixture(scope="module")
def drawn():
    return smc(jax.random.key(0), gaussian5, FIVE, SmcSpec(1000), silent)


def test_mean_covariance_and_evidence_are_recovered(drawn):
    assert drawn.u.shape == (4, 250, 5)
    u, sd = drawn.u.reshape(-1, 5), np.sqrt(np.diag(COV5))
    assert np.all(np.abs(u.mean(axis=0) - MEAN5) < 4 * sd / np.sqrt(500))
    assert np.all(np.abs(u.std(axis=0) / sd - 1) < 4 / np.sqrt(2 * 500))
    np.testing.assert_allclose(np.cov(u.T) / np.outer(sd, sd), COV5 / np.outer(sd, sd), atol=0.2)
    error = drawn.attrs["log_evidence_sd"]
    assert 0.03 < error < 0.12
    assert drawn.attrs["log_evidence"] == pytest.approx(LOG_EVIDENCE5, abs=3 * error)
    assert drawn.attrs["power"] == 1.0


def test_statistics_are_what_the_gate_needs(drawn):
    assert {"lp", "ancestor", "acceptance_rate", "n_accepted", "undefined"} == set(drawn.stats)
    assert not drawn.stats["undefined"].any()
    assert all(values.shape == (4, 250) for values in drawn.stats.values())
    lp = np.array([float(gaussian5(jnp.asarray(u))) for u in drawn.u[0, :20]])
    np.testing.assert_allclose(drawn.stats["lp"][0, :20], lp, rtol=1e-6, atol=1e-8)
    assert 0.6 < drawn.attrs["mutation_acceptance"] < 0.95
    assert drawn.attrs["mutation_acceptance"] == pytest.approx(drawn.stats["acceptance_rate"].mean())
    assert drawn.stats["ancestor"].min() >= 0 and drawn.stats["ancestor"].max() < 1000


def test_both_modes_are_found_with_their_weights_and_the_evidence():
    draws = smc(jax.random.key(2), bimodal, THREE, SmcSpec(2000), silent)
    x = draws.u[..., 0].ravel()
    share = np.mean(x > 0)
    # the prior's draws on either side decide: their counting noise is the error
    assert share == pytest.approx(MODE_WEIGHTS[1], abs=4 * np.sqrt(0.21 / 400))
    for mode, side in zip(MODES, (x < 0, x > 0), strict=True):
        assert x[side].mean() == pytest.approx(mode, abs=0.05)
        assert x[side].std() == pytest.approx(MODE_SD, rel=0.15)
    assert draws.attrs["log_evidence"] == pytest.approx(3 * np.log(MODE_SD), abs=0.2)


def test_particles_repeat_with_their_key():
    one, again, other = (
        smc(jax.random.key(k), bimodal, THREE, SmcSpec(60, n_moves=1), silent).u for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_batched_particles_end_where_particles_in_sequence_do():
    # 60 particles are three full batches and a part of one
    one, other = (
        smc(jax.random.key(4), gaussian5, FIVE, SmcSpec(60, particles=mode), silent)
        for mode in ("sequence", "vmap")
    )
    np.testing.assert_allclose(one.u, other.u, rtol=1e-6, atol=1e-8)
    for name, values in one.stats.items():
        np.testing.assert_allclose(values, other.stats[name], rtol=1e-6, err_msg=name)
    assert one.attrs["log_evidence"] == pytest.approx(other.attrs["log_evidence"], rel=1e-6)


@pytest.mark.slow
def test_evidence_scatters_as_it_says_and_around_the_truth():
    runs = [smc(jax.random.key(100 + k), gaussian5, FIVE, SmcSpec(120), silent).attrs for k in range(6)]
    values = np.array([attrs["log_evidence"] for attrs in runs])
    claimed = np.mean([attrs["log_evidence_sd"] for attrs in runs])
    assert 0.2 * claimed < values.std(ddof=1) < 1.7 * claimed
    assert values.mean() == pytest.approx(LOG_EVIDENCE5, abs=4 * claimed / np.sqrt(6))


def test_metric_of_a_particle_does_not_depend_on_where_it_is():
    u = np.random.default_rng(0).normal(size=(40, 3))
    moved = u.copy()
    moved[6] += 5.0
    before, after = _factors(u, np.full(40, 1 / 40)), _factors(moved, np.full(40, 1 / 40))
    np.testing.assert_array_equal(before[6], after[6])
    assert not np.allclose(before[7], after[7])


@pytest.mark.parametrize("alive", [[3], [3, 5, 7], [2, 4, 6, 8]])
def test_metric_exists_when_few_particles_carry_all_the_weight(alive):
    u, weight = np.random.default_rng(0).normal(size=(40, 3)), np.zeros(40)
    weight[alive] = 1 / len(alive)
    assert np.all(np.isfinite(_factors(u, weight)))


def test_progress_reaches_the_end():
    seen = []
    smc(jax.random.key(1), gaussian5, FIVE, SmcSpec(60), lambda *a: seen.append(a[:2]))
    assert seen[-1] == (100, 100)
    assert [s for s, _ in seen] == sorted(s for s, _ in seen)


def test_region_without_density_is_never_entered():
    draws = smc(jax.random.key(3), cliff, THREE, SmcSpec(400), silent)
    x = draws.u[..., 0].ravel()
    assert x.max() < 0.3 and draws.attrs["power"] == 1.0
    # mean of a standard normal cut at 0.3, and the prior mass that is left
    assert x.mean() == pytest.approx(-0.6171, abs=0.2)
    assert draws.attrs["log_evidence"] == pytest.approx(np.log(0.6179), abs=0.15)


def test_no_density_anywhere_ends_at_the_prior():
    draws = smc(jax.random.key(3), nowhere, THREE, SmcSpec(40), silent)
    assert draws.attrs["power"] == 0.0 and draws.attrs["n_stages"] == 0
    assert np.all(draws.stats["n_accepted"] == 0)


def test_power_rises_until_the_wanted_share_is_left():
    log_likelihood = -0.5 * np.linspace(0, 60, 500) ** 2
    log_weight, power = _temper(log_likelihood, 0.0, 0.5)
    weight = np.exp(log_weight - log_weight.max())
    assert weight.sum() ** 2 / np.sum(weight**2) == pytest.approx(250, rel=1e-3)
    assert 0 < power < 1
    assert _temper(np.zeros(10), 0.3, 0.5)[1] == 1.0


def test_particles_outside_the_support_do_not_stop_the_tempering():
    log_likelihood = np.where(np.arange(100) < 10, 0.0, -np.inf)
    log_weight, power = _temper(log_likelihood, 0.0, 0.6)
    assert power == 1.0
    assert np.isfinite(log_weight).sum() == 10
