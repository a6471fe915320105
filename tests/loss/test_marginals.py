"""Kernels in single features: brute force, noise, missing bands, and what wide kernels don't see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.loss.kernels import expected_log_marginals
from popinfer.random import root_key
from popinfer.survey.integrated_noise import Scatter
from popinfer.survey.selection import MagnitudeLimit

K = 40
SPEC = KernelSpec(n_centers=K, bandwidth=1.0, floor=0.02, min_count=3.0, marginal_bandwidth=0.3)
LIMIT = MagnitudeLimit(1, 14.0, 17.5, 0.05)
TO_FEATURES = np.array([[1.0, 0.0], [-1.0, 1.0]])  # g-r, r


def galaxies(n, seed, gap=0.6):
    """Two peaks of a color, and a magnitude that goes with them."""
    rng = np.random.default_rng(seed)
    red = rng.random(n) < 0.5
    color = 0.5 + gap * red + 0.07 * rng.standard_normal(n)
    return np.stack([color, 17.0 - 0.5 * red - rng.exponential(0.5, n)], axis=1)


@pytest.fixture(scope="module")
def observed():
    return [galaxies(1500, 0), galaxies(1100, 1)]


@pytest.fixture(scope="module")
def kernels(observed):
    return KernelCounts.build(root_key(2), observed, SPEC)


def brute_force(kernels, i, x, pattern=0):
    """Each marginal of each galaxy, from its row."""
    rows = kernels.marginals[i, pattern]
    along = (x - kernels.mean[i, pattern]) @ rows[:, :-1].T
    return np.exp(-((along - rows[:, -1]) ** 2) / (2 * float(kernels.bandwidth) ** 2))


def is_counted(kernels, i, x):
    white = (x - kernels.mean[i, 0]) @ kernels.whiten[i, 0]
    return ((white[:, None] - kernels.centers[i][None]) ** 2).sum(-1).min(axis=1) > 1e-18


def test_each_sees_one_feature_with_the_width_asked_for(kernels, observed):
    for i, x in enumerate(observed):
        rows = kernels.marginals[i, 0]
        rows = rows[np.any(rows != 0, axis=1)]
        assert np.all(np.sum(rows[:, :-1] != 0, axis=1) == 1)
        sd = np.sqrt(x.var(axis=0) + SPEC.floor**2)
        for f in range(2):
            own = rows[rows[:, f] != 0]
            np.testing.assert_allclose(SPEC.bandwidth / own[:, f], 0.3 * sd[f], rtol=1e-9)
            centers = own[:, -1] / own[:, f] + kernels.mean[i, 0, f]
            assert np.all(np.diff(centers) <= 1.5 * 0.3 * sd[f] * (1 + 1e-9))
            assert np.all(np.diff(centers) > 0)
            assert np.quantile(x[:, f], 0.1) > centers[0]
            assert np.quantile(x[:, f], 0.9) < centers[-1]


def test_observed_and_model_counts_are_brute_force(kernels, observed):
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.1, 2.0, (2, 300))
    x = np.stack([galaxies(300, 4), galaxies(300, 5)])
    got = np.exp(kernels.log_counts(jnp.asarray(x), jnp.asarray(weight)))
    for i, all_galaxies in enumerate(observed):
        counted = all_galaxies[is_counted(kernels, i, all_galaxies)]
        used = np.any(kernels.marginals[i, 0] != 0, axis=1)
        assert len(counted) == kernels.n_obs[i]
        expected = brute_force(kernels, i, counted).sum(axis=0)
        np.testing.assert_allclose(kernels.observed[i, K:][used], expected[used], rtol=1e-9)
        assert np.all(kernels.mask[i, K:][~used] == 0)
        of_model = weight[i] @ brute_force(kernels, i, x[i]) / weight[i].sum() * kernels.n_obs[i]
        np.testing.assert_allclose(got[i, K:], of_model, rtol=1e-9)


def test_covariance_is_the_bootstraps_also_with_the_other_kernels(kernels, observed):
    rng, x = np.random.default_rng(6), observed[0]
    x = x[is_counted(kernels, 0, x)]
    white = (x - kernels.mean[0, 0]) @ kernels.whiten[0, 0]
    wide = np.exp(-((white[:, None] - kernels.centers[0]) ** 2).sum(-1) / 2)
    phi = np.concatenate([wide, brute_force(kernels, 0, x)], axis=1)[:, kernels.mask[0] > 0]
    drawn = [phi[rng.integers(0, len(x), len(x))].sum(axis=0) for _ in range(3000)]
    bootstrap = np.cov(np.array(drawn).T)
    scale = np.sqrt(np.outer(np.diag(bootstrap), np.diag(bootstrap)))
    used = kernels.mask[0] > 0
    np.testing.assert_allclose(kernels.data_cov[0][np.ix_(used, used)] / scale, bootstrap / scale, atol=0.09)


def test_the_kernels_at_centers_stay_the_same(kernels, observed):
    without = KernelCounts.build(root_key(2), observed, dataclasses.replace(SPEC, marginal_bandwidth=None))
    assert without.marginals.shape == (2, 1, 0, 3)
    np.testing.assert_array_equal(without.centers, kernels.centers)
    np.testing.assert_array_equal(without.observed, kernels.observed[:, :K])
    np.testing.assert_array_equal(without.data_cov, kernels.data_cov[:, :K, :K])


def test_they_see_peaks_that_wide_kernels_smear_out(kernels):
    """Two peaks against one broad one of the same mean and scatter, the marginals' own pull in chi-square."""
    x = galaxies(4000, 7)
    rng = np.random.default_rng(8)
    broad = x.copy()
    broad[:, 0] = x[:, 0].mean() + x[:, 0].std() * rng.standard_normal(len(x))
    counts = [np.exp(kernels.log_counts(jnp.stack([a, a]), jnp.ones((2, len(x)))))[0] for a in (x, broad)]
    off = np.abs(np.log(counts[1] / counts[0]))[kernels.mask[0] > 0]
    assert off[K:].max() > 2 * off[:K].max()


