"""The Laplace approximation, its polishing and the search for flat directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TRUTH, toy

from popinfer.infer.laplace import Laplace, flat_directions, laplace, polish
from popinfer.infer.likelihood import Adjustment, adjusted_log_density, curvature_adjustment, information

COV = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]])
MEAN = np.array([0.3, -1.0, 2.0])


def gaussian(u):
    return -0.5 * (u - MEAN) @ jnp.linalg.solve(jnp.asarray(COV), u - MEAN)


@pytest.fixture(scope="module")
def exact():
    """A problem whose data lie exactly on the model, its information and its adjustment."""
    model = toy()
    problem = model.problem(model.kernels @ model.bins(TRUTH))
    info = information(problem, TRUTH)
    return problem, info, curvature_adjustment(info, TRUTH)


def test_covariance_is_the_inverse_hessian_of_the_adjusted_posterior(exact):
    problem, info, adjustment = exact
    hessian = jax.hessian(adjusted_log_density(problem, adjustment))(jnp.asarray(TRUTH))
    np.testing.assert_allclose(laplace(adjustment, info).cov, np.linalg.inv(-hessian), rtol=1e-7)


def test_mean_and_covariance_are_the_analytic_posterior_of_a_linear_gaussian_problem(exact):
    _, info, adjustment = exact
    approx = laplace(adjustment, info)
    likelihood = adjustment.matrix.T @ info.sensitivity @ adjustment.matrix
    cov = np.linalg.inv(likelihood + np.eye(3))
    np.testing.assert_allclose(approx.cov, cov, rtol=1e-9)
    np.testing.assert_allclose(approx.mean, cov @ likelihood @ TRUTH, rtol=1e-9)
    np.testing.assert_allclose(approx.factor @ approx.factor.T, cov, rtol=1e-9)


def test_mean_is_a_newton_step_from_a_fit_that_the_prior_pulled(exact):
    problem, *_ = exact
    u_fit = TRUTH + 0.02
    info = information(problem, u_fit)
    adjustment = curvature_adjustment(info, u_fit)
    density = adjusted_log_density(problem, adjustment)
    approx = laplace(adjustment, info)
    step = approx.cov @ np.asarray(jax.grad(density)(jnp.asarray(u_fit)))
    np.testing.assert_allclose(approx.mean, u_fit + step, rtol=1e-9)


def test_no_information_leaves_the_prior():
    info = information(toy(level=-30.0, mc_share=0.0).problem(np.full(16, 1e-12)), np.zeros(3))
    approx = laplace(Adjustment(np.zeros(3), np.eye(3), np.zeros(3), np.eye(3)), info)
    np.testing.assert_allclose(approx.cov, np.eye(3), atol=1e-6)


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
