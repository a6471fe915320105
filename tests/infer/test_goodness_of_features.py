"""Medians, widths and blue fractions against replicate surveys, on surveys that the model makes itself."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from popinfer.infer.goodness import (
    STATISTICS,
    HaloNoise,
    Replicator,
    SortedGalaxies,
    dividing_color,
    dividing_colors,
    expected_statistics,
    feature_checks,
    observed_statistics,
    two_sided,
)

NAMES = ("u-g", "g-r", "r")
N_OBSERVED = (900, 1500)


def galaxies(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """Red and blue galaxies, [gal, feature]; `shift` reddens g-r."""
    red = rng.random(n) < 0.6
    center = np.where(red[:, None], (1.8, 0.85), (1.2, 0.5)) + np.array([0.0, shift])
    color = center + np.array([0.15, 0.07]) * rng.normal(size=(n, 2))
    return np.column_stack([color, 17.5 - rng.exponential(0.8, n)])


def checked(rng: np.random.Generator, data: list[np.ndarray], n_model: int, n_draw: int = 400):
    """Checks of a model that knows the population, from 3 of 24 batches, `n_model` galaxies together."""
    dividing = dividing_colors(NAMES, data)
    batches = [np.stack([galaxies(rng, n_model // 3) for _ in N_OBSERVED]) for _ in range(24)]
    weight = np.ones((len(N_OBSERVED), n_model // 3))
    noise = HaloNoise.of(np.stack([expected_statistics(x, weight, dividing) for x in batches]), 3)
    replicator = Replicator(N_OBSERVED, dividing, rng, noise)
    replicates = replicator(np.concatenate(batches[:3], axis=1), np.tile(weight, (1, 3)), n_draw)
    return feature_checks(NAMES, observed_statistics(data, dividing), replicates, dividing)


def test_statistics_are_percentiles_and_a_share():
    x = np.random.default_rng(0).normal(0.7, 0.2, size=(4001, 1))
    median, width, blue = SortedGalaxies(x, np.array([0.6])).statistics(np.ones(4001))[:, 0]
    low, middle, high = np.percentile(x, [16, 50, 84], method="hazen")
    np.testing.assert_allclose([median, width], [middle, high - low])
    assert blue == np.mean(x < 0.6)


def test_weights_stand_for_repetition_and_missing_colors_are_left_out():
    rng = np.random.default_rng(1)
    x, counts = galaxies(rng, 5000), rng.integers(0, 4, size=5000)
    x[::7, 0] = np.nan
    dividing = np.array([1.5, 0.68, np.nan])
    several = SortedGalaxies(np.repeat(x, counts, axis=0), dividing)
    found = SortedGalaxies(x, dividing).statistics(counts.astype(float))
    np.testing.assert_allclose(found, several.statistics(np.ones(counts.sum())), atol=2e-3)
    seen = np.repeat(x[:, 0], counts)
    assert found[0, 0] == pytest.approx(np.nanmedian(seen), abs=2e-3)
    assert found[2, 0] == pytest.approx(np.mean(seen[np.isfinite(seen)] < 1.5))
    assert np.isnan(found[2, 2])
    assert np.isnan(SortedGalaxies(np.full((5, 1), np.nan), np.array([0.5])).statistics(np.ones(5))).all()


def test_dividing_color_lies_between_the_two_populations():
    x = galaxies(np.random.default_rng(2), 4000)
    # equal widths, so midway between the means
    assert dividing_color(x[:, 1]) == pytest.approx(0.675, abs=0.03)
    assert dividing_color(np.append(x[:, 1], [9.0, -7.0, np.nan])) == pytest.approx(0.675, abs=0.03)
    assert np.isnan(dividing_color(np.array([0.3])))
    colors = dividing_colors(NAMES, [x, x[:100]])
    assert colors.shape == (2, 3)
    np.testing.assert_array_equal(np.isnan(colors), [[False, False, True]] * 2)


def test_replicates_scatter_as_surveys_do():
    rng = np.random.default_rng(3)
    dividing = np.array([[1.5, 0.675, np.nan]] * 2)
    zero = np.zeros((2, len(STATISTICS), 3))
    model = np.stack([galaxies(rng, 40_000)] * 2)
    draw = Replicator(N_OBSERVED, dividing, rng, HaloNoise(zero))(model, np.ones((2, 40_000)), 300)
    surveys = np.stack(
        [observed_statistics([galaxies(rng, n) for n in N_OBSERVED], dividing) for _ in range(300)]
    )
    assert draw.shape == surveys.shape == (300, 2, 3, 3)
    known = np.isfinite(surveys[0])
    ratio = draw.std(axis=0)[known] / surveys.std(axis=0)[known]
    np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_p_values_of_a_true_model_are_uniform_although_its_sample_is_small():
    """A thousand model galaxies scatter as much as the data: without their noise, p would be extreme."""
    rng = np.random.default_rng(4)
    surveys = ([galaxies(rng, n) for n in N_OBSERVED] for _ in range(60))
    p = np.stack([checked(rng, data, 1000, 100)["p_value"].values for data in surveys])
    for statistic, feature in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)):
        assert kstest(p[:, 0, statistic, feature], "uniform").pvalue > 1e-3, (statistic, feature)
    known = p[np.isfinite(p)]
    assert np.mean(known < 0.05) == pytest.approx(0.05, abs=0.03)


def test_shifted_color_is_named_with_its_slice_and_size():
    rng = np.random.default_rng(6)
    data = [galaxies(rng, N_OBSERVED[0]), galaxies(rng, N_OBSERVED[1], shift=0.05)]
    found = checked(rng, data, 20_000)
    p = found["p_value"]
    assert p.sel(feature="g-r", statistic="median").values[1] < 0.01
    assert p.sel(feature="g-r", statistic="median").values[0] > 0.01
    assert float(p.sel(feature=["u-g", "r"]).min()) > 0.01
    median = found.sel(feature="g-r", statistic="median").isel(slice=1)
    assert float(median["observed"] - median["predicted"]) == pytest.approx(0.05, abs=0.012)


def test_noise_of_the_halo_sample_is_that_of_the_batches_that_are_joined():
    batches = np.random.default_rng(7).normal(size=(25, 1, 1, 4000))
    assert HaloNoise.of(batches, 16).sd.mean() == pytest.approx(1 / 4, rel=0.02)


def test_two_sided_p_value():
    replicates = np.random.default_rng(8).normal(size=(9999, 1)) + np.zeros(4)
    observed = np.array([0.0, 1.5, -50.0, np.nan])
    p = two_sided(observed, replicates)
    np.testing.assert_allclose(p[:3], [1.0, 2 * norm.sf(1.5), 2 / 10_000], atol=0.02)
    assert p[2] > 0
    assert np.isnan(p[3])
