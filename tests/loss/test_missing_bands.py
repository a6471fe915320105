"""Galaxies that lack a band: leaving them out biases the population, counting them doesn't."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from popinfer.errors import InputError
from popinfer.loss.energy import EnergyDistance
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.random import root_key
from popinfer.survey.detection import Detection

TRUTH = np.array([2.6, 0.55])  # mean u-r of red galaxies, their share
SPEC = KernelSpec(n_centers=60, bandwidth=0.6, floor=0.03, min_count=5.0)
DETECTION = Detection(
    np.array([19.6]), np.array([0.2]), np.array([0.97]), (0,), ((True,), (False,))
)  # a third of the galaxies have no u
N = 6000


def population(theta, normals, uniforms):
    """Weighted magnitudes (u, r): blue and red galaxies, two points a draw."""
    r = 17.5 - 1.2 * uniforms**2
    blue = 1.7 + 0.25 * normals
    red = theta[0] + 0.2 * normals - 0.1 * (r - 17)
    mag = jnp.concatenate([jnp.stack([color + r, r], axis=1) for color in (blue, red)])
    ones = jnp.ones(len(r))
    return mag, jnp.concatenate([(1 - theta[1]) * ones, theta[1] * ones])


def observe(seed, n=N):
    """A catalog [galaxy, (u, r)] with u missing where it isn't measured."""
    rng = np.random.default_rng(seed)
    mag = population(TRUTH, rng.standard_normal(n), rng.random(n))[0]
    mag = np.asarray(mag)[np.arange(n) + n * (rng.random(n) < TRUTH[1])]
    seen = rng.random(n) < np.asarray(DETECTION.band_probability(mag))[:, 0]
    return np.where(np.stack([seen, np.ones(n, bool)], axis=1), mag, np.nan)


def features(mag):
    """u-r and r."""
    return jnp.stack([mag[..., 0] - mag[..., 1], mag[..., 1]], axis=-1)


def best_fit(kernels, detection):
    """Optimum of the composite likelihood."""
    rng = np.random.default_rng(77)
    normals, uniforms = rng.standard_normal(8000), rng.random(8000)

    @jax.jit
    @jax.value_and_grad
    def loss(theta):
        mag, weight = population(theta, normals, uniforms)
        probability = None if detection is None else detection(mag)[None]
        return -kernels.log_likelihood(features(mag)[None], weight[None], probability)

    bounds = [(2.0, 3.2), (0.05, 0.95)]
    found = minimize(
        lambda t: [np.asarray(x, float) for x in loss(jnp.asarray(t))], [2.4, 0.5], jac=True, bounds=bounds
    )
    return found.x


@pytest.mark.slow
def test_the_energy_distance_needs_the_probability_that_all_is_measured():
    """Complete galaxies against a model weighted by it: no bias; without it, too few red galaxies."""
    n = 2000
    mag = observe(6, 2 * n)
    loss = EnergyDistance.build([np.asarray(features(mag[np.isfinite(mag).all(axis=1)]))])
    rng = np.random.default_rng(78)
    normals, uniforms = rng.standard_normal(n), rng.random(n)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def at(theta, detected):
        mag, weight = population(theta, normals, uniforms)
        p = jnp.where(detected, DETECTION(mag)[:, 0], 1.0)
        return loss(features(mag)[None], (weight * p)[None])

    def fit(detected):
        def both(theta):
            return [np.asarray(x, float) for x in at(jnp.asarray(theta), jnp.asarray(detected))]

        return minimize(both, [2.4, 0.5], jac=True, bounds=[(2.0, 3.2), (0.05, 0.95)]).x - TRUTH

    right, wrong = fit(True), fit(False)
    assert abs(right[0]) < 0.03
    assert abs(right[1]) < 0.04
    assert wrong[1] < -0.08


@pytest.fixture(scope="module")
def observed():
    return observe(3)


@pytest.fixture(scope="module")
def kept(observed):
    mag = np.asarray(features(observed))
    return KernelCounts.build(root_key(1), [mag], SPEC, [np.isnan(mag[:, 0]).astype(int)])


