"""Markov chains recover known distributions, repeat with their key, and say what the gate needs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import COV, COV5, MEAN, MEAN5, cliff, gaussian, gaussian5, nowhere
from toy import silent

from popinfer.infer.draws import Draws
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.nuts import NutsSpec, SurrogateChains, SurrogateNutsSpec, nuts, surrogate_nuts

WANTED = {"lp", "energy", "diverging", "tree_depth", "n_steps", "acceptance_rate"}
WRONG = Mixture.single(Laplace(MEAN5 + 0.1, 1.5 * COV5))  # whitening need not be perfect


class Gaussian5(eqx.Module):
    """A density as a surrogate's is: an equinox Module with arrays."""

    mean: Any

    def __call__(self, u):
        return gaussian5(u - self.mean + MEAN5)


@pytest.fixture(scope="module")
def exact():
    return nuts(jax.random.key(0), gaussian5, WRONG, NutsSpec(2, 150, 600), silent)


@pytest.fixture(scope="module")
def cheap():
    return surrogate_nuts(
        jax.random.key(0), Gaussian5(jnp.asarray(MEAN5)), WRONG, SurrogateNutsSpec(2, 200, 600)
    )


@pytest.fixture(params=["exact", "cheap"])
def drawn(request):
    return request.getfixturevalue(request.param)


def test_mean_and_covariance_are_recovered(drawn):
    draws = drawn
    assert draws.u.shape == (2, 600, 5)
    u, sd = draws.u.reshape(-1, 5), np.sqrt(np.diag(COV5))
    effective = u.shape[0] / 3
    assert np.all(np.abs(u.mean(axis=0) - MEAN5) < 4 * sd / np.sqrt(effective))
    assert np.all(np.abs(u.std(axis=0) / sd - 1) < 4 / np.sqrt(2 * effective))
    np.testing.assert_allclose(np.cov(u.T) / np.outer(sd, sd), COV5 / np.outer(sd, sd), atol=0.2)


def test_statistics_are_what_the_gate_needs(drawn):
    draws = drawn
    assert set(draws.stats) == WANTED
    assert all(values.shape == (2, 600) for values in draws.stats.values())
    assert draws.stats["diverging"].sum() == 0
    assert 0.65 < draws.stats["acceptance_rate"].mean() < 0.98
    lp = np.array([float(gaussian5(jnp.asarray(u))) for u in draws.u[0, :20]])
    np.testing.assert_allclose(draws.stats["lp"][0, :20], lp, rtol=1e-6, atol=1e-8)


def test_exact_chains_say_what_they_cost(exact):
    assert exact.attrs["gradient_evaluations"] >= exact.stats["n_steps"].sum()
    assert exact.attrs["sampler"] == "nuts_exact"


