"""Mixtures of Gaussians: densities, draws, covariance, and adaptation to weighted draws."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from popinfer.infer.laplace import Laplace
from popinfer.infer.mixture import DOF, Mixture
from popinfer.random import root_key

ONE = Laplace(np.array([0.0, 1.0]), np.array([[1.0, 0.3], [0.3, 0.5]]))
OTHER = Laplace(np.array([4.0, -2.0]), np.array([[0.2, 0.0], [0.0, 0.3]]))


@pytest.fixture
def both():
    """Three parts of one and one of the other."""
    return Mixture((ONE, OTHER), np.array([0.75, 0.25]))


def test_density_is_that_of_scipy(both):
    u = np.random.default_rng(1).normal(size=(20, 2)) * 3
    parts = [
        w * multivariate_t.pdf(u, one.mean, 1.2**2 * one.cov, DOF)
        for w, one in zip(both.weights, both.components, strict=True)
    ]
    np.testing.assert_allclose(np.exp(both.log_density(u, 1.2)), np.sum(parts, axis=0), rtol=1e-10)


def test_draws_follow_the_density(both):
    """Importance weights of draws against a wider mixture have mean one."""
    rng = np.random.default_rng(2)
    u = both.draw(rng, 40_000, scale=1.3)
    weight = np.exp(both.log_density(u) - both.log_density(u, 1.3))
    assert weight.mean() == pytest.approx(1.0, abs=4 * weight.std() / 200)
    near_other = np.sum((u - OTHER.mean) ** 2, axis=1) < 0.1
    expected = both.log_density(OTHER.mean[None], 1.3)
    assert near_other.mean() == pytest.approx(0.1 * np.pi * np.exp(expected[0]), rel=0.1)


def test_moments_within_components_leave_out_how_far_they_are_apart(both):
    found = both.within()
    np.testing.assert_allclose(found.mean, [1.0, 0.25])
    np.testing.assert_allclose(found.cov, 0.75 * ONE.cov + 0.25 * OTHER.cov)


def test_spread_fills_every_component_in_proportion(both):
    points = both.spread(root_key(0), 64)
    assert np.sum(points[:, 0] > 2.5) == pytest.approx(16, abs=1)
    np.testing.assert_allclose(points[points[:, 0] < 2.5].mean(axis=0), ONE.mean, atol=0.2)


def test_another_main_component_leaves_the_other_modes(both):
    main = both.main
    changed = both.with_main(Laplace(main.mean + 1.0, main.cov))
    np.testing.assert_array_equal(changed.main.mean, main.mean + 1.0)
    assert changed.components[1] is both.components[1]
    np.testing.assert_array_equal(changed.weights, both.weights)


def test_adaptation_finds_weights_and_places_of_two_modes(both):
    rng = np.random.default_rng(4)
    wrong = Mixture(
        (Laplace(ONE.mean + 0.5, 2 * ONE.cov), Laplace(OTHER.mean - 0.5, 2 * OTHER.cov)), np.array([0.3, 0.7])
    )
    for _ in range(3):
        u = wrong.draw(rng, 3000)
        weight = np.exp(both.log_density(u) - wrong.log_density(u))
        wrong = wrong.adapted(u, weight / weight.sum())
    np.testing.assert_allclose(wrong.weights, [0.75, 0.25], atol=0.03)
    np.testing.assert_allclose(wrong.components[0].mean, ONE.mean, atol=0.1)
    np.testing.assert_allclose(wrong.components[1].mean, OTHER.mean, atol=0.1)


def test_adaptation_survives_one_draw_with_all_the_weight():
    u = np.random.default_rng(0).multivariate_normal(ONE.mean, ONE.cov, size=400)
    weights = np.zeros(400)
    weights[7] = 1.0
    adapted = Mixture.single(ONE).adapted(u, weights).main
    assert np.all(np.isfinite(adapted.factor))
    assert np.all(np.diag(adapted.cov) > 0.05 * np.diag(ONE.cov))


def test_a_component_without_draws_goes_on_proposing(both):
    u = np.random.default_rng(5).multivariate_normal(ONE.mean, ONE.cov, size=400)
    adapted = both.adapted(u, np.full(400, 1 / 400))
    assert 0.01 < adapted.weights[1] < 0.05
    np.testing.assert_allclose(adapted.components[1].mean, OTHER.mean)
