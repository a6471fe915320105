"""Noise drawn in part has the covariance of the whole; the limit seen through noise is its integral."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from popinfer.survey.integrated_noise import IntegratedNoise
from popinfer.survey.noise import NoiseModel, QuadraticErrors
from popinfer.survey.selection import LinearCut, MagnitudeLimit, Selection

CORRELATION = np.array([[1.0, 0.5, 0.3], [0.5, 1.0, -0.2], [0.3, -0.2, 1.0]])
SIGMA = np.array([0.3, 0.1, 0.2])
ERRORS = QuadraticErrors(
    np.full(3, 17.0),
    np.full(3, 14.0),
    np.full(3, 20.0),
    np.stack([np.log(SIGMA), 0.2 * np.ones(3), np.zeros(3)], axis=-1),
)
MODEL = NoiseModel.of(ERRORS, CORRELATION)
LIMIT = MagnitudeLimit(2, 14.0, 17.5, 0.05)
MAG = jnp.array([[18.0, 17.3, 17.45], [17.0, 16.4, 16.0]])


@pytest.mark.parametrize("drawn", [(), (0,), (2, 1)])
def test_both_parts_together_have_the_errors_and_their_correlation(drawn):
    noise = IntegratedNoise.split(MODEL, Selection((LIMIT,)), drawn)
    whole = noise.drawn @ noise.drawn.T + noise.left @ noise.left.T
    np.testing.assert_allclose(whole, CORRELATION, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(noise.left[list(drawn)], 0)
    unit = jnp.eye(3)
    steps = [np.asarray(noise.observe(MAG[0], x)[0] - MAG[0]) for x in unit]
    np.testing.assert_allclose(np.array(steps)[: len(drawn)].T, noise.sigma(MAG)[0][:, None] * noise.drawn)
    np.testing.assert_array_equal(steps[len(drawn) :], 0)


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.1, 0.5])
def test_expected_probability_is_the_integral(sigma):
    n, step = np.linspace(-9, 9, 40001, retstep=True)
    density = np.exp(-0.5 * n**2) / np.sqrt(2 * np.pi) * step
    for m in (13.7, 14.05, 15.5, 17.4, 17.5, 17.52, 18.0):
        x = m + sigma * n
        expected = np.sum(density * expit((17.5 - x) / 0.05) * expit((x - 14.0) / 0.05))
        assert float(LIMIT.expected_probability(jnp.array(m), jnp.array(sigma**2))) == pytest.approx(
            expected, abs=4.5e-5
        )


def test_change_of_the_probability_is_its_ratio():
    m = jnp.array([13.9, 14.1, 17.3, 17.6])
    before, after = (m, jnp.full(4, 0.04)), (m[:, None] + jnp.array([-0.1, 0.05]), jnp.full((4, 1), 0.01))
    expected = (
        LIMIT.expected_probability(after[0], jnp.full((4, 2), 0.01))
        / LIMIT.expected_probability(*before)[:, None]
    )
    np.testing.assert_allclose(jnp.exp(LIMIT.log_change(before, after)), expected, rtol=1e-4)


@pytest.mark.parametrize("limits", [(-np.inf, 17.5), (14.0, np.inf)])
def test_an_open_side_changes_nothing(limits):
    limit = MagnitudeLimit(2, *limits, 0.05)
    m = jnp.array([15.0, 17.5, 14.0])
    same = limit.log_change((m, jnp.full(3, 0.01)), (m[:, None], jnp.full((3, 1), 0.01)))
    np.testing.assert_array_equal(same, 0)
    slope = jax.grad(lambda m: jnp.sum(limit.log_change((m, 0 * m), (m[:, None] + 0.1, jnp.zeros((3, 1))))))(
        m
    )
    assert np.all(np.isfinite(slope))


def test_cuts_see_the_drawn_magnitudes_and_the_limit_its_expectation():
    cut = LinearCut((1.0, -1.0, 0.0), 0.6, 0.05)
    noise = IntegratedNoise.split(MODEL, Selection((LIMIT, cut)), (0, 1))
    normals = jnp.array([[0.3, -1.0, 9.9], [1.2, 0.5, -9.9]])
    measured, kept = noise.observe(MAG, normals)
    left = noise.sigma(MAG)[:, 2] ** 2 * np.sum(noise.left[2] ** 2)
    np.testing.assert_allclose(
        kept, LIMIT.expected_probability(measured[:, 2], left) * cut(measured), rtol=1e-12
    )
    assert float(left[0]) < float(noise.sigma(MAG)[0, 2] ** 2)