def test_dropping_biases_and_keeping_does_not(observed, kept):
    complete = np.asarray(features(observed[np.isfinite(observed).all(axis=1)]))
    dropped = best_fit(KernelCounts.build(root_key(1), [complete], SPEC), None) - TRUTH
    keeping = best_fit(kept, DETECTION) - TRUTH
    assert 0.25 < 1 - len(complete) / N < 0.45
    assert dropped[1] < -0.1
    assert abs(keeping[0]) < 0.015
    assert abs(keeping[1]) < 0.02


def test_both_patterns_have_kernels_in_their_own_features(kept, observed):
    assert len(kept.sizes) == 2
    assert sum(kept.sizes) == kept.centers.shape[1]
    assert 0.25 < kept.sizes[1] / sum(kept.sizes) < 0.45
    whiten = np.asarray(kept.whiten)[0]
    assert np.all(whiten[0].any(axis=1))
    np.testing.assert_array_equal(whiten[1].any(axis=1), [False, True])
    assert np.all(np.isfinite(kept.observed))
    assert kept.n_obs[0] == N - SPEC.n_centers


def test_model_counts_are_brute_force(kept):
    rng = np.random.default_rng(0)
    mag, weight = population(TRUTH, rng.standard_normal(300), rng.random(300))
    x, p = np.asarray(features(mag)), np.asarray(DETECTION(mag))
    sample = (jnp.asarray(a)[None] for a in (x, weight, p))
    got = np.exp(eqx.filter_jit(kept.log_counts)(*sample))[0]
    starts = np.cumsum((0, *kept.sizes))
    for pattern in (0, 1):
        white = (x - kept.mean[0, pattern]) @ kept.whiten[0, pattern]
        centers = kept.centers[0, starts[pattern] : starts[pattern + 1]]
        distance2 = ((white[:, None] - centers[None]) ** 2).sum(-1)
        phi = np.exp(-distance2 / (2 * kept.bandwidth**2))
        expected = (
            kept.n_obs[0] * ((np.asarray(weight) * p[:, pattern])[:, None] * phi).sum(0) / np.sum(weight)
        )
        np.testing.assert_allclose(got[starts[pattern] : starts[pattern + 1]], expected, rtol=1e-9)


