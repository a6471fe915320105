"""Kernels averaged over noise in closed form against averages over many draws of the noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.loss.kernels import expected_log_kernels, invert, log_kernel_matrix
from popinfer.random import root_key
from popinfer.records import Catalog
from popinfer.survey.detection import Detection
from popinfer.survey.integrated_noise import IntegratedNoise, Scatter
from popinfer.survey.noise import NoiseModel, QuadraticErrors
from popinfer.survey.selection import LinearCut, MagnitudeLimit, Selection

BANDS = ("u", "g", "r")
FEATURES = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])  # u-g, g-r, r
LIMIT = MagnitudeLimit(2, 14.0, 17.5, 0.05)
RED = LinearCut((0.0, 1.0, -1.0), 0.5, 0.05)
CORRELATION = np.array([[1.0, 0.5, 0.3], [0.5, 1.0, 0.6], [0.3, 0.6, 1.0]])
N_DRAWS = 4000


def magnitudes(n, seed):
    """Galaxies up to and beyond the limit."""
    rng = np.random.default_rng(seed)
    r = 17.8 - 1.5 * rng.random(n) ** 2
    color = rng.normal(0.7, 0.2, n)
    return np.stack([r + 2.2 * color + rng.normal(0, 0.2, n), r + color, r], axis=-1)


@pytest.fixture(scope="module")
def catalog():
    """Errors as large as the features' scatter."""
    mag = magnitudes(3000, 0)
    err = np.array([0.4, 0.2, 0.15]) * np.exp(0.3 * (mag - mag.mean(axis=0)))
    return Catalog(np.full(len(mag), 0.1), mag, err, BANDS, BANDS)


def noise_model(catalog, correlated):
    return NoiseModel.of(QuadraticErrors.fit(catalog), CORRELATION if correlated else len(catalog.bands))


def in_one_slice(scatter):
    return dataclasses.replace(scatter, sigma=scatter.sigma[None], mag=scatter.mag[None])


def scatter(noise, mag):
    """Of magnitudes [point, band] in one slice."""
    return in_one_slice(noise.scatter(jnp.asarray(mag), jnp.asarray(mag), FEATURES))


def test_inverse_and_determinant_are_numpys():
    root = np.random.default_rng(1).normal(size=(40, 5, 5))
    matrix = np.eye(5) + root @ root.transpose(0, 2, 1)
    inverse, log_det = invert(jnp.asarray(matrix.transpose(1, 2, 0)))
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(inverse), -1, 0), np.linalg.inv(matrix), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], rtol=1e-12)


