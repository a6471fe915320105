import numpy as np
import pytest

from popinfer.infer.goodness import determined_parameters, goodness_of_fit
from popinfer.infer.likelihood import Problem


def overlapping_counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Soft counts of n galaxies by 40 broad kernels that overlap."""
    x = rng.normal(size=n)
    return np.exp(-0.5 * ((x[:, None] - np.linspace(-2, 2, 40)) / 0.4) ** 2)


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    """Expected counts of 2,000 galaxies and their covariance."""
    phi = overlapping_counts(np.random.default_rng(0), 400_000)
    return 2_000 * phi.mean(axis=0), 2_000 * np.cov(phi.T)


def problem(observed: np.ndarray, cov: np.ndarray) -> Problem:
    two = np.kron(np.eye(2), cov)
    return Problem(("a",), lambda u: u, observed, two, np.repeat([0, 1], 40), lambda u: np.zeros((1, 1)))


def test_chi2_is_calibrated_when_the_model_is_true(truth):
    mean, cov = truth
    rng = np.random.default_rng(1)
    model = np.tile(mean, 2)
    p_values = []
    for _ in range(300):
        observed = np.concatenate([overlapping_counts(rng, 2_000).sum(axis=0) for _ in range(2)])
        found, per_slice = goodness_of_fit(problem(observed, cov), model, np.stack([model] * 3), 0.0)
        p_values.append(found.p_value)
    assert len(per_slice) == 2
    assert found.n_eff < 40  # far fewer than 80 counts
    assert np.isclose(np.mean(p_values), 0.5, atol=0.08)


def test_wrong_model_is_found_and_monte_carlo_noise_excuses_it(truth):
    mean, cov = truth
    model = np.tile(mean, 2)
    wrong = model * np.tile(np.linspace(0.8, 1.2, 40), 2)
    quiet, _ = goodness_of_fit(problem(model, cov), wrong, np.stack([wrong] * 3), 0.0)
    noisy, _ = goodness_of_fit(problem(model, cov), wrong, wrong * np.array([[0.7], [1.0], [1.3]]), 0.0)
    assert quiet.p_value < 1e-4
    assert noisy.chi2 < quiet.chi2


def test_parameters_are_charged(truth):
    mean, cov = truth
    model = np.tile(mean, 2)
    free, _ = goodness_of_fit(problem(model, cov), model, np.stack([model] * 3), 0.0)
    charged, slices = goodness_of_fit(problem(model, cov), model, np.stack([model] * 3), 3.0)
    assert np.isclose(free.n_eff - charged.n_eff, 3.0)
    assert np.isclose(sum(one.n_eff for one in slices), charged.n_eff)


def test_determined_parameters():
    assert np.isclose(determined_parameters(np.diag([0.01, 1.0, 0.5])), 1.49)
