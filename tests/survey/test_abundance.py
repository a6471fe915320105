"""Numbers and mass functions: brute force, gradients, and the information that effective counts carry."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.infer.data import Data
from popinfer.infer.likelihood import Likelihood
from popinfer.records import Galaxies
from popinfer.survey.abundance import (
    LG_SSFR_UNIT,
    EffectiveCounts,
    ListedDensity,
    MainSequence,
    MassFunction,
    NumberCounts,
    Population,
    overcounting_of,
)

N_HALO = 300
EDGES = np.linspace(9.5, 11.5, 6)


@pytest.fixture(scope="module")
def galaxies() -> Galaxies:
    rng = np.random.default_rng(1)

    def one() -> Galaxies:
        mag, weight = rng.normal(18, 1, (2 * N_HALO, 1)), rng.uniform(0, 1e-4, 2 * N_HALO)
        lgm = rng.normal(10.5, 0.6, 2 * N_HALO)
        return Galaxies(*(jnp.asarray(x) for x in (mag, 0.3 * weight, weight, lgm, lgm, lgm, mag, lgm, lgm)))

    return jax.tree.map(lambda *x: jnp.stack(x), one(), one())


def table(scatter, **changed) -> MassFunction:
    phi = np.full(5, 1e-3)
    options = {"z_range": (0.0, 1.0)} | changed
    return MassFunction(
        phi, np.diag((0.1 * phi) ** 2), (1,) * 5, ("phi",) * 5, EDGES[:-1], EDGES[1:], scatter, **options
    )


def predict(one, galaxies):
    z = jnp.asarray(np.random.default_rng(2).uniform(0.1, 0.2, (2, N_HALO)))
    population = Population(galaxies, jnp.sum(galaxies.weight, axis=1), z, no_shells)
    return np.asarray(one.numbers(one(population))), np.asarray(z)


def no_shells(halos):
    raise AssertionError("asked for the SFR density")


def test_mass_function_is_a_histogram_of_smeared_masses(galaxies):
    got, _ = predict(table(0.2), galaxies)
    rng = np.random.default_rng(3)
    draws = 2000
    lgm, weight = np.asarray(galaxies.lg_mstar[1]), np.asarray(galaxies.weight_all[1])
    smeared = np.concatenate([lgm + 0.2 * rng.standard_normal(lgm.shape) for _ in range(draws)])
    counts = np.histogram(smeared, EDGES, weights=np.tile(weight, draws) / draws)[0]
    np.testing.assert_allclose(got, counts / np.diff(EDGES), rtol=0.01)


def test_mass_function_counts_galaxies_between_its_redshifts(galaxies):
    got, z = predict(table(0.2, z_range=(0.1, 0.15), rescale=2.0), galaxies)
    inside = np.tile((z[1] >= 0.1) & (z[1] <= 0.15), 2)
    part = jax.tree.map(lambda x: x[:, inside], galaxies)
    z = jnp.full((2, inside.sum() // 2), 0.12)
    every = table(0.2)(Population(part, jnp.zeros(2), z, no_shells))
    np.testing.assert_allclose(got, 2 * every[0], rtol=1e-9)


def main_sequence(scatter=0.1) -> MainSequence:
    y = np.full(5, 4.0)
    bins = EDGES[:-1], EDGES[1:]
    return MainSequence(y, np.diag((0.1 * y) ** 2), (1,) * 5, ("y",) * 5, *bins, scatter, (0.0, 1.0))


@pytest.fixture(scope="module")
def two_kinds(galaxies) -> Galaxies:
    """Galaxies that clearly form stars, now 0.1 dex fewer than before, and some that clearly don't."""
    rng = np.random.default_rng(4)
    lgm = np.asarray(galaxies.lg_mstar)
    forming = -10 - 0.3 * (lgm - 10.5) + rng.normal(0, 0.1, lgm.shape)
    lg_ssfr = np.where(rng.uniform(size=lgm.shape) < 0.4, rng.normal(-12, 0.1, lgm.shape), forming)
    rates = jnp.asarray(lg_ssfr), jnp.asarray(lg_ssfr - 0.1)
    return eqx.tree_at(lambda g: (g.lg_ssfr, g.lg_ssfr_now), galaxies, rates)


