"""The energy distance against brute force, finite differences, and at samples that are far away."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from popinfer.errors import InputError
from popinfer.loss.base import MIN_GALAXIES, SHIFT
from popinfer.loss.energy import SMOOTHING, EnergyDistance

N = (240, 180)
FLOOR = 0.02


def galaxies(n, seed):
    """Two correlated populations in three features."""
    rng = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.3, 0.1], [0.0, 0.4, 0.2], [0.0, 0.0, 0.8]])
    return rng.standard_normal((n, 3)) @ mix + np.where(rng.random((n, 1)) < 0.4, [1.5, 0.8, 0.0], 0.0)


@pytest.fixture(scope="module")
def observed():
    return [galaxies(n, seed) for seed, n in enumerate(N)]


@pytest.fixture(scope="module")
def loss(observed):
    return EnergyDistance.build(observed, FLOOR)


@pytest.fixture(scope="module")
def model():
    """Weighted model galaxies of both slices."""
    x = np.stack([galaxies(150, 10), galaxies(150, 11)])
    return jnp.asarray(x), jnp.asarray(np.random.default_rng(2).uniform(0.1, 2.0, (2, 150)))


def padded(observed):
    """The observed galaxies as a model: one array, weight zero where there is none."""
    x, weight = np.zeros((len(N), max(N), 3)), np.zeros((len(N), max(N)))
    for i, one in enumerate(observed):
        x[i, : len(one)], weight[i, : len(one)] = one, 3.0
    return jnp.asarray(x), jnp.asarray(weight)


def compiled(loss):
    return eqx.filter_jit(loss)


def test_scalar_positive_and_only_ratios_of_weights_matter(loss, model):
    x, weight = model
    value = compiled(loss)(x, weight)
    assert value.shape == () and value.dtype == jnp.float64
    assert value > 0.001
    scaled = compiled(loss)(x, weight * jnp.array([[7.0], [0.2]]))
    assert float(scaled) == pytest.approx(float(value), rel=1e-9)


def test_zero_and_stationary_at_identical_samples(loss, observed):
    x, weight = padded(observed)
    loss = compiled(loss)
    assert float(loss(x, weight)) == pytest.approx(0, abs=1e-9)
    shuffled = jnp.asarray(np.random.default_rng(0).permutation(max(N)))
    assert float(loss(x[:, shuffled], weight[:, shuffled])) == pytest.approx(0, abs=1e-9)
    pull = eqx.filter_jit(jax.grad(lambda s: loss(x + s, weight)))(jnp.zeros(3))
    np.testing.assert_allclose(pull, 0, atol=1e-9)


def test_units_are_those_of_small_shifts(loss, observed):
    """A shift along an axis of whitened coordinates costs its square, on average over axes and slices."""
    x, weight = padded(observed)
    shares, cost = np.array(N) / sum(N), 0.0
    axes = np.linalg.inv(np.asarray(loss.observed.whiten))  # rows, in features
    for a in range(3):
        cost += float(compiled(loss)(x + SHIFT * axes[:, None, a], weight)) / 3
    assert cost == pytest.approx(SHIFT**2 * shares.sum(), rel=1e-6)


def test_gradients_match_finite_differences(loss, model):
    x, weight = model

    @jax.jit
    def value(t):
        return loss(x + t * jnp.arange(1, 4) + 0.1 * t * x**2, weight * jnp.exp(t * x[..., 0]))

    h = 1e-7
    numeric = (value(0.1 + h) - value(0.1 - h)) / (2 * h)
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-5)


def test_gradient_of_each_weight_matches_finite_differences(loss, model):
    x, weight = model
    loss = compiled(loss)
    slope = eqx.filter_jit(jax.grad(lambda w: loss(x, w)))(weight)
    for i, j in ((0, 3), (1, 149)):
        step = jnp.zeros_like(weight).at[i, j].set(1e-6)
        numeric = (loss(x, weight + step) - loss(x, weight - step)) / 2e-6
        assert float(slope[i, j]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_ten_sigma_away_the_gradient_leads_back(loss, model, dtype):
    x, weight = (jnp.asarray(a, dtype) for a in model)
    away = jnp.asarray(10 * np.linalg.inv(np.asarray(loss.observed.whiten)).sum(axis=1) / np.sqrt(3), dtype)

    @jax.jit
    @jax.value_and_grad
    def at(t):
        return loss(x + t * away[:, None, :], weight)

    value, slope = at(jnp.asarray(1.0, dtype))
    assert value > 1 and np.isfinite(value)
    assert slope > 0.1  # of the way's 10 sigma


def test_float32_agrees_with_float64(loss, model):
    x, weight = model
    loss = compiled(loss)
    single = loss(jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32))
    assert float(single) == pytest.approx(float(loss(x, weight)), rel=1e-3)


def test_points_without_weight_change_nothing_nor_spoil_gradients(loss, model):
    x, weight = model
    half = weight.at[:, ::2].set(0.0)
    without = compiled(loss)(x[:, 1::2], weight[:, 1::2])
    value, slope = eqx.filter_jit(jax.value_and_grad(lambda w: loss(x, w)))(half)
    assert float(value) == pytest.approx(float(without), rel=1e-9)
    assert np.all(np.isfinite(slope))


def test_tiles_change_nothing(loss, model, monkeypatch):
    x, weight = model
    whole, slope = eqx.filter_jit(jax.value_and_grad(lambda x: loss(x, weight)))(x)
    monkeypatch.setattr("popinfer.loss.base.TILE_SIZE", 150 * 7)
    again, tiled = eqx.filter_jit(jax.value_and_grad(lambda x: loss(x, weight)))(x)
    assert float(again) == pytest.approx(float(whole), rel=1e-12)
    np.testing.assert_allclose(tiled, slope, rtol=1e-9, atol=1e-13)


@pytest.mark.slow
def test_finds_the_population_that_the_data_are_drawn_from():
    """Shift and share of red galaxies, from far away, within four standard errors."""
    n, truth = 2000, np.array([1.5, 0.4])

    def population(seed):
        rng = np.random.default_rng(seed)
        return rng.standard_normal((n, 2)) * [0.5, 1.0], rng.random(n)

    noise, uniform = population(1)
    data = noise + np.where(uniform[:, None] < truth[1], [truth[0], 0.0], 0.0)
    loss, other = EnergyDistance.build([data], 0.0), jnp.asarray(population(2)[0])

    @jax.jit
    @jax.value_and_grad
    def at(theta):
        points = jnp.concatenate([other, other + jnp.array([1.0, 0.0]) * theta[0]])
        share = jax.nn.sigmoid(theta[1])
        weight = jnp.concatenate([jnp.full(n, 1 - share), jnp.full(n, share)])
        return loss(points[None], weight[None])

    found = minimize(lambda t: [np.asarray(v) for v in at(jnp.asarray(t))], [6.0, 1.5], jac=True)
    share = 1 / (1 + np.exp(-found.x[1]))
    assert found.x[0] == pytest.approx(truth[0], abs=0.1)
    assert share == pytest.approx(truth[1], abs=4 * np.sqrt(0.24 / n))


def test_energy_is_brute_force(loss, model):
    x, weight = model
    expected = 0.0
    for i in range(2):
        y = np.asarray(loss.observed.points)[i, : N[i]]
        white = (np.asarray(x[i]) - loss.observed.mean[i]) @ loss.observed.whiten[i]
        w, v = np.asarray(weight[i] / weight[i].sum()), np.full(N[i], 1 / N[i])
        rho = [np.sqrt(cdist(a, b) ** 2 + SMOOTHING**2) for a, b in ((white, y), (white, white), (y, y))]
        distance = 2 * w @ rho[0] @ v - w @ rho[1] @ w - v @ rho[2] @ v
        expected += N[i] / sum(N) * distance / loss.unit[i]
    assert float(compiled(loss)(x, weight)) == pytest.approx(expected, rel=1e-9)


def test_too_few_or_incomplete_galaxies_are_refused_with_the_slice(observed):
    build = EnergyDistance.build
    with pytest.raises(InputError, match=f"slice 1 has {MIN_GALAXIES - 1} galaxies with all features"):
        build([observed[0], observed[1][: MIN_GALAXIES - 1]])
    lacking = observed[1].copy()
    lacking[5, 0] = np.nan
    with pytest.raises(InputError, match=r"slice 1: .* all features"):
        build([observed[0], lacking])
