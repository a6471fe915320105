"""The search finds every maximum that holds mass, and says which starts led where."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import N_BIN, N_PAR, TRUTH, ToyCounts, toy

from popinfer.errors import InputError
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.search import find_maxima, follow_maxima, likelihood_at, scale_of

PEAK = 0.8
RIGHT, LEFT = np.array([0.5, 0.0, 0.0]), np.array([-0.5, 0.0, 0.0])


class Folded(ToyCounts):
    """The toy with the first parameter's square, leaning a little to its positive side, in place of it."""

    def of_batch(self, batch, u):
        first = u[0] ** 2 / (2 * PEAK) + 0.02 * u[0]
        return jnp.where(u[0] < self.edge, super().of_batch(batch, u.at[0].set(first)), jnp.nan)


MODEL = toy(noise=0.05)


def folded(edge=np.inf):
    plain = MODEL.counts(8)
    names = (field.name for field in dataclasses.fields(plain))
    return Folded(**({name: getattr(plain, name) for name in names} | {"edge": jnp.asarray(edge, float)}))


def data():
    """A survey at u = (PEAK, 0, 0)."""
    quiet = dataclasses.replace(folded(), batches=jnp.ones((2, N_BIN)))
    return MODEL.data(np.exp(log_counts_and_jacobian(quiet, jnp.asarray([PEAK, 0.0, 0.0]))[0]))


def signs(ends):
    return [None if end is None else int(np.sign(end.approx.mean[0])) for end in ends]


@pytest.fixture(scope="module")
def both():
    return find_maxima(folded(), data(), [RIGHT, LEFT])


def test_both_maxima_are_found_from_starts_on_either_side(both):
    assert both.settled
    assert sorted(signs(both.maxima)) == [-1, 1]
    assert signs(both.ends) == [1, -1]
    assert both.maxima[0].log_density >= both.maxima[1].log_density


def test_a_maximum_along_the_ridge_is_found_from_one_side():
    """The widest direction of the first maximum leads to the other."""
    one = find_maxima(ridge(), MODEL.data(), [np.array([0.0, 1.0, 0.0])])
    assert len(one.maxima) == 2
    assert sorted(np.sign(maximum.approx.mean[1]) for maximum in one.maxima) == [-1, 1]
    assert len(one.ends) == 1 and np.sign(one.ends[0].approx.mean[1]) == 1


class Ridge(ToyCounts):
    """The counts hardly know the second parameter, but for two troughs, at -1 and 1."""

    def of_batch(self, batch, u):
        trough = 0.04 * (u[1] ** 2 - 1.0)
        known = jnp.stack([u[0], jnp.asarray(TRUTH[1]), u[2]])
        return super().of_batch(batch, known) + trough * jnp.where(jnp.arange(16) % 2 == 0, 1.0, -1.0)


def ridge():
    plain = MODEL.counts(8)
    return Ridge(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)})


def test_maxima_are_level_and_their_covariance_is_that_of_the_information(both):
    density = LogDensity.of(folded(), both.likelihood)
    gradient = jax.jit(jax.grad(density))
    for maximum in both.maxima:
        approx = maximum.approx
        slope = np.asarray(gradient(jnp.asarray(approx.mean)))
        assert np.abs(approx.cov @ slope / np.sqrt(np.diag(approx.cov))).max() < 0.1
        log_m, jacobian = log_counts_and_jacobian(folded(), jnp.asarray(approx.mean))
        fisher = both.likelihood.information(np.asarray(log_m), np.asarray(jacobian)).fisher
        np.testing.assert_allclose(np.linalg.inv(approx.cov), fisher + np.eye(N_PAR), rtol=0.05, atol=0.5)
        assert maximum.log_density == pytest.approx(float(density(jnp.asarray(approx.mean))), abs=0.05)


