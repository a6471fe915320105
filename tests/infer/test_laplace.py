"""The Laplace approximation, its polishing and the search for flat directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.infer.laplace import Laplace, flat_directions, polish

COV = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]])
MEAN = np.array([0.3, -1.0, 2.0])


def test_factor_is_a_square_root_of_the_covariance():
    approx = Laplace(MEAN, COV)
    np.testing.assert_allclose(approx.factor @ approx.factor.T, COV, rtol=1e-12)


def gaussian(u):
    return -0.5 * (u - MEAN) @ jnp.linalg.solve(jnp.asarray(COV), u - MEAN)


@pytest.mark.parametrize(
    "start", [MEAN, MEAN + 0.5, np.array([5.0, 5.0, -5.0])], ids=["there", "near", "far"]
)
def test_polish_reaches_the_mode(start):
    found = polish(jax.jit(jax.value_and_grad(gaussian)), Laplace(start, COV))
    np.testing.assert_allclose(found.mean, MEAN, atol=0.05)
    np.testing.assert_array_equal(found.cov, COV)


def test_polish_survives_a_wrong_metric():
    found = polish(jax.jit(jax.value_and_grad(gaussian)), Laplace(np.zeros(3), 4 * COV), max_steps=40)
    assert float(gaussian(jnp.asarray(found.mean))) > -0.1


def test_a_gaussian_has_no_flat_direction():
    assert flat_directions(gaussian, ("a", "b", "c"), Laplace(MEAN, COV)) == []


def test_a_flat_parameter_is_found_by_name_and_side():
    def one_sided(u):
        x = u - MEAN
        plateau = jnp.where(x[1] > 0, jnp.tanh(x[1]), x[1])  # saturates above its optimum
        return -0.5 * (x[0] ** 2 + plateau**2 + x[2] ** 2)

    found = flat_directions(one_sided, ("a", "b", "c"), Laplace(MEAN, np.eye(3)))
    assert [(f.name, f.side) for f in found] == [("b", 1)]
    assert found[0].rise == pytest.approx(0.5 * np.tanh(3) ** 2)
    assert found[0].expected == pytest.approx(4.5)


def test_a_direction_that_ends_in_nan_is_reported():
    def broken(u):
        return jnp.where(u[0] > 2.0, jnp.nan, -0.5 * jnp.sum(u**2))

    found = flat_directions(broken, ("a", "b"), Laplace(np.zeros(2), np.eye(2)))
    assert [(f.name, f.side) for f in found] == [("a", 1)]
