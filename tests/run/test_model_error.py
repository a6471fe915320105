"""Errors of the model that a run file allows for."""

import dataclasses

import numpy as np

from popinfer.infer.data import Data
from popinfer.infer.likelihood import Likelihood
from popinfer.model import model_error_cov

DATA_COV = np.array([[80.0, 60.0, 0.0, 0.0], [60.0, 300.0, 0.0, 0.0], [0.0, 0.0, 50.0, 0.0], [0.0] * 4])


def test_each_count_is_off_by_the_fraction_and_unused_ones_by_nothing():
    np.testing.assert_allclose(np.sqrt(np.diag(model_error_cov(0.05, DATA_COV))), [0.05, 0.05, 0.05, 0.0])


def test_errors_are_correlated_as_the_counting_noise_is():
    cov = model_error_cov(0.05, DATA_COV)[:3, :3] / 0.05**2
    sd = np.sqrt(np.diag(DATA_COV))[:3]
    np.testing.assert_allclose(cov, DATA_COV[:3, :3] / np.outer(sd, sd))


def test_model_error_adds_its_own_variance_to_a_parameter():
    # three independent counts and one amplitude: information sum(slope^2 / var_i) of their logarithms
    observed, fraction = np.array([1e3, 1e4, 1e5]), 0.05
    slope, no_halo_noise = np.full((3, 1), 0.1), np.zeros((3, 3))
    data = Data(
        observed=observed,
        data_cov=np.diag(observed),
        model_cov=model_error_cov(fraction, np.diag(observed)),
        slice_of=np.zeros(3, int),
        soft=np.full(3, True),
    )
    info = Likelihood.of(data, no_halo_noise).information(np.log(observed), slope)
    np.testing.assert_allclose(info.fisher, [[np.sum(0.1**2 / (1 / observed + fraction**2))]])
    without = dataclasses.replace(data, model_cov=0.0)
    certain = Likelihood.of(without, no_halo_noise).information(np.log(observed), slope)
    assert certain.fisher[0, 0] > 50 * info.fisher[0, 0]
