"""Posterior predictive p-values of the chi-square, on surveys that the model makes itself."""

import dataclasses

import numpy as np
import pytest
from toy import N_PAR, TRUTH, Toy, toy

from popinfer.infer.data import Data, eigenmodes
from popinfer.infer.goodness import chi_square_of_draws

HALVES = np.arange(16) // 8


def in_two_slices(model, observed) -> Data:
    """The toy with its counts split into two independent slices."""
    data = model.data(observed)
    apart = np.where(HALVES[:, None] == HALVES, data.data_cov, 0.0)
    return dataclasses.replace(data, slice_of=HALVES, data_cov=apart)


def checked(model: Toy, data: Data, rng, n_draws: int = 40):
    """Check of draws from the Gaussian posterior around the truth."""
    likelihood = model.likelihood(data)
    info = likelihood.information(model.log_counts(TRUTH), model.jacobian())
    cov = np.linalg.inv(info.fisher + np.eye(N_PAR))
    mean = TRUTH + cov @ (info.gradient - TRUTH)
    draws = rng.multivariate_normal(mean, cov, size=n_draws)
    log_counts = np.log(np.stack([model.kernels @ model.bins(u) for u in draws]))
    return likelihood, log_counts, chi_square_of_draws(likelihood, log_counts)


@pytest.fixture(scope="module")
def surveys():
    """p-values (all, slice 0, slice 1) of surveys of a true model, and with four counts raised."""
    model, rng = toy(), np.random.default_rng(5)
    true, wrong = [], []
    for _ in range(200):
        # each slice sees bins of its own, as slices of a survey do
        observed = np.where(HALVES == 0, model.draw(rng), model.draw(rng))
        for found, factor in ((true, 1.0), (wrong, 1.1)):
            raised = observed * np.where(np.isin(np.arange(16), [9, 10, 13, 14]), factor, 1.0)
            _, _, (together, slices) = checked(model, in_two_slices(model, raised), rng, 15)
            found.append([together.p_value, *(one.p_value for one in slices)])
    return np.array(true), np.array(wrong)


def test_a_true_model_has_p_values_that_are_not_extreme(surveys):
    true, _ = surveys
    assert np.all(np.abs(true.mean(axis=0) - 0.5) < 0.1)
    # conservative, because parameters were fitted: no more small ones than a uniform number has (10 +- 3)
    assert np.all((true < 0.05).sum(axis=0) <= 16)
    assert np.all((true > 0.95).sum(axis=0) <= 16)
    # but no constant either
    assert np.all(true.std(axis=0) > 0.12)


def test_misfit_shows_in_its_own_slice(surveys):
    _, wrong = surveys
    together, first, second = np.median(wrong, axis=0)
    assert second < 1e-3
    assert together < 1e-2
    assert first > 0.1


def test_closed_form_is_the_share_of_replicates_drawn_one_by_one():
    model, rng = toy(noise=0.05), np.random.default_rng(8)
    data = in_two_slices(model, model.draw(rng))
    likelihood, log_counts, (together, slices) = checked(model, data, rng)
    modes, noise = eigenmodes(data), likelihood.cov + likelihood.halo_cov
    slice_of = HALVES[np.argmax(modes != 0, axis=0)]
    for own, found in zip((slice_of >= 0, slice_of == 0, slice_of == 1), (together, *slices), strict=True):
        sigma = noise[np.ix_(own, own)]

        def discrepancy(residual, sigma=sigma):
            return np.sum(residual * np.linalg.solve(sigma, residual.T).T, axis=-1)

        observed = discrepancy(((data.log_observed - log_counts) @ modes)[:, own])
        replicates = rng.multivariate_normal(np.zeros(own.sum()), sigma, size=(200, len(log_counts)))
        share = np.mean(discrepancy(replicates.reshape(-1, own.sum())).reshape(200, -1) >= observed)
        np.testing.assert_allclose(found.chi2, observed)
        assert found.n_modes == own.sum()
        assert found.p_value == pytest.approx(share, abs=0.03)