def test_star_formation_at_fixed_mass_is_that_of_bins(two_kinds):
    """Without errors of masses, weighted means of the galaxies in each bin; none at all counts as none."""
    none = two_kinds.lg_ssfr.at[:, :9].set(-jnp.inf)
    without = eqx.tree_at(lambda g: (g.lg_ssfr, g.lg_ssfr_now), two_kinds, (none, none - 0.1))
    for seen in (two_kinds, without):
        rates, _ = predict(main_sequence(1e-6), seen)
        lgm, lg_ssfr, weight = (np.asarray(x[1]) for x in (seen.lg_mstar, seen.lg_ssfr, seen.weight_all))
        place, forming = np.digitize(lgm, EDGES) - 1, lg_ssfr > -11
        for i in range(5):
            here = (place == i) & forming
            mean = np.average(lg_ssfr[here], weights=weight[here])
            assert rates[i] + LG_SSFR_UNIT == pytest.approx(mean - 0.1, abs=1e-6)


def test_star_formation_at_fixed_mass_has_gradients(two_kinds):
    """Of masses and rates, where a galaxy may form stars or not; also where no galaxy is."""
    one, z = main_sequence(), jnp.full((2, N_HALO), 0.1)

    def shifted(x):
        where = lambda g: (g.lg_mstar, g.lg_ssfr, g.lg_ssfr_now)  # noqa: E731
        values = two_kinds.lg_mstar + x[0], two_kinds.lg_ssfr - 0.5 + x[1], two_kinds.lg_ssfr_now - 0.5 + x[1]
        return one(Population(eqx.tree_at(where, two_kinds, values), jnp.zeros(2), z, no_shells))

    slope, step = jax.jacfwd(shifted)(jnp.zeros(2)), 1e-6 * jnp.eye(2)
    expected = jnp.stack([(shifted(h) - shifted(-h)) / 2e-6 for h in step], axis=-1)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert np.abs(slope).min() > 0
    empty = jax.jacfwd(shifted)(jnp.array([30.0, 0.0]))
    assert np.isfinite(empty).all()


def test_gradient_matches_finite_differences(galaxies):
    one, z = table(0.1), jnp.full((2, N_HALO), 0.1)

    def shifted(x):
        moved = eqx.tree_at(lambda g: g.lg_mstar, galaxies, galaxies.lg_mstar + x)
        return one(Population(moved, jnp.zeros(2), z, no_shells))

    slope = jax.jacfwd(shifted)(0.0)
    np.testing.assert_allclose(slope, (shifted(1e-6) - shifted(-1e-6)) / 2e-6, rtol=1e-5)
    assert np.abs(slope).min() > 0


def test_numbers_have_poisson_noise_and_cosmic_variance(galaxies):
    counts = NumberCounts.build(
        np.array([100.0, 400.0]), np.array([1e6, 2e6]), np.array([0.04, 0.01]), ("a", "b")
    )
    got, _ = predict(counts, galaxies)
    np.testing.assert_allclose(got, np.array([1e6, 2e6]) * np.asarray(galaxies.weight).sum(axis=1))
    np.testing.assert_allclose(counts.cov, np.diag([100 + 400, 400 + 1600]))


def test_other_numbers_keep_their_relative_errors(galaxies):
    """And the density of listed galaxies is the sum of their weights."""
    cov = np.array([[4e-8, 1e-8], [1e-8, 9e-8]])
    listed = ListedDensity(np.array([1e-3, 2e-3]), cov, (0, 1), ("a", "b"))
    np.testing.assert_allclose(predict(listed, galaxies)[0], np.asarray(galaxies.weight).sum(axis=1))
    other = listed.observed_as(np.array([2e-3, 1e-3]))
    np.testing.assert_allclose(other.relative_cov, listed.relative_cov, rtol=1e-12)
    np.testing.assert_allclose(np.diag(other.cov), [16e-8, 2.25e-8], rtol=1e-12)


