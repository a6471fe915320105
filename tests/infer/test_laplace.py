"""Gaussian approximations: flat parameters, where points of a mixture lie, what draws miss."""

import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import NotConvergedError
from popinfer.infer.laplace import Laplace, Mixture, flat_parameters
from popinfer.random import root_key

COV = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]])
MEAN = np.array([0.3, -1.0, 2.0])


def test_factor_is_a_square_root_of_the_covariance():
    approx = Laplace(MEAN, COV)
    np.testing.assert_allclose(approx.factor @ approx.factor.T, COV, rtol=1e-12)


def gaussian(u):
    return -0.5 * (u - MEAN) @ jnp.linalg.solve(jnp.asarray(COV), u - MEAN)


def test_a_gaussian_has_no_flat_direction():
    assert flat_parameters(gaussian, ("a", "b", "c"), Laplace(MEAN, COV)) == []


def test_a_parameter_that_is_flat_to_one_side_is_found():
    def one_sided(u):
        x = u - MEAN
        plateau = jnp.where(x[1] > 0, jnp.tanh(x[1]), x[1])  # saturates above its optimum
        return -0.5 * (x[0] ** 2 + plateau**2 + x[2] ** 2)

    assert flat_parameters(one_sided, ("a", "b", "c"), Laplace(MEAN, np.eye(3))) == ["b"]
    assert flat_parameters(lambda u: one_sided(2 * MEAN - u), ("a", "b", "c"), Laplace(MEAN, np.eye(3))) == [
        "b"
    ]


@pytest.mark.parametrize(("steepness", "flat"), [(0.36, []), (0.3, ["a"])])
def test_a_third_of_the_expected_rise_is_enough(steepness, flat):
    assert (
        flat_parameters(lambda u: -0.5 * steepness * jnp.sum(u**2), ("a",), Laplace(np.zeros(1), np.eye(1)))
        == flat
    )


def test_a_direction_that_ends_in_nan_is_reported():
    def broken(u):
        return jnp.where(u[0] > 2.0, jnp.nan, -0.5 * jnp.sum(u**2))

    assert flat_parameters(broken, ("a", "b"), Laplace(np.zeros(2), np.eye(2))) == ["a"]


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
    points = both.fill(root_key(0), 256)
    near = points[:, 0] < 7
    assert np.sum(~near) == pytest.approx(64, abs=1)
    for part, one in ((points[near], ONE), (points[~near], OTHER)):
        np.testing.assert_allclose(part.mean(axis=0), one.mean, atol=0.15)
        np.testing.assert_allclose(np.cov(part.T), one.cov, atol=0.15)


def test_widened_multiplies_standard_deviations_alone(both):
    wide = both.with_widths_times(1.5)
    for old, new in zip(both.components, wide.components, strict=True):
        np.testing.assert_allclose(new.factor, 1.5 * old.factor)
        np.testing.assert_array_equal(new.mean, old.mean)
    np.testing.assert_array_equal(wide.weights, both.weights)


@pytest.mark.parametrize("n", [4, 7, 100])
def test_points_are_shared_out_in_proportion(both, n):
    assert abs(np.sum(both.component_of_each(n) == 1) - n / 4) < 1


def test_placed_points_have_their_whitened_coordinates(both):
    z = np.random.default_rng(1).standard_normal((2, 2))
    u = both.points_at(np.array([0, 1]), z)
    for one, point, expected in zip((ONE, OTHER), u, z, strict=True):
        np.testing.assert_allclose(np.linalg.solve(one.factor, point - one.mean), expected)


def test_components_that_no_draw_is_near_are_missed(both):
    rng = np.random.default_rng(2)
    near_one = rng.multivariate_normal(ONE.mean, ONE.cov, 200)
    near_other = rng.multivariate_normal(OTHER.mean, OTHER.cov, 3)
    assert both.weight_missed_by(near_one) == pytest.approx(0.25)
    assert both.weight_missed_by(near_other) == pytest.approx(0.75)
    assert both.weight_missed_by(np.concatenate([near_one, near_other])) == 0.0


def test_a_covariance_that_rounding_made_singular_is_mended():
    singular = Laplace(np.zeros(3), np.diag([4.0, 1.0, -1e-18]))
    factor = singular.factor
    np.testing.assert_allclose(factor @ factor.T, singular.cov, atol=1e-9)
    assert np.all(np.diag(factor) > 0)
    flat = Laplace(np.zeros(2), np.ones((2, 2)))
    np.testing.assert_allclose(flat.factor @ flat.factor.T, flat.cov, atol=1e-9)


@pytest.mark.parametrize("cov", [np.full((2, 2), np.nan), -np.eye(2), np.zeros((2, 2)), np.diag([1, np.inf])])
def test_a_covariance_without_any_width_is_refused(cov):
    with pytest.raises(NotConvergedError, match="isn't positive"):
        _ = Laplace(np.zeros(2), cov).factor