@pytest.mark.parametrize("limit", [LIMIT, None])
def test_with_noise_they_are_the_mean_over_draws(limit):
    """Errors of both bands, correlated; the second band's carry galaxies across the limit."""
    rng = np.random.default_rng(9)
    mag = np.stack([17.9 + 0.2 * rng.standard_normal(30), 17.3 + 0.3 * rng.standard_normal(30)], axis=1)
    sigma, correlation = rng.uniform(0.1, 0.3, (30, 2)), np.array([[1.0, 0.4], [0.4, 1.0]])
    scatter = Scatter(*map(jnp.asarray, (sigma, mag[:, 1], correlation, TO_FEATURES)), limit)
    rows = jnp.array([[5.0, 0.0, 2.5], [3.0, 0.0, 2.0], [0.0, 4.0, 68.0], [0.0, 2.0, 35.2]])
    got = np.exp(expected_log_marginals(jnp.asarray(mag @ TO_FEATURES), scatter, 0.8)(rows))
    noise = rng.standard_normal((40_000, 30, 2)) @ np.linalg.cholesky(correlation).T
    measured = mag + sigma * noise
    along = measured @ TO_FEATURES @ np.asarray(rows[:, :-1]).T
    phi = np.exp(-((along - np.asarray(rows[:, -1])) ** 2) / (2 * 0.8**2))
    kept = np.ones(measured.shape[:2]) if limit is None else np.asarray(limit(jnp.asarray(measured)))
    terms = phi * kept[..., None] / kept.mean(axis=0)[:, None]
    error = terms.std(axis=0) / np.sqrt(len(terms))
    assert np.max(np.abs(got - terms.mean(axis=0)) / (error + 2e-4)) < 4.5


def test_gradient_matches_finite_differences(kernels):
    x = jnp.asarray(np.stack([galaxies(200, 10), galaxies(200, 11)]))
    mag = x @ jnp.asarray(np.linalg.inv(TO_FEATURES))

    @jax.jit
    def value(t):
        moved = mag + t * jnp.array([0.3, -0.2])
        scatter = Scatter(
            0.05 * jnp.exp(moved - 17), moved[..., 1], jnp.eye(2), jnp.asarray(TO_FEATURES), LIMIT
        )
        counts = kernels.log_counts(moved @ TO_FEATURES, jnp.exp(t * x[..., 0]), None, scatter)
        return jnp.sum(counts[:, K:] * kernels.mask[:, K:])

    numeric = (value(0.1 + 1e-5) - value(0.1 - 1e-5)) / 2e-5
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-7)


def test_each_pattern_of_bands_has_those_of_its_features():
    x = galaxies(1500, 12)
    label = (np.arange(len(x)) % 3 == 0).astype(int)
    x[label == 1, 0] = np.nan
    kernels = KernelCounts.build(root_key(3), [x], SPEC, [label])
    seen = np.any(kernels.marginals[0, :, :, :-1] != 0, axis=1)
    np.testing.assert_array_equal(seen, [[True, True], [False, True]])
    n_center, n = kernels.centers.shape[1], kernels.marginals.shape[2]
    counts = kernels.observed[0, n_center + n :][kernels.mask[0, n_center + n :] > 0]
    assert 0 < counts.max() < np.sum(label == 1)
    again = kernels.over_galaxies([x], [label])
    used = kernels.mask > 0
    ratio = again.observed[used] / kernels.observed[used]
    assert np.all((ratio > 0.99) & (ratio < 1.3))  # all galaxies, centers too


def test_a_width_that_cannot_count_is_refused():
    with pytest.raises(InputError, match="marginal_bandwidth"):
        KernelSpec(marginal_bandwidth=0.0)