def test_effective_counts_have_their_counts_times_overcounting_as_variance():
    counts = NumberCounts.build(np.array([100.0, 400.0]), np.ones(2), np.array([0.04, 0.01]), ("a", "b"))
    effective = EffectiveCounts.of(counts, np.array([3.0, 5.0]))
    np.testing.assert_allclose(np.diag(effective.cov), [3, 5] * effective.observed)
    relative = np.sqrt(np.diag(effective.cov)) / effective.observed
    np.testing.assert_allclose(relative, [np.sqrt(500) / 100, np.sqrt(2000) / 400])


def test_independent_counts_are_counted_once_and_copies_as_often_as_they_are():
    assert overcounting_of(np.array([10.0, 50.0]), np.diag([10.0, 50.0])) == pytest.approx(1)
    copies = np.full((6, 6), 30.0)  # six kernels that see the same galaxies
    assert overcounting_of(np.full(6, 30.0), copies) == pytest.approx(6)


def amplitude_error(data: Data, slope: float) -> float:
    """Of one parameter with a standard normal prior, on which all log-counts depend with this slope."""
    n = len(data.observed)
    info = Likelihood.of(data, np.zeros((n, n))).information(np.log(data.observed), np.full((n, 1), slope))
    return float((info.fisher[0, 0] + 1) ** -0.5)


@pytest.mark.parametrize("cosmic_variance", [0.0, 0.01])
def test_numbers_add_the_information_that_they_have(cosmic_variance):
    """One amplitude seen by soft counts that count galaxies eight times, and by the number of galaxies."""
    soft, copies, number = 250.0, 8, 4000.0
    counts = NumberCounts.build(np.array([number]), np.ones(1), np.array([cosmic_variance]), ("a",))
    effective = EffectiveCounts.of(counts, np.array([float(copies)]))
    observed = np.concatenate([np.full(copies, soft), effective.observed])
    cov = np.zeros((copies + 1, copies + 1))
    cov[:copies, :copies], cov[-1, -1] = soft, effective.cov[0, 0]
    slope = 0.05
    data = Data(observed, cov, np.zeros(copies + 1, int), np.arange(copies + 1) < copies)
    variance = number + cosmic_variance * number**2
    best = slope**2 * (soft + number**2 / variance)  # information of two independent measurements
    assert amplitude_error(data, slope) == pytest.approx((1 + best) ** -0.5, rel=0.01)


@pytest.mark.parametrize("observed", [3600.0, 4000.0, 4400.0])
def test_only_counting_noise_depends_on_the_model(observed):
    """Cosmic variance that fell with the model's number would make high fields weigh less than low ones."""
    expected, cosmic_variance = 4000.0, 0.01
    counts = NumberCounts.build(np.array([observed]), np.ones(1), np.array([cosmic_variance]), ("a",))
    variance = relative_variance(counts, expected)
    np.testing.assert_allclose(variance, 1 / expected + cosmic_variance, rtol=1e-12)


def test_published_errors_are_fractions_of_the_model():
    np.testing.assert_allclose(relative_variance(table(0.2), 1.1e-3), 0.1**2, rtol=1e-12)


def relative_variance(abundance, expected: float) -> np.ndarray:
    """Diagonal of V with the model at the expected numbers."""
    effective = EffectiveCounts.of(abundance, np.full(2, 8.0))
    n = len(effective.observed)
    data = Data(
        effective.observed,
        effective.cov,
        np.zeros(n, int),
        np.full(n, False),
        relative_cov=effective.relative_cov,
    )
    return np.diag(data.expecting(np.log(effective.scale * expected)).counting_cov)
