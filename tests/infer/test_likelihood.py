"""Score, sensitivity, variability and the width correction on a problem with known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TRUTH, toy

from popinfer.infer.likelihood import (
    REACH,
    RIDGE,
    Adjustment,
    adjusted_log_density,
    curvature_adjustment,
    information,
    overcounting,
    poisson,
)


@pytest.fixture(scope="module")
def problem():
    model = toy()
    return model.problem(model.draw(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def info(problem):
    return information(problem, TRUTH)


def test_poisson_is_zero_at_the_data_and_negative_elsewhere():
    d = np.array([5.0, 40.0, 700.0])
    assert float(poisson(jnp.log(d), d)) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(jax.grad(poisson)(jnp.log(d), d), 0, atol=1e-10)
    assert float(poisson(jnp.log(d) + 0.1, d)) < 0


def test_score_and_sensitivity_are_derivatives_of_the_composite(problem, info):
    np.testing.assert_allclose(info.score, jax.grad(problem.composite)(jnp.asarray(TRUTH)), rtol=1e-9)
    expected = np.exp(problem.log_counts(jnp.asarray(TRUTH)))
    fisher = jax.hessian(lambda u: poisson(problem.log_counts(u), expected))(jnp.asarray(TRUTH))
    np.testing.assert_allclose(info.sensitivity, -fisher, rtol=1e-8)


def test_variability_is_the_scores_variance_over_catalogs(problem, info):
    model, rng = toy(), np.random.default_rng(4)
    jacobian = np.asarray(jax.jacfwd(problem.log_counts)(jnp.asarray(TRUTH)))
    expected = np.exp(problem.log_counts(jnp.asarray(TRUTH)))
    scores = np.array([jacobian.T @ (model.draw(rng) - expected) for _ in range(6000)])
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=4.5 * scores.std(axis=0).max() / np.sqrt(6000))
    scale = np.sqrt(np.outer(*[np.diag(info.variability_data)] * 2))
    np.testing.assert_allclose(np.cov(scores.T) / scale, info.variability_data / scale, atol=0.06)


def test_monte_carlo_variability_is_the_share_that_was_put_in(info):
    assert info.monte_carlo_share() == pytest.approx(0.1 / 1.1, rel=0.1)


def test_slices_add_their_monte_carlo_variability(problem, info):
    half = np.arange(len(problem.observed)) % 2
    split = information(type(problem)(**(problem.__dict__ | {"slice_of": half})), TRUTH)
    jacobian = np.asarray(jax.jacfwd(problem.log_counts)(jnp.asarray(TRUTH)))
    counts = problem.replicates(TRUTH)
    parts = [np.cov((counts[:, half == i] @ jacobian[half == i]).T) for i in (0, 1)]
    np.testing.assert_allclose(split.variability_model, sum(parts), rtol=1e-9)
    assert info.freedom == len(counts) - 1 < split.freedom <= 2 * (len(counts) - 1)
    assert np.all(np.diag(split.variability_model) < np.diag(info.variability_model))


def test_few_replicates_do_not_overstate_what_is_known(problem, info):
    few = [
        information(type(problem)(**(problem.__dict__ | {"replicates": lambda u, r=r: r})), TRUTH)
        for r in np.split(problem.replicates(TRUTH), 300)
    ]
    inverse = np.mean([np.linalg.inv(one.variability - one.variability_data) for one in few], axis=0)
    ratio = inverse @ info.variability_model
    np.testing.assert_allclose(np.trace(ratio) / 3, 1.0, atol=0.15)


def test_adjustment_gives_the_sandwich_information(info):
    a = curvature_adjustment(info, TRUTH).matrix
    h = info.sensitivity + RIDGE * np.eye(3)
    v = info.variability + RIDGE * np.eye(3)
    np.testing.assert_allclose(a.T @ h @ a, h @ np.linalg.solve(v, h), rtol=1e-8)
    assert np.all(np.linalg.eigvals(a) < 1)  # overlapping kernels: the composite is too narrow


def test_gradient_at_the_fit_is_the_optimally_weighted_score(problem, info):
    adjustment = curvature_adjustment(info, TRUTH)
    gradient = jax.grad(adjusted_log_density(problem, adjustment))(jnp.asarray(TRUTH))
    h, v = (x + RIDGE * np.eye(3) for x in (info.sensitivity, info.variability))
    np.testing.assert_allclose(gradient, h @ np.linalg.solve(v, info.score) - TRUTH, rtol=1e-7)


def test_sandwich_covers_the_truth_where_the_composite_does_not():
    """Chi-square of the truth over catalogs: three on average when the width is right."""
    model, rng = toy(level=5.0, mc_share=0.0), np.random.default_rng(9)
    jacobian = jax.jit(jax.jacfwd(model.log_counts))
    sandwich, naive = [], []
    for _ in range(150):
        info = information(model.problem(model.draw(rng)), TRUTH, jacobian)
        shift = np.linalg.solve(info.sensitivity, info.score)
        sandwich.append(shift @ info.godambe() @ shift)
        naive.append(shift @ info.sensitivity @ shift)
    assert np.mean(sandwich) == pytest.approx(3, abs=0.7)
    assert np.mean(naive) > 6


def test_independent_counts_need_no_adjustment():
    model = toy(mc_share=0.0, overlap=False)
    info = information(model.problem(model.bins(TRUTH)), TRUTH)
    np.testing.assert_allclose(curvature_adjustment(info, TRUTH).matrix, np.eye(3), atol=1e-8)
    assert overcounting(info) == pytest.approx(1, rel=1e-6)


def test_overcounting_says_how_often_a_galaxy_is_counted():
    model = toy(mc_share=0.0, overlap=False)
    fourfold = type(model)(model.design, np.tile(model.kernels, (4, 1)), model.level)
    info = information(fourfold.problem(fourfold.kernels @ model.bins(TRUTH)), TRUTH)
    assert overcounting(info) == pytest.approx(4, rel=0.01)


def test_adjusted_density_is_the_composite_at_the_moved_point_a_slope_and_the_prior(problem):
    slope = np.array([3.0, 0.0, -1.0])
    density = adjusted_log_density(
        problem, Adjustment(TRUTH, np.diag([0.5, 0.7, 0.9]), slope, np.zeros((3, 3)))
    )
    shift = np.array([0.1, -0.2, 0.3])
    u, moved = TRUTH + shift, TRUTH + np.array([0.05, -0.14, 0.27])
    expected = float(problem.composite(jnp.asarray(moved))) + slope @ shift - 0.5 * u @ u
    assert float(density(jnp.asarray(u))) == pytest.approx(expected)


def test_the_linear_term_acts_near_the_center_and_fades_far_away(problem, info):
    slope = np.array([30.0, -20.0, 10.0])
    adjustment = dataclasses.replace(curvature_adjustment(info, TRUTH), slope=slope)
    sd = 1 / np.sqrt(np.linalg.eigvalsh(adjustment.metric)[0])
    direction = np.linalg.eigh(adjustment.metric)[1][:, 0]

    def linear(distance):
        u = jnp.asarray(TRUTH + distance * sd * direction)
        return float(adjustment(lambda _: jnp.zeros(()), u))

    assert linear(0.5) == pytest.approx(0.5 * sd * slope @ direction, rel=0.003)
    assert abs(linear(40.0)) < 1e-3
    peak = REACH / np.sqrt(np.e) * sd * abs(slope @ direction)
    assert max(abs(linear(x)) for x in np.linspace(0, 40, 81)) == pytest.approx(peak, rel=0.01)
