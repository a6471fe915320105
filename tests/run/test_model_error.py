"""Errors of the model that a run file allows for."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from popinfer.infer.laplace import laplace
from popinfer.infer.likelihood import Problem, curvature_adjustment, information
from popinfer.run.build import model_error_cov

OBSERVED = np.array([100.0, 400.0, 50.0])
DATA_COV = np.array([[80.0, 60.0, 0.0], [60.0, 300.0, 0.0], [0.0, 0.0, 50.0]])


def test_each_count_is_off_by_the_fraction():
    cov = model_error_cov(0.05, OBSERVED, DATA_COV)
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), 0.05 * OBSERVED)


def test_errors_are_correlated_as_the_counting_noise_is():
    cov = model_error_cov(0.05, OBSERVED, DATA_COV)
    sd = np.sqrt(np.diag(cov))
    data_sd = np.sqrt(np.diag(DATA_COV))
    np.testing.assert_allclose(cov / np.outer(sd, sd), DATA_COV / np.outer(data_sd, data_sd))


def test_model_error_adds_its_own_variance_to_a_parameter():
    # three independent counts and one amplitude: var = 1 / sum(1 / var_i), with the prior's unit information
    observed, fraction = np.array([1e3, 1e4, 1e5]), 0.05
    problem = Problem(
        names=("amplitude",),
        raw_log_counts=lambda u: jnp.log(jnp.asarray(observed)) + 0.1 * u[0],
        observed=observed,
        data_cov=np.diag(observed),
        model_cov=model_error_cov(fraction, observed, np.diag(observed)),
        slice_of=np.zeros(3, int),
        replicates=lambda u: np.repeat(observed[None], 4, axis=0),
    )
    score_var = np.sum((0.1**2) * (observed + (fraction * observed) ** 2))
    info = information(problem, np.zeros(1))
    np.testing.assert_allclose(info.variability, [[score_var]])
    approx = laplace(curvature_adjustment(info, np.zeros(1)), info)
    h = np.sum(0.1**2 * observed)
    np.testing.assert_allclose(approx.cov, [[1 / (h**2 / score_var + 1)]], rtol=0.01)
    without = information(dataclasses.replace(problem, model_cov=0.0), np.zeros(1))
    assert without.godambe()[0, 0] > 5 * info.godambe()[0, 0]
