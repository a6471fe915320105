"""Calibration tests accept right posteriors and refuse narrow, wide and biased ones."""

import numpy as np
import pytest

from popinfer.infer.calibration import Trial, assess, expected_coverage, n_bins, tarp_excursion, uniformity
from popinfer.random import root_key

NAMES = ("amplitude", "tilt", "curve")
N_DRAWS = 400


def trials(n, *, width=1.0, shift=0.0, seed=0, n_draws=N_DRAWS):
    """Exact posteriors of Gaussian likelihoods on a standard normal prior, then distorted."""
    rng = np.random.default_rng(seed)
    noise = np.array([[0.5, 0.3, 0.0], [0.3, 0.8, 0.0], [0.0, 0.0, 2.0]])
    cov = np.linalg.inv(np.eye(3) + np.linalg.inv(noise))
    found = []
    for i in range(n):
        truth = rng.standard_normal(3)
        data = rng.multivariate_normal(truth, noise)
        mean = cov @ np.linalg.solve(noise, data) + shift * np.sqrt(np.diag(cov))
        draws = rng.multivariate_normal(mean, width**2 * cov, n_draws)
        found.append(Trial.of(root_key(i), truth, draws, True))
    return found


def test_right_posteriors_pass():
    found = assess(NAMES, trials(200))
    assert found.passed
    assert found.failure == ""
    assert found.n_trials == 200
    assert found.distance2_per_parameter == pytest.approx(1, abs=0.2)
    for one in found.parameters:
        assert abs(one.bias) < 3.5 * one.bias_error
        assert one.spread == pytest.approx(1, abs=0.2)
        assert one.cover68 == pytest.approx(0.68, abs=0.12)
        assert one.cover95 == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("width", [np.sqrt(0.5), np.sqrt(2)])
def test_wrong_widths_fail_ranks_and_coverage(width):
    found = assess(NAMES, trials(200, width=width))
    assert not found.ranks_pass
    assert not found.tarp_passes
    assert not found.central_passes
    assert ("too narrow" if width < 1 else "too wide") in found.failure
    assert "aren't uniform" in found.failure
    assert "expected coverage" in found.failure


@pytest.mark.parametrize(("width", "wrong"), [(0.8, "too narrow"), (1.25, "too wide")])
def test_widths_a_little_wrong_in_all_parameters_fail_by_distance(width, wrong):
    """More often than by single parameters' ranks."""
    each = [assess(NAMES, trials(100, width=width, seed=seed)) for seed in range(20)]
    by_distance = [wrong in found.failure and not found.passed for found in each]
    assert np.mean(by_distance) > 0.7
    assert np.mean(by_distance) > np.mean([not found.ranks_pass for found in each])


def test_right_posteriors_seldom_fail_by_distance():
    each = [assess(NAMES, trials(60, seed=100 + seed)) for seed in range(40)]
    excursions = np.array([found.central_excursion for found in each])
    assert abs(excursions.mean()) < 4 / np.sqrt(40)
    assert excursions.std() == pytest.approx(1, abs=0.35)


def test_few_draws_do_not_make_right_posteriors_look_narrow():
    """The mean and covariance of 24 draws are poor: the plain distance then says 1.2 in place of 1."""
    few = assess(NAMES, trials(400, n_draws=24, seed=5))
    assert few.distance2_per_parameter > 1.1
    assert few.central_passes


def test_bias_fails():
    found = assess(NAMES, trials(200, shift=0.5))
    assert not found.ranks_pass
    assert found.parameters[0].bias == pytest.approx(0.5, abs=0.25)


def test_right_posteriors_fail_as_rarely_as_said():
    failures = [not assess(NAMES, trials(100, seed=seed)).ranks_pass for seed in range(40)]
    assert np.mean(failures) < 0.2  # 0.05 expected; 0.2 is eight of forty


def test_p_values_of_uniform_ranks_are_uniform():
    rng = np.random.default_rng(3)
    p = np.array([uniformity(rng.random(200)) for _ in range(500)])
    assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.05)


def test_few_trials_get_few_bins():
    assert [n_bins(n) for n in (20, 55, 200, 1000)] == [2, 5, 10, 10]


def test_expected_coverage_counts_trials():
    tarp = np.array([0.1, 0.4, 0.6, 0.9])
    np.testing.assert_allclose(expected_coverage(tarp, np.array([0.0, 0.5, 1.0])), [0, 0.5, 1])
    assert tarp_excursion(np.random.default_rng(1).random(400)) < 3


def test_ties_are_broken_at_random():
    draws = np.zeros((100, 2))
    draws[:, 1] = np.arange(100)
    draws[:8, 0], draws[8:16, 0] = 1e-9, -1e-9  # a covariance that can be inverted, of either half too
    ranks = [Trial.of(root_key(seed), np.zeros(2), draws, True).rank[0] for seed in range(200)]
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.1)
    assert np.std(ranks) == pytest.approx(1 / np.sqrt(12), abs=0.06)