def test_cheap_chains_repeat_with_their_key_and_share_a_program():
    spec = SurrogateNutsSpec(2, 200, 600)
    one, again, other = (
        surrogate_nuts(jax.random.key(k), Gaussian5(jnp.asarray(MEAN5)), WRONG, spec).u for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    moved = surrogate_nuts(jax.random.key(1), Gaussian5(jnp.asarray(MEAN5 + 0.1)), WRONG, spec).u
    assert np.median(moved - one) == pytest.approx(0.1, abs=0.05)


class TwoFarMaxima(eqx.Module):
    """Unit Gaussians thirty standard deviations apart: a chain stays where it is."""

    place: Any

    def __call__(self, u):
        return jnp.logaddexp(-0.5 * jnp.sum((u - self.place) ** 2), -0.5 * jnp.sum((u + self.place) ** 2))


def test_cheap_chains_go_on_from_where_they_are():
    """What was drawn stays, each chain stays at its own maximum, and all draws together have its moments."""
    place = np.full(3, 9.0)
    parts = tuple(Laplace(sign * place, np.eye(3)) for sign in (1, -1))
    mixture = Mixture(parts, np.array([0.5, 0.5]))
    spec = SurrogateNutsSpec(4, 200, 300)
    first = SurrogateChains.start(jax.random.key(2), TwoFarMaxima(jnp.asarray(place)), mixture, spec)
    longer = first.extended().extended()
    assert longer.draws.u.shape == (4, 900, 3)
    assert all(values.shape == (4, 900) for values in longer.draws.stats.values())
    np.testing.assert_array_equal(longer.draws.u[:, :300], first.draws.u)
    sides = np.sign(longer.draws.u[..., 0])
    assert {1, -1} == set(sides[:, 0]) and np.all(sides == sides[:, :1])
    off = longer.draws.u - sides[..., None] * place
    assert np.all(np.abs(off.mean(axis=(0, 1))) < 4 / np.sqrt(off[..., 0].size / 3))
    assert np.all(np.abs(off.std(axis=(0, 1)) - 1) < 0.1)
    # other random numbers in each stretch: those of an earlier one would draw the chains together
    correlation = np.corrcoef(off[:, 300:600, 0].ravel(), off[:, 600:, 0].ravel())[0, 1]
    assert abs(correlation) < 0.1


def test_cheap_chains_share_one_step_size():
    """Chains of one target accept alike, also where warm-up is short."""
    spec = SurrogateNutsSpec(4, 100, 400)
    chains = SurrogateChains.start(jax.random.key(3), Gaussian5(jnp.asarray(MEAN5)), WRONG, spec)
    assert chains._tuned["step_size"].shape == () and chains._tuned["inverse_mass_matrix"].shape == (5,)
    assert np.ptp(chains.draws.stats["acceptance_rate"].mean(axis=1)) < 0.03


@pytest.mark.parametrize("wrong", [np.nan, 1.0])
def test_chains_that_say_nothing_are_worth_nothing(wrong):
    u = np.random.default_rng(0).normal(size=(4, 100, 2))
    assert Draws(u, {}).smallest_ess > 100
    u[..., 1] = wrong
    assert Draws(u, {}).smallest_ess == 0


def test_batched_chains_give_the_draws_of_chains_in_sequence():
    approx, seen, draws = Mixture.single(Laplace(MEAN, COV)), {}, {}
    for mode in ("sequence", "vmap"):
        lengths, calls = NutsSpec(3, 30, 20, chains=mode), seen.setdefault(mode, [])
        draws[mode] = nuts(jax.random.key(5), gaussian, approx, lengths, lambda *a, c=calls: c.append(a[:2]))
    one, other = draws["sequence"], draws["vmap"]
    np.testing.assert_allclose(one.u, other.u, rtol=1e-6, atol=1e-8)
    assert not np.array_equal(one.u[0], one.u[1])
    assert set(one.stats) == set(other.stats)
    np.testing.assert_array_equal(one.stats["n_steps"], other.stats["n_steps"])
    assert one.attrs["gradient_evaluations"] == other.attrs["gradient_evaluations"]
    # progress counts the steps of all chains either way
    assert seen["sequence"] == [(i, 150) for i in range(1, 151)]
    assert seen["vmap"] == [(i, 150) for i in range(3, 151, 3)]
    assert NutsSpec(3, 30, 20).n_steps == 150


def test_region_without_density_is_never_entered_and_counts_as_divergence():
    start = Mixture.single(Laplace(np.array([-2.0, 0.0, 0.0]), 0.2 * np.eye(3)))
    draws = nuts(jax.random.key(4), cliff, start, NutsSpec(2, 50, 150), silent)
    assert np.all(np.isfinite(draws.u)) and np.all(draws.u[..., 0] < 0.3)
    assert draws.stats["diverging"].any()


def test_start_without_density_stays_there_and_says_so():
    draws = nuts(jax.random.key(4), nowhere, Mixture.single(Laplace(MEAN, COV)), NutsSpec(2, 10, 10), silent)
    assert draws.stats["diverging"].all()
    assert np.ptp(draws.u, axis=1).max() == 0