def test_without_noise_kernels_are_the_plain_ones():
    rng = np.random.default_rng(2)
    x, centers = jnp.asarray(rng.normal(size=(50, 3))), jnp.asarray(rng.normal(size=(7, 3)))
    none = Scatter(jnp.zeros((50, 3)), jnp.full(50, 17.4), jnp.eye(3), jnp.asarray(FEATURES), LIMIT)
    got = expected_log_kernels(x, none, 0.6)(centers)
    np.testing.assert_allclose(got, log_kernel_matrix(x, centers, 0.6), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("m", [17.2, 17.5, 17.7])
def test_one_kernel_and_the_limit_are_their_integral(m):
    """One feature, which is the limited magnitude: an integral over one number."""
    sigma, h, x, center = 0.2, 0.7, 0.4, -0.5
    n, step = np.linspace(-9, 9, 20001, retstep=True)
    density = np.exp(-0.5 * n**2) / np.sqrt(2 * np.pi) * step
    phi = np.exp(-((x + 1.5 * sigma * n - center) ** 2) / (2 * h**2))
    kept = np.asarray(LIMIT(jnp.asarray(np.stack([n, n, m + sigma * n], axis=-1))))
    to_feature = jnp.array([[0.0], [0.0], [1.5]])
    noise = Scatter(jnp.full((1, 3), sigma), jnp.full(1, m), jnp.eye(3), to_feature, LIMIT)
    weight = LIMIT.expected_probability(jnp.full(1, m), jnp.full(1, sigma**2))
    np.testing.assert_allclose(weight, np.sum(density * kept), atol=4.5e-5)
    got = weight * jnp.exp(expected_log_kernels(jnp.full((1, 1), x), noise, h)(jnp.full((1, 1), center)))[0]
    np.testing.assert_allclose(got, np.sum(density * kept * phi), atol=4.5e-5)
    neglected = np.sum(density * kept) * np.sum(density * phi)
    assert abs(neglected / np.sum(density * kept * phi) - 1) > 0.05


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("drawn", [(), (1,), pytest.param((1, 2), marks=pytest.mark.slow)])
def test_counts_are_the_mean_over_draws(catalog, correlated, drawn):
    """Also with a color cut and missing bands, whose noise is drawn: there with the same numbers."""
    model = noise_model(catalog, correlated)
    cuts = {(): (LIMIT,), (1,): (LIMIT,), (1, 2): (LIMIT, RED)}[drawn]
    detection = Detection(np.array([18.3]), np.array([0.1]), np.array([1.0]), (1,), ((True,), (False,)))
    noise = IntegratedNoise.split(model, Selection(cuts), drawn)
    probability = detection if drawn == (1,) else lambda m: jnp.ones((*m.shape[:-1], 1))
    observed = np.asarray(catalog.mag)[:1000] @ FEATURES
    label = (np.arange(1000) % 3 == 0).astype(int) if drawn == (1,) else np.zeros(1000, int)
    observed = np.where(label[:, None] * np.array([1, 1, 0]) == 1, np.nan, observed)
    kernels = KernelCounts.build(root_key(4), [observed], KernelSpec(20, 0.7, 0.03, 1.0), [label])
    mag, rng = jnp.asarray(magnitudes(60, 3)), np.random.default_rng(5)
    weight_all = jnp.asarray(rng.uniform(0.5, 1.5, 60))
    fixed = jnp.asarray(rng.standard_normal((60, len(drawn))))
    factor = np.concatenate([noise.drawn, noise.left], axis=1)

    measured, kept = noise.observe(mag, jnp.concatenate([fixed, jnp.zeros((60, 3 - len(drawn)))], axis=1))
    got = kernels.log_shares(
        (measured @ FEATURES)[None],
        (weight_all * kept)[None],
        probability(measured)[None],
        in_one_slice(noise.scatter(measured, mag, FEATURES)),
    )

    @jax.jit
    @jax.vmap
    def one(free):
        x = jnp.concatenate([fixed, free], axis=1)
        measured = mag + noise.sigma(mag) * (x @ jnp.asarray(factor).T)
        weight = weight_all * noise.selection(measured)
        p = probability(measured)
        shares = kernels.log_shares((measured @ FEATURES)[None], weight[None], p[None])[0]
        total = jnp.sum(weight[:, None] * p)
        return jnp.exp(shares) * total, total

    counts, total = one(jnp.asarray(rng.standard_normal((N_DRAWS, 60, 3 - len(drawn)))))
    error = counts.std(axis=0) / np.sqrt(N_DRAWS) / counts.mean(axis=0)
    expected = counts.mean(axis=0) / total.mean()
    assert error.max() < 0.02
    off = (np.exp(got[0]) / expected - 1) / error
    assert np.abs(off).max() < 4.5
    assert np.sqrt(np.mean(off**2)) < 1.7


@pytest.mark.parametrize("limit", [LIMIT, pytest.param(None, marks=pytest.mark.slow)])
def test_gradient_matches_finite_differences(catalog, limit):
    noise = IntegratedNoise.split(noise_model(catalog, True), Selection((LIMIT,)), ())
    kernels = KernelCounts.build(root_key(4), [np.asarray(catalog.mag) @ FEATURES], KernelSpec(20, 0.7))
    mag = jnp.asarray(magnitudes(80, 7))

    @jax.jit
    def value(t):
        moved = mag + t * jnp.array([0.3, -0.2, 0.5])
        measured, kept = noise.observe(moved, jnp.zeros((80, 3)))
        spread = dataclasses.replace(scatter(noise, moved), limit=limit)
        return jnp.sum(kernels.log_counts((measured @ FEATURES)[None], kept[None], None, spread))

    numeric = (value(0.1 + 1e-5) - value(0.1 - 1e-5)) / 2e-5
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-7)


def test_single_precision_agrees_and_is_finite_however_far_galaxies_are(catalog):
    noise = IntegratedNoise.split(noise_model(catalog, True), Selection((LIMIT,)), ())
    kernels = KernelCounts.build(root_key(4), [np.asarray(catalog.mag) @ FEATURES], KernelSpec(20, 0.7))
    mag = magnitudes(80, 7)
    mag[:2] += [[40.0], [-30.0]]

    @jax.jit
    def value(mag):
        measured, kept = noise.observe(mag, jnp.zeros_like(mag))
        spread = scatter(noise, mag)
        return kernels.log_counts(
            (measured @ jnp.asarray(FEATURES, mag.dtype))[None], kept[None], None, spread
        )

    single, double = (jnp.asarray(mag, dtype) for dtype in (jnp.float32, jnp.float64))
    np.testing.assert_allclose(value(single), value(double), atol=2e-3)
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda m: jnp.sum(value(m))))(single)))


def test_tiles_change_nothing(catalog, monkeypatch):
    noise = IntegratedNoise.split(noise_model(catalog, True), Selection((LIMIT,)), ())
    kernels = KernelCounts.build(root_key(4), [np.asarray(catalog.mag) @ FEATURES], KernelSpec(37, 0.7))
    mag = jnp.asarray(magnitudes(80, 7))

    def total(mag):
        return jnp.sum(
            kernels.log_shares((mag @ FEATURES)[None], jnp.ones((1, 80)), None, scatter(noise, mag))
        )

    whole, slope = jax.jit(jax.value_and_grad(total))(mag)
    monkeypatch.setattr("popinfer.loss.base.TILE_SIZE", 80 * 5)
    tiled, tiled_slope = jax.jit(jax.value_and_grad(total))(mag)
    np.testing.assert_allclose(tiled, whole, rtol=1e-12)
    np.testing.assert_allclose(tiled_slope, slope, rtol=1e-10, atol=1e-12)
