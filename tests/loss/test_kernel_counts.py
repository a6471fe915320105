"""Soft counts against brute force, far centers, covariances against bootstraps, the likelihood's optimum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.loss.kernels import log_kernel_matrix
from popinfer.random import root_key

N, K = (900, 700), 30
SPEC = KernelSpec(n_centers=K, bandwidth=0.6, floor=0.02, min_count=2.0)


def soft_counts(kernels, *galaxies):
    """m_k of weighted galaxies, scaled to the observed number."""
    return jnp.exp(kernels.log_counts(*galaxies))


def galaxies(n, seed):
    """Two correlated populations in three features."""
    rng = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.3, 0.1], [0.0, 0.4, 0.2], [0.0, 0.0, 0.8]])
    x = rng.standard_normal((n, 3)) @ mix
    return x + np.where(rng.random((n, 1)) < 0.4, [1.5, 0.8, 0.0], 0.0)


@pytest.fixture(scope="module")
def observed():
    return [galaxies(n, seed) for seed, n in enumerate(N)]


@pytest.fixture(scope="module")
def counts(observed):
    return KernelCounts.build(root_key(5), observed, SPEC)


@pytest.fixture(scope="module")
def model():
    """Weighted model galaxies of both slices."""
    x = np.stack([galaxies(400, 10), galaxies(400, 11)])
    return jnp.asarray(x), jnp.asarray(np.random.default_rng(2).uniform(0.1, 2.0, (2, 400)))


def phi(counts, i, x):
    """Kernels by brute force, one distance at a time."""
    white = (np.asarray(x) - counts.mean[i, 0]) @ counts.whiten[i, 0]
    distance2 = ((white[:, None, :] - counts.centers[i][None, :, :]) ** 2).sum(axis=-1)
    return np.exp(-distance2 / (2 * counts.bandwidth**2))


def test_kernel_matrix_is_brute_force():
    rng = np.random.default_rng(0)
    x, c = rng.standard_normal((50, 4)), rng.standard_normal((7, 4))
    expected = -((x[:, None] - c[None]) ** 2).sum(-1) / (2 * 0.5**2)
    np.testing.assert_allclose(log_kernel_matrix(x, c, 0.5), expected, rtol=1e-12, atol=1e-12)


def test_whitening_makes_unit_scatter(counts, observed):
    for i, x in enumerate(observed):
        white = (x - counts.mean[i, 0]) @ counts.whiten[i, 0]
        np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.01)  # the floor takes a little


def test_centers_are_galaxies_that_are_not_counted(counts, observed):
    for i, x in enumerate(observed):
        white = (x - counts.mean[i, 0]) @ counts.whiten[i, 0]
        distance = np.sqrt(((white[:, None] - counts.centers[i][None]) ** 2).sum(-1))
        assert np.all(distance.min(axis=0) < 1e-9)
        assert counts.n_obs[i] == len(x) - K
        counted = np.delete(np.arange(len(x)), distance.argmin(axis=0))
        np.testing.assert_allclose(counts.observed[i], phi(counts, i, x[counted]).sum(axis=0), rtol=1e-9)


def test_model_counts_are_brute_force(counts, model):
    x, weight = model
    got = soft_counts(counts, x, weight)
    for i in range(2):
        w = np.asarray(weight[i])
        expected = counts.n_obs[i] * (w[:, None] * phi(counts, i, x[i])).sum(axis=0) / w.sum()
        np.testing.assert_allclose(got[i], expected, rtol=1e-9)


def test_a_model_equal_to_the_data_predicts_the_data(counts, observed):
    for i, x in enumerate(observed):
        white = (x - counts.mean[i, 0]) @ counts.whiten[i, 0]
        is_center = ((white[:, None] - counts.centers[i][None]) ** 2).sum(-1).min(axis=1) < 1e-18
        twice = jnp.stack([jnp.asarray(x[~is_center])] * 2)
        got = soft_counts(counts, twice, jnp.ones(twice.shape[:2]))
        np.testing.assert_allclose(got[i], counts.observed[i], rtol=1e-9)


def test_weights_count_only_relative_to_each_other(counts, model):
    x, weight = model
    np.testing.assert_allclose(soft_counts(counts, x, 7 * weight), soft_counts(counts, x, weight), rtol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("far", [10.0, 40.0])
def test_far_centers_give_finite_counts_and_a_pull(counts, model, far, dtype):
    x, weight = (jnp.asarray(a, dtype) for a in model)

    def log_share(shift):
        return jnp.sum(counts.log_shares(x + shift, weight))

    value, slope = jax.value_and_grad(log_share)(jnp.asarray(far, dtype))
    assert np.isfinite(value)
    assert value < -100
    assert slope < -1  # moving farther away makes it worse: an optimiser finds its way back


def test_galaxies_of_zero_weight_do_not_count_nor_spoil_gradients(counts, model):
    x, weight = model
    half = weight.at[:, ::2].set(0.0)
    np.testing.assert_allclose(
        soft_counts(counts, x, half), soft_counts(counts, x[:, 1::2], weight[:, 1::2]), rtol=1e-9
    )
    slope = jax.grad(lambda w: jnp.sum(counts.log_shares(x, w)))(half)
    assert np.all(np.isfinite(slope))


def test_gradient_matches_finite_differences(counts, model):
    x, weight = model

    def value(shift):
        return counts.log_likelihood(x + shift * jnp.arange(3), weight * jnp.exp(shift * x[..., 0]))

    h = 1e-5
    numeric = (value(0.1 + h) - value(0.1 - h)) / (2 * h)
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-7)


def test_float32_agrees_with_float64(counts, model):
    single = soft_counts(counts, *(jnp.asarray(a, jnp.float32) for a in model))
    np.testing.assert_allclose(single, soft_counts(counts, *model), rtol=2e-4, atol=1e-3)


def test_likelihood_is_zero_and_stationary_where_model_equals_data(counts, model):
    x, weight = model
    exact = soft_counts(counts, x, weight)
    perfect = dataclasses.replace(counts, observed=exact)
    assert float(perfect.log_likelihood(x, weight)) == pytest.approx(0, abs=1e-8)
    pull = jax.grad(lambda s: perfect.log_likelihood(x + s, weight))(jnp.zeros(3))
    np.testing.assert_allclose(pull, 0, atol=1e-7)
    assert float(perfect.log_likelihood(x + 0.05, weight)) < 0
    assert float(perfect.log_likelihood(x - 0.05, weight)) < 0


def test_masked_kernels_do_not_enter(counts, model, observed):
    strict = KernelCounts.build(root_key(5), observed, KernelSpec(K, 0.6, 0.02, min_count=60.0))
    kept = strict.mask > 0
    assert 0 < kept.sum() < kept.size
    assert np.all(strict.observed[kept] >= 60)
    m, d = np.asarray(soft_counts(strict, *model))[kept], strict.observed[kept]
    expected = np.sum(d * np.log(m / d) - (m - d))
    assert float(strict.log_likelihood(*model)) == pytest.approx(expected, rel=1e-9)


def test_data_covariance_is_the_bootstraps(counts, observed):
    rng = np.random.default_rng(8)
    x = observed[0]
    kernels = phi(counts, 0, x)
    white = (x - counts.mean[0, 0]) @ counts.whiten[0, 0]
    is_center = ((white[:, None] - counts.centers[0][None]) ** 2).sum(-1).min(axis=1) < 1e-18
    kernels = kernels[~is_center]
    drawn = [kernels[rng.integers(0, len(kernels), len(kernels))].sum(axis=0) for _ in range(4000)]
    bootstrap = np.cov(np.array(drawn).T)
    scale = np.sqrt(np.outer(np.diag(bootstrap), np.diag(bootstrap)))
    np.testing.assert_allclose(np.diag(counts.data_cov[0]), np.diag(bootstrap), rtol=0.15)
    np.testing.assert_allclose(counts.data_cov[0] / scale, bootstrap / scale, atol=0.08)


def test_data_covariance_is_the_scatter_of_new_catalogs(counts):
    """Catalogs of a fixed number of galaxies, drawn anew."""
    size = int(counts.n_obs[0])
    drawn = np.array([phi(counts, 0, galaxies(size, 100 + s)).sum(axis=0) for s in range(400)])
    ratio = np.diag(counts.data_cov[0]) / drawn.var(axis=0, ddof=1)
    well_filled = counts.observed[0] > 20
    assert well_filled.sum() > K / 2
    assert np.median(ratio[well_filled]) == pytest.approx(1, abs=0.15)
    assert np.all((ratio > 0.6) & (ratio < 1.5) | ~well_filled)


def test_equal_seeds_give_equal_kernels(observed, counts):
    again = KernelCounts.build(root_key(5), observed, SPEC)
    np.testing.assert_array_equal(again.centers, counts.centers)
    assert not np.array_equal(KernelCounts.build(root_key(6), observed, SPEC).centers, counts.centers)


def test_too_few_galaxies_are_refused_with_the_slice(observed):
    with pytest.raises(InputError, match="slice 1 has 59 galaxies: at least 60"):
        KernelCounts.build(root_key(0), [observed[0], observed[1][:59]], SPEC)


@pytest.mark.parametrize("changed", [{"n_centers": 1}, {"bandwidth": 0.0}, {"floor": -0.1}])
def test_kernels_that_cannot_count_are_refused(changed):
    with pytest.raises(InputError, match="kernels"):
        KernelSpec(**changed)


def test_a_slice_without_kernels_is_refused(observed):
    lonely = KernelSpec(n_centers=K, bandwidth=0.01, floor=0.0)
    with pytest.raises(InputError, match=r"slice 0: only 0 kernels count min_count = 5.* 0.01 is too narrow"):
        KernelCounts.build(root_key(1), observed, lonely)


def test_tiles_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    kernels = KernelCounts.build(
        root_key(1), [rng.normal(size=(300, 3))], KernelSpec(n_centers=37, floor=0.0)
    )
    x, weight = jnp.asarray(rng.normal(size=(1, 200, 3))), jnp.asarray(rng.uniform(size=(1, 200)))

    def total(x):
        return jnp.sum(kernels.log_shares(x, weight))

    whole, slope = total(x), jax.grad(total)(x)
    monkeypatch.setattr("popinfer.loss.base.TILE_SIZE", 200 * 5)
    np.testing.assert_allclose(total(x), whole, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(total)(x), slope, rtol=1e-10, atol=1e-12)