def test_a_rare_pattern_keeps_its_share_and_its_variance():
    """Ten of 200 galaxies are centers there, of the others 1 %: weights make up for it."""
    rng = np.random.default_rng(5)
    n, rare = 4000, 0.05

    def draw(rng):
        x, label = rng.standard_normal((n, 2)), (rng.random(n) < rare).astype(int)
        return np.where(np.stack([label == 1, np.zeros(n, bool)], axis=1), np.nan, x), label

    x, label = draw(rng)
    spec = KernelSpec(n_centers=40, bandwidth=1.0, floor=0.0, min_count=0.1)
    kernels = KernelCounts.build(root_key(2), [x], spec, [label])
    assert kernels.sizes[1] == 10
    starts = np.cumsum((0, *kernels.sizes))

    def counts(x, label):
        parts = []
        for p in (0, 1):
            own = x[label == p]
            n_p = max(round(spec.n_centers * len(own) / n), min(10, len(own) // 4))
            white = np.where(np.isnan(own), 0.0, own - kernels.mean[0, p]) @ kernels.whiten[0, p]
            centers = kernels.centers[0, starts[p] : starts[p + 1]]
            phi = np.exp(-((white[n_p:, None] - centers) ** 2).sum(axis=-1) / 2)
            parts.append((1 - spec.n_centers / n) * len(own) * phi.mean(axis=0))
        return np.concatenate(parts)

    drawn = np.array([counts(*draw(rng)) for _ in range(500)])
    assert drawn[:, starts[1] :].mean() == pytest.approx(kernels.observed[0, starts[1] :].mean(), rel=0.15)
    sd = np.sqrt(np.diag(kernels.data_cov[0]))
    for own in (slice(0, starts[1]), slice(starts[1], None)):
        assert np.median(sd[own] / drawn.std(axis=0, ddof=1)[own]) == pytest.approx(1, abs=0.08)
    got = kernels.data_cov[0] / np.outer(sd, sd)
    np.testing.assert_allclose(got, np.corrcoef(drawn.T), atol=0.2)
    across = got[: starts[1], starts[1] :].mean()
    assert across == pytest.approx(np.corrcoef(drawn.T)[: starts[1], starts[1] :].mean(), abs=0.02)


def test_kernels_count_other_galaxies():
    """Those that aren't centers give `build`'s counts, if no pattern is rare; uncounted ones stay out."""
    rng = np.random.default_rng(6)
    n, spec = 600, KernelSpec(n_centers=60, bandwidth=1.0, floor=0.0, min_count=2.0)
    label = (np.arange(n) % 3 == 0).astype(int)
    x = np.where(np.stack([label == 1, np.zeros(n, bool)], axis=1), np.nan, rng.standard_normal((n, 2)))
    kernels = KernelCounts.build(root_key(4), [x, x[label == 0]], spec, [label, label[label == 0]])
    again, rest = np.random.default_rng(4), []
    for own, n_centers in ((np.flatnonzero(label == 0), 40), (np.flatnonzero(label == 1), 20)):
        rest.append(own[again.permutation(len(own))[n_centers:]])
    first = np.concatenate(rest)
    second = np.flatnonzero(label == 0)[again.permutation(400)[60:]]
    with_unknown = np.concatenate([second, first[-50:]])
    others = kernels.over_galaxies([x[first], x[with_unknown]], [label[first], label[with_unknown]])
    np.testing.assert_array_equal(others.mask, kernels.mask)
    used = kernels.mask > 0
    np.testing.assert_allclose(others.observed[used], kernels.observed[used], rtol=1e-12)
    own = np.ix_(used[1], used[1])
    np.testing.assert_allclose(others.data_cov[1][own], kernels.data_cov[1][own], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(others.n_obs, kernels.n_obs)
    np.testing.assert_array_equal(others.centers, kernels.centers)
    np.testing.assert_array_equal(others.layout_cov, kernels.layout_cov)
    few = kernels.over_galaxies([x[first[:20]], x[second]], [label[first[:20]], label[second]])
    np.testing.assert_array_equal(few.mask, kernels.mask)
    kept = few.with_least_count(2.0)
    assert 2 < kept.mask[0].sum() < kernels.mask[0].sum()
    np.testing.assert_array_equal(kept.mask[1], kernels.mask[1])
    with pytest.raises(InputError, match="slice 0: only 0 kernels"):
        few.with_least_count(30.0)


def test_gradient_matches_finite_differences(kept):
    rng = np.random.default_rng(9)
    normals, uniforms = rng.standard_normal(500), rng.random(500)

    @jax.jit
    def value(t):
        mag, weight = population(TRUTH + jnp.array([t, -t]), normals, uniforms)
        return kept.log_likelihood(features(mag)[None], weight[None], DETECTION(mag)[None])

    numeric = (value(0.1 + 1e-5) - value(0.1 - 1e-5)) / 2e-5
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-6)


def test_a_pattern_that_a_slice_lacks_does_not_enter_its_total(observed):
    x = np.asarray(features(observed))
    missing = np.isnan(x[:, 0]).astype(int)
    kernels = KernelCounts.build(root_key(1), [x, x[missing == 0]], SPEC, [missing, missing[missing == 0]])
    np.testing.assert_array_equal(kernels.counted, [[1, 1], [1, 0]])
    mag, weight = population(TRUTH, np.linspace(-2, 2, 100), np.linspace(0, 1, 100))
    p = np.array([1.0, 2.0]) * np.ones((200, 2))
    both = np.stack([features(mag)] * 2)
    log_counts = eqx.filter_jit(kernels.log_counts)
    got = log_counts(jnp.asarray(both), jnp.stack([weight] * 2), jnp.stack([p] * 2))
    without = log_counts(jnp.asarray(both), jnp.stack([weight] * 2), jnp.stack([p * [1, 0]] * 2))
    np.testing.assert_allclose(got[1][kernels.mask[1] > 0], without[1][kernels.mask[1] > 0], rtol=1e-12)
    assert not np.allclose(got[0], without[0])