def test_weights_of_the_mixture_are_the_masses(both):
    """Masses of both sides by random points of a Gaussian around each."""
    density = jax.jit(jax.vmap(LogDensity.of(folded(), both.likelihood)))
    masses = []
    for maximum in both.maxima:
        z = np.random.default_rng(1).standard_normal((2000, N_PAR))
        u = maximum.approx.mean + z @ maximum.approx.factor.T
        log_q = -0.5 * np.sum(z**2, axis=1) - np.log(np.diag(maximum.approx.factor)).sum()
        masses.append(np.mean(np.exp(density(jnp.asarray(u)) - log_q - both.maxima[0].log_mass)))
    np.testing.assert_allclose(both.mixture.weights, masses / np.sum(masses), atol=0.05)
    assert min(both.mixture.weights) > 0.02


def test_a_start_that_does_not_arrive_leads_nowhere():
    """From beyond an edge of the model there is no way to climb, wherever the start stands in the list."""
    counts, beyond = folded(edge=2.0), np.array([3.0, 0.0, 0.0])
    assert signs(find_maxima(counts, data(), [RIGHT, beyond]).ends) == [1, None]
    found = find_maxima(counts, data(), [RIGHT, beyond, LEFT])
    assert signs(found.ends) == [1, None, -1]


def test_starts_without_a_number_are_said():
    counts, beyond = folded(edge=2.0), np.array([3.0, 0.0, 0.0])
    with pytest.raises(InputError, match="none of the search's 2 starting points"):
        find_maxima(counts, data(), [beyond, beyond])
    assert signs(find_maxima(counts, data(), [beyond, RIGHT]).ends) == [None, 1]


def test_a_climb_ends_where_another_one_went(monkeypatch, both):
    """Starts beside a known maximum cost one evaluation each, and no derivative."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return log_counts_and_jacobian(*arguments)

    monkeypatch.setattr("popinfer.infer.search.log_counts_and_jacobian", counted)
    find_maxima(folded(), data(), [RIGHT])
    alone = len(calls)
    beside = next(m.approx.mean for m in both.maxima if m.approx.mean[0] > 0) + 1e-3
    ends = find_maxima(folded(), data(), [RIGHT, beside, beside]).ends
    assert signs(ends) == [1, 1, 1]
    assert len(calls) == 2 * alone


def test_covariance_is_that_of_the_best_maximum(both):
    expected = likelihood_at(folded(), data(), both.maxima[0].approx.mean)
    noise = np.sqrt(np.diag(expected.data.counting_cov))
    np.testing.assert_allclose(np.sqrt(np.diag(both.likelihood.data.counting_cov)), noise, rtol=0.02)


def test_rounds_are_reported_until_nothing_moves():
    seen = []
    find_maxima(folded(), data(), [RIGHT], lambda step, moved: seen.append((step, moved)))
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] < 1.0


def test_distance_is_in_standard_deviations(both):
    approx = both.maxima[0].approx
    z = np.array([0.3, -1.0, 2.0])
    assert both.maxima[0].distance(approx.mean + approx.factor @ z) == pytest.approx(np.linalg.norm(z))


def test_maxima_of_few_halos_are_followed_onto_more(both):
    few = find_maxima(folded().first(4), data(), [RIGHT, LEFT])
    followed = follow_maxima(folded(), data(), few.mixture)
    assert followed.settled and len(followed.maxima) == len(both.maxima) == 2
    for maximum in followed.maxima:
        near = min(both.maxima, key=lambda other: other.distance(maximum.approx.mean))
        assert near.distance(maximum.approx.mean) < 0.2
        assert maximum.log_density == pytest.approx(near.log_density, abs=0.05)
    moved = [min(m.distance(p.mean) for m in both.maxima) for p in few.mixture.components]
    assert max(moved) > 0.2  # else there was nothing to follow


def test_distances_of_many_parameters_are_judged_by_the_radius_of_a_gaussian():
    assert [scale_of(n) for n in (1, 4, 16, 64)] == [1.0, 1.0, 2.0, 4.0]
