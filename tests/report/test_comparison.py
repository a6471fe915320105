import dataclasses

import numpy as np
import pytest
import synthetic

from popinfer.inference_data import add_groups, read_group
from popinfer.report import comparison
from popinfer.report.comparison import Histograms


def _one(data: np.ndarray, model: np.ndarray, feature: str = "g-r") -> Histograms:
    """A single histogram with unit-width bins from 0."""
    edges = np.arange(data.size + 1.0)[None, :]
    return Histograms((feature,), edges, np.array([[0.0, 0.1]]), data[None, None, :], model[:, None, None, :])


def test_residuals_are_poisson_of_the_model_and_posterior_spread():
    model = np.array([[94.0, 20.0], [106.0, 20.0]])  # spread 6 about 100; none about 20
    residual = _one(np.array([110.0, 15.0]), model).residuals()[0, 0]
    assert residual == pytest.approx([10 / np.sqrt(100 + 36), -5 / np.sqrt(20)])


def test_halo_noise_widens_the_errors():
    histogram = dataclasses.replace(
        _one(np.array([120.0]), np.full((2, 1), 100.0)), halo_sd=np.full((1, 1, 1), 10.0)
    )
    assert histogram.residuals()[0, 0, 0] == pytest.approx(20 / np.sqrt(100 + 100))


def test_lone_galaxies_are_no_misfit_but_many_are():
    histogram = _one(np.array([1.0, 30.0, 0.0]), np.full((2, 3), 0.01))
    residual = histogram.residuals()[0, 0]
    assert residual[0] < 1 and residual[1] > 20 and np.isnan(residual[2])
    assert histogram.rms_residuals()[0, 0] == pytest.approx(residual[1])  # only the filled bin counts


def test_perfect_model_has_unit_residuals():
    rng = np.random.default_rng(1)
    expected = np.full(2000, 50.0)
    rms = _one(rng.poisson(expected).astype(float), expected[None]).rms_residuals()[0, 0]
    assert rms == pytest.approx(1, abs=0.05)


def test_median_offset_is_in_magnitudes_with_the_sign_of_data_minus_model():
    data, model = np.array([0.0, 10.0, 10.0, 0.0]), np.array([[10.0, 10.0, 0.0, 0.0]])
    assert _one(data, model).median_offsets()[0, 0] == pytest.approx(1.0)


def test_readers_return_what_was_stored(converged_run):
    histograms = comparison.read_histograms(converged_run)
    assert histograms is not None and histograms.features == synthetic.FEATURES
    assert histograms.model.shape == (40, 4, 5, 30) and histograms.data.shape == (4, 5, 30)
    assert histograms.slice_z == pytest.approx(np.array(synthetic.SLICES))
    pairs = comparison.read_pairs(converged_run)
    assert pairs is not None and pairs.names == synthetic.PAIRS and pairs.model.shape == (4, 2, 30, 30)
    soft = comparison.read_soft_counts(converged_run)
    assert soft is not None and 0.8 < soft.residuals.std() < 1.2
    assert soft.centers.shape == (4, 60, 5)


def test_axes_in_another_order_are_put_right(converged_run):
    turned = converged_run.copy()
    observed = read_group(converged_run, "observed_data").transpose("bin", "feature", ...)
    add_groups(turned, {"observed_data": observed})
    first, second = (comparison.read_histograms(one) for one in (converged_run, turned))
    assert first is not None and second is not None
    assert np.array_equal(first.data, second.data)


def test_absent_predictions_give_none():
    bare = synthetic.chains()
    assert comparison.read_histograms(bare) is None
    assert comparison.read_pairs(bare) is None
    assert comparison.read_soft_counts(bare) is None
