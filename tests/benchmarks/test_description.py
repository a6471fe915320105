"""The numbers of `benchmarks/description.py` on galaxies whose numbers are known."""

import numpy as np
import pytest
from scripts import ROOT, as_module

description = as_module(ROOT / "benchmarks" / "description.py")
EDGES = np.array([14.0, 15.0, 16.0, 17.0])


def test_quantiles_are_those_of_a_normal_distribution_whatever_the_weights():
    x = np.random.default_rng(0).normal(1.7, 0.1, 40_000)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, x.size)
    low, middle, high = description.quantiles(x, weight)
    assert middle == pytest.approx(1.7, abs=0.003)
    assert 0.5 * (high - low) == pytest.approx(0.1, abs=0.003)


def test_galaxies_are_divided_in_u_r():
    found = description.shares(np.array([1.0, 1.99, 2.1, 2.36]), np.array([1.0, 1.0, 2.0, 4.0]))
    np.testing.assert_allclose(found, [0.25, 0.25, 0.5])


def test_weights_to_observed_counts_reproduce_them():
    rng = np.random.default_rng(2)
    mag, weight = rng.uniform(13.5, 17.5, 5000), rng.uniform(0.1, 1.0, 5000)
    seen = rng.uniform(14.0, 17.0, 300) ** 0.5 * 4.0
    weighted = description.as_counted(mag, weight, seen, EDGES)
    counts = np.histogram(mag, EDGES, weights=weighted)[0]
    np.testing.assert_allclose(counts, np.histogram(seen, EDGES)[0])
    assert np.all(weighted[(mag < 14) | (mag > 17)] == 0)


def test_a_slice_is_described_by_the_galaxies_that_are_listed():
    bands = ("u", "g", "r")
    mag = np.array([[17.7, 16.0, 15.2], [18.0, 16.1, 15.3], [np.nan, 16.0, 15.0], [10.0, 10.0, 10.0]])
    found = description.appearance(mag, np.array([1.0, 1.0, 1.0, 0.0]), bands, EDGES, 2)
    assert found["colors"]["u-g"][1] == pytest.approx(1.8)
    np.testing.assert_allclose(found["counts"], [0, 1, 0])
    np.testing.assert_allclose(found["shares"], [0, 0, 1])
