import numpy as np
import pytest

from popinfer.infer.data import Data
from popinfer.infer.goodness import chi_square_of_fit, determined_parameters
from popinfer.infer.likelihood import Likelihood

SLICE_OF = np.repeat([0, 1], 40)


def overlapping_counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Soft counts of n galaxies by 40 broad kernels that overlap."""
    x = rng.normal(size=n)
    return np.exp(-0.5 * ((x[:, None] - np.linspace(-2, 2, 40)) / 0.4) ** 2)


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    """Expected counts of 2,000 galaxies and their covariance."""
    phi = overlapping_counts(np.random.default_rng(0), 400_000)
    return 2_000 * phi.mean(axis=0), 2_000 * np.cov(phi.T)


def judged(observed, cov, model, halo_sd=0.0, n_determined=0.0):
    """Goodness of fit of log model counts to observed ones, in two slices; halo noise is common to all."""
    data = Data(observed, np.kron(np.eye(2), cov), SLICE_OF, np.full(len(observed), True))
    likelihood = Likelihood.of(data, np.full((80, 80), halo_sd**2))
    info = likelihood.information(np.log(model), np.zeros((len(observed), 1)))
    return chi_square_of_fit(info, SLICE_OF, n_determined)


def test_chi2_is_calibrated_when_the_model_is_true(truth):
    mean, cov = truth
    rng = np.random.default_rng(1)
    model = np.tile(mean, 2)
    p_values = []
    for _ in range(120):
        observed = np.concatenate([overlapping_counts(rng, 2_000).sum(axis=0) for _ in range(2)])
        found, per_slice = judged(observed, cov, model)
        p_values.append(found.p_value)
    assert len(per_slice) == 2
    assert found.n_eff < 40  # far fewer than 80 counts
    assert found.chi2 == pytest.approx(sum(one.chi2 for one in per_slice))
    assert np.isclose(np.mean(p_values), 0.5, atol=0.08)


def test_wrong_model_is_found_and_halo_noise_excuses_it(truth):
    mean, cov = truth
    model = np.tile(mean, 2)
    wrong = model * np.tile(np.linspace(0.8, 1.2, 40), 2)
    quiet, _ = judged(model, cov, wrong)
    noisy, _ = judged(model, cov, wrong, 0.3)
    assert quiet.p_value < 1e-4
    assert noisy.chi2 < quiet.chi2


def test_parameters_are_charged(truth):
    mean, cov = truth
    model = np.tile(mean, 2)
    free, _ = judged(model, cov, model)
    charged, slices = judged(model, cov, model, n_determined=3.0)
    assert np.isclose(free.n_eff - charged.n_eff, 3.0)
    assert np.isclose(sum(one.n_eff for one in slices), charged.n_eff)


def test_determined_parameters():
    assert np.isclose(determined_parameters(np.diag([0.01, 1.0, 0.5])), 1.49)
