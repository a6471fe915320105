"""Mixtures of Gaussians: where their points lie, and which components draws miss."""

import numpy as np
import pytest

from popinfer.infer.laplace import Laplace
from popinfer.infer.mixture import Mixture
from popinfer.random import root_key

ONE = Laplace(np.array([0.0, 1.0]), np.array([[1.0, 0.3], [0.3, 0.5]]))
OTHER = Laplace(np.array([14.0, -2.0]), np.array([[0.2, 0.0], [0.0, 0.3]]))


@pytest.fixture
def both():
    """Three parts of one and one of the other."""
    return Mixture((ONE, OTHER), np.array([0.75, 0.25]))


def test_main_component_has_the_largest_weight(both):
    assert both.main is ONE
    assert Mixture((ONE, OTHER), np.array([0.2, 0.8])).main is OTHER
    assert Mixture.single(OTHER).main is OTHER


def test_spread_fills_every_component_in_proportion(both):
    points = both.spread(root_key(0), 256)
    near = points[:, 0] < 7
    assert np.sum(~near) == pytest.approx(64, abs=1)
    for part, one in ((points[near], ONE), (points[~near], OTHER)):
        np.testing.assert_allclose(part.mean(axis=0), one.mean, atol=0.15)
        np.testing.assert_allclose(np.cov(part.T), one.cov, atol=0.15)


def test_widened_multiplies_standard_deviations_alone(both):
    wide = both.widened(1.5)
    for old, new in zip(both.components, wide.components, strict=True):
        np.testing.assert_allclose(new.factor, 1.5 * old.factor)
        np.testing.assert_array_equal(new.mean, old.mean)
    np.testing.assert_array_equal(wide.weights, both.weights)


@pytest.mark.parametrize("n", [4, 7, 100])
def test_points_are_shared_out_in_proportion(both, n):
    assert abs(np.sum(both.shared_out(n) == 1) - n / 4) < 1


def test_placed_points_have_their_whitened_coordinates(both):
    z = np.random.default_rng(1).standard_normal((2, 2))
    u = both.placed(np.array([0, 1]), z)
    for one, point, expected in zip((ONE, OTHER), u, z, strict=True):
        np.testing.assert_allclose(np.linalg.solve(one.factor, point - one.mean), expected)


def test_components_that_no_draw_is_near_are_missed(both):
    rng = np.random.default_rng(2)
    near_one = rng.multivariate_normal(ONE.mean, ONE.cov, 200)
    near_other = rng.multivariate_normal(OTHER.mean, OTHER.cov, 3)
    assert both.missed(near_one) == pytest.approx(0.25)
    assert both.missed(near_other) == pytest.approx(0.75)
    assert both.missed(np.concatenate([near_one, near_other])) == 0.0
