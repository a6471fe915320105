"""Every loss against brute force or a closed form, finite differences, and at samples that are far away."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from popinfer.errors import InputError
from popinfer.loss.base import MIN_GALAXIES, SHIFT, Loss
from popinfer.loss.distances import SMOOTHING, CharacteristicDistance, EnergyDistance, SlicedWasserstein

LOSSES: dict[str, type[Loss]] = {
    "energy": EnergyDistance,
    "sliced_wasserstein": SlicedWasserstein,
    "characteristic": CharacteristicDistance,
}
N = (240, 180)
FLOOR = 0.02
every = pytest.mark.parametrize("kind", LOSSES)


def galaxies(n, seed):
    """Two correlated populations in three features."""
    rng = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.3, 0.1], [0.0, 0.4, 0.2], [0.0, 0.0, 0.8]])
    return rng.standard_normal((n, 3)) @ mix + np.where(rng.random((n, 1)) < 0.4, [1.5, 0.8, 0.0], 0.0)


@pytest.fixture(scope="module")
def observed():
    return [galaxies(n, seed) for seed, n in enumerate(N)]


@pytest.fixture(scope="module")
def losses(observed):
    return {name: cls.build(observed, FLOOR) for name, cls in LOSSES.items()}


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


@every
def test_scalar_positive_and_only_ratios_of_weights_matter(kind, losses, model):
    x, weight = model
    value = compiled(losses[kind])(x, weight)
    assert value.shape == () and value.dtype == jnp.float64
    assert value > 0.001
    scaled = compiled(losses[kind])(x, weight * jnp.array([[7.0], [0.2]]))
    assert float(scaled) == pytest.approx(float(value), rel=1e-9)


@every
def test_zero_and_stationary_at_identical_samples(kind, losses, observed):
    x, weight = padded(observed)
    loss = compiled(losses[kind])
    assert float(loss(x, weight)) == pytest.approx(0, abs=1e-9)
    shuffled = jnp.asarray(np.random.default_rng(0).permutation(max(N)))
    assert float(loss(x[:, shuffled], weight[:, shuffled])) == pytest.approx(0, abs=1e-9)
    pull = eqx.filter_jit(jax.grad(lambda s: losses[kind](x + s, weight)))(jnp.zeros(3))
    np.testing.assert_allclose(pull, 0, atol=1e-9)


@every
def test_units_are_those_of_small_shifts(kind, losses, observed):
    """A shift along an axis of whitened coordinates costs its square, on average over axes and slices."""
    x, weight = padded(observed)
    shares, cost = np.array(N) / sum(N), 0.0
    axes = np.linalg.inv(np.asarray(losses[kind].observed.whiten))  # rows, in features
    for a in range(3):
        cost += float(compiled(losses[kind])(x + SHIFT * axes[:, None, a], weight)) / 3
    assert cost == pytest.approx(SHIFT**2 * shares.sum(), rel=1e-6)


@every
def test_gradients_match_finite_differences(kind, losses, model):
    x, weight = model

    @jax.jit
    def value(t):
        return losses[kind](x + t * jnp.arange(1, 4) + 0.1 * t * x**2, weight * jnp.exp(t * x[..., 0]))

    h = 1e-7  # Cauchy frequencies reach hundreds
    numeric = (value(0.1 + h) - value(0.1 - h)) / (2 * h)
    assert float(jax.grad(value)(0.1)) == pytest.approx(float(numeric), rel=1e-5)


@every
def test_gradient_of_each_weight_matches_finite_differences(kind, losses, model):
    x, weight = model
    loss = compiled(losses[kind])
    slope = eqx.filter_jit(jax.grad(lambda w: losses[kind](x, w)))(weight)
    for i, j in ((0, 3), (1, 149)):
        step = jnp.zeros_like(weight).at[i, j].set(1e-6)
        numeric = (loss(x, weight + step) - loss(x, weight - step)) / 2e-6
        assert float(slope[i, j]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-9)


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_ten_sigma_away_the_gradient_leads_back(kind, losses, model, dtype):
    x, weight = (jnp.asarray(a, dtype) for a in model)
    loss = losses[kind]
    away = jnp.asarray(10 * np.linalg.inv(np.asarray(loss.observed.whiten)).sum(axis=1) / np.sqrt(3), dtype)

    @jax.jit
    @jax.value_and_grad
    def at(t):
        return loss(x + t * away[:, None, :], weight)

    value, slope = at(jnp.asarray(1.0, dtype))
    assert value > 1 and np.isfinite(value)
    assert slope > 0.1  # of the way's 10 sigma


@every
def test_float32_agrees_with_float64(kind, losses, model):
    x, weight = model
    loss = compiled(losses[kind])
    single = loss(jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32))
    assert float(single) == pytest.approx(float(loss(x, weight)), rel=1e-3)


@every
def test_points_without_weight_change_nothing_nor_spoil_gradients(kind, losses, model):
    x, weight = model
    half = weight.at[:, ::2].set(0.0)
    without = compiled(losses[kind])(x[:, 1::2], weight[:, 1::2])
    value, slope = eqx.filter_jit(jax.value_and_grad(lambda w: losses[kind](x, w)))(half)
    assert float(value) == pytest.approx(float(without), rel=1e-9)
    assert np.all(np.isfinite(slope))


@every
def test_tiles_change_nothing(kind, losses, model, monkeypatch):
    x, weight = model
    if kind == "sliced_wasserstein":
        pytest.skip("has no pairs to tile")
    whole, slope = eqx.filter_jit(jax.value_and_grad(lambda x: losses[kind](x, weight)))(x)
    monkeypatch.setattr("popinfer.loss.base.TILE_SIZE", 150 * 7)
    again, tiled = eqx.filter_jit(jax.value_and_grad(lambda x: losses[kind](x, weight)))(x)
    assert float(again) == pytest.approx(float(whole), rel=1e-12)
    np.testing.assert_allclose(tiled, slope, rtol=1e-9, atol=1e-13)


@every
def test_finds_the_population_that_the_data_are_drawn_from(kind):
    """Shift and share of red galaxies, from far away, within four standard errors."""
    n, truth = 2000, np.array([1.5, 0.4])

    def population(seed):
        rng = np.random.default_rng(seed)
        return rng.standard_normal((n, 2)) * [0.5, 1.0], rng.random(n)

    noise, uniform = population(1)
    data = noise + np.where(uniform[:, None] < truth[1], [truth[0], 0.0], 0.0)
    loss, other = LOSSES[kind].build([data], 0.0), jnp.asarray(population(2)[0])

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


def test_energy_is_brute_force(losses, model):
    loss, (x, weight) = losses["energy"], model
    expected = 0.0
    for i in range(2):
        y = np.asarray(loss.observed.points)[i, : N[i]]
        white = (np.asarray(x[i]) - loss.observed.mean[i]) @ loss.observed.whiten[i]
        w, v = np.asarray(weight[i] / weight[i].sum()), np.full(N[i], 1 / N[i])
        rho = [np.sqrt(cdist(a, b) ** 2 + SMOOTHING**2) for a, b in ((white, y), (white, white), (y, y))]
        distance = 2 * w @ rho[0] @ v - w @ rho[1] @ w - v @ rho[2] @ v
        expected += N[i] / sum(N) * distance / loss.unit[i]
    assert float(compiled(loss)(x, weight)) == pytest.approx(expected, rel=1e-9)


def test_sliced_wasserstein_is_that_of_repeated_points(losses):
    """With whole-number weights, points repeated as often are matched one to one in order."""
    loss, rng = losses["sliced_wasserstein"], np.random.default_rng(4)
    number = rng.multinomial(240 * 3 - 40, np.ones(40) / 40) + 1
    x = galaxies(40, 12)
    white = (np.repeat(x, number, axis=0) - loss.observed.mean[0]) @ loss.observed.whiten[0]
    y = np.repeat(np.asarray(loss.observed.points)[0], 3, axis=0)
    pairs = [np.sort(white @ d) - np.sort(y @ d) for d in np.asarray(loss.directions)]
    both, weight = jnp.asarray(np.stack([x, x])), jnp.asarray(np.stack([number, number]).astype(float))
    got = loss.distances(loss.observed.whitened(both), weight / weight.sum(axis=1, keepdims=True))
    assert float(got[0]) == pytest.approx(np.mean(np.square(pairs)), rel=1e-9)
    np.testing.assert_allclose(np.linalg.norm(loss.directions, axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("dof", [1.0, np.inf])
def test_characteristic_distance_is_that_of_its_kernel(dof, observed, model):
    """Mean over frequencies: e^(-s r) for Cauchy frequencies, e^(-s^2 r^2 / 2) for Gaussian ones."""
    s, (x, weight) = 0.7, model
    loss = CharacteristicDistance.build(observed, FLOOR, n_frequencies=20_000, width=s, dof=dof, seed=3)
    w = np.asarray(weight[0] / weight[0].sum())
    white = np.asarray(loss.observed.whitened(x))[0]
    y, v = np.asarray(loss.observed.points)[0, : N[0]], np.full(N[0], 1 / N[0])
    points, charge = np.concatenate([white, y]), np.concatenate([w, -v])
    r = cdist(points, points)
    expected = charge @ np.exp(-s * r if dof == 1 else -0.5 * (s * r) ** 2) @ charge
    got = loss.distances(loss.observed.whitened(x), weight / weight.sum(axis=1, keepdims=True))[0]
    assert float(got) == pytest.approx(expected, rel=0.05)


def test_options_reach_the_losses_and_seeds_repeat(observed):
    sliced = [SlicedWasserstein.build(observed, n_directions=7, seed=s).directions for s in (1, 1, 2)]
    assert sliced[0].shape == (7, 3)
    np.testing.assert_array_equal(sliced[0], sliced[1])
    assert not np.allclose(sliced[0], sliced[2])
    waves = CharacteristicDistance.build(observed, n_frequencies=5).waves
    assert waves.shape == (10, 4)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (SlicedWasserstein.build, {"n_directions": 0}),
        (CharacteristicDistance.build, {"n_frequencies": 0}),
        (CharacteristicDistance.build, {"width": 0.0}),
        (CharacteristicDistance.build, {"dof": -1.0}),
    ],
)
def test_impossible_options_are_refused_by_name(observed, build, options):
    with pytest.raises(InputError, match=next(iter(options))):
        build(observed, FLOOR, **options)


@every
def test_too_few_or_incomplete_galaxies_are_refused_with_the_slice(kind, observed):
    build = LOSSES[kind].build
    with pytest.raises(InputError, match=f"slice 1 has {MIN_GALAXIES - 1} galaxies with all features"):
        build([observed[0], observed[1][: MIN_GALAXIES - 1]])
    lacking = observed[1].copy()
    lacking[5, 0] = np.nan
    with pytest.raises(InputError, match=r"slice 1: .* all features"):
        build([observed[0], lacking])
