"""Photometric redshifts: slices share galaxies as a simulation does; ignoring the scatter biases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from popinfer.cosmology import PLANCK15, comoving_volume_per_z
from popinfer.halos.lightcone import LightconeSpec, draw_halos
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.population.parameters import PhotozParams
from popinfer.random import root_key
from popinfer.survey.redshift import Photoz

PARAMS = PhotozParams(0.03, 0.01, 0.1)
SLICES = ((0.2, 0.3), (0.3, 0.45), (0.45, 0.6))
PHOTOZ = Photoz(SLICES, PARAMS, (0.0, 1.2))


def simulate(z, params, rng, outlier_range=(0.0, 1.2)):
    """Photometric redshifts, drawn galaxy by galaxy."""
    core = z + (1 + z) * (params.bias + params.scatter * rng.standard_normal(z.shape))
    is_outlier = rng.random(z.shape) < params.outlier_fraction
    return np.where(is_outlier, rng.uniform(*outlier_range, z.shape), core)


@pytest.mark.parametrize("z", [0.25, 0.31, 0.7])
def test_membership_is_what_a_simulation_gives(z):
    measured = simulate(np.full(400_000, z), PARAMS, np.random.default_rng(1))
    got = np.asarray(PHOTOZ.membership(PARAMS, jnp.full((3, 1), z)))[:, 0]
    expected = [np.mean((measured >= low) & (measured < high)) for low, high in SLICES]
    np.testing.assert_allclose(got, expected, atol=4 * 0.5 / np.sqrt(400_000))


def test_slices_that_fill_the_range_share_every_galaxy():
    edges = np.linspace(0, 1.2, 9)
    photoz = Photoz(tuple(itertools.pairwise(edges)), PARAMS, (0.0, 1.2))
    z = jnp.tile(jnp.linspace(0.3, 0.8, 20), (8, 1))
    np.testing.assert_allclose(photoz.membership(PARAMS, z).sum(axis=0), 1, atol=1e-9)


@pytest.mark.parametrize("name", PhotozParams._fields)
def test_gradient_matches_finite_differences(name):
    z = jnp.linspace(0.15, 0.7, 30)[None] * jnp.ones((3, 1))

    def shares(shift):
        return PHOTOZ.membership(PARAMS._replace(**{name: getattr(PARAMS, name) + shift}), z)

    slope = jax.jacfwd(shares)(0.0)
    assert np.abs(slope).max() > 0.1
    np.testing.assert_allclose(slope, (shares(1e-6) - shares(-1e-6)) / 2e-6, atol=1e-7)


def test_no_scatter_is_a_spectroscopic_slice_and_gradients_stay_finite():
    z = jnp.array([[0.199, 0.25, 0.301]])
    photoz = Photoz(SLICES[:1], PhotozParams(0.001))
    for scatter in (0.0, -0.1):
        got = photoz.membership(PhotozParams(scatter), z)
        np.testing.assert_allclose(got, [[0, 1, 0]], atol=1e-9)
    slope = jax.jacfwd(lambda s: photoz.membership(PhotozParams(s), z))(0.02)
    assert np.all(np.isfinite(slope))


def test_drawn_redshifts_are_those_of_a_simulation_inside_the_slice():
    z = np.random.default_rng(2).uniform(0.15, 0.5, 400_000)
    measured = simulate(z, PARAMS, np.random.default_rng(3))
    inside = (measured >= 0.3) & (measured < 0.45)
    drawn = PHOTOZ.draw(root_key(4), PARAMS, z[inside], 1)
    assert drawn.min() >= 0.3
    assert drawn.max() < 0.45
    percent = [5, 25, 50, 75, 95]
    np.testing.assert_allclose(
        np.percentile(drawn - z[inside], percent), np.percentile((measured - z)[inside], percent), atol=0.001
    )


def test_true_redshifts_reach_as_far_as_galaxies_come_from():
    z = np.random.default_rng(5).uniform(0.005, 1.2, 10**6)
    for index, (low, high) in enumerate(SLICES):
        core = simulate(z, PARAMS._replace(outlier_fraction=0.0), np.random.default_rng(6))
        origin = z[(core >= low) & (core < high)]
        z_min, z_max = PHOTOZ.core_range(index)
        assert np.mean((origin > z_min) & (origin < z_max)) > 0.9999
        nodes = PHOTOZ.nodes(index, 8, 8)
        assert len(nodes) == 16
        assert np.all(np.diff(nodes) > 0)
        np.testing.assert_allclose(nodes[[0, -1]], PHOTOZ.true_range(index))
        assert Photoz(SLICES, PARAMS).nodes(index, 8, 8).shape == (8,)


def volume(low, high):
    z = np.linspace(low, high, 2000)
    return np.trapezoid(np.asarray(comoving_volume_per_z(PLANCK15, z)), z)


def test_lightcones_drawn_for_photometric_redshifts_hold_the_same_halos():
    """Number of halos, and their mean redshift, by quadrature over spectroscopic shells."""
    z_min, z_max = PHOTOZ.true_range(1)
    options = {"n_halo": 4096, "lgm_min": 12.0, "n_normal": 1}
    halos = draw_halos(root_key(3), LightconeSpec(z_min, z_max, redshifts=PHOTOZ.proposal(1), **options))
    p = np.asarray(PHOTOZ.membership(PARAMS, jnp.tile(jnp.asarray(halos.z_obs), (3, 1))))[1]
    got = volume(z_min, z_max) * np.sum(halos.weight * p)
    edges = np.linspace(z_min, z_max, 13)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        shell = draw_halos(root_key(5), LightconeSpec(low, high, **(options | {"n_halo": 512})))
        inside = np.asarray(PHOTOZ.membership(PARAMS, jnp.tile(jnp.asarray(shell.z_obs), (3, 1))))[1]
        expected += volume(low, high) * np.sum(shell.weight * inside)
    assert got == pytest.approx(expected, rel=0.02)


N, TRUTH = 40_000, np.array([1.0, 2.0])  # color = level + slope z, and the population's scatter about it
TRUE = PhotozParams(0.04, 0.0, 0.0)
TOY = Photoz(((0.3, 0.4), (0.4, 0.5)), TRUE)


def toy_counts():
    """Soft counts of colors and magnitudes in two slices of photometric redshift."""
    rng = np.random.default_rng(7)
    z = rng.uniform(0.05, 0.8, N)
    color = TRUTH[0] + TRUTH[1] * z + 0.1 * rng.standard_normal(N)
    measured = simulate(z, TRUE, rng)
    x = np.stack([color, rng.standard_normal(N)], axis=1)
    members = [x[(measured >= low) & (measured < high)] for low, high in TOY.slices]
    return KernelCounts.build(root_key(1), members, KernelSpec(60, 0.5, 0.0))


def toy_fit(kernels, free_scatter, photoz):
    """Level and slope (and redshift scatter) that maximise the composite likelihood."""
    rng = np.random.default_rng(8)
    low, high = np.array([photoz.true_range(i) for i in (0, 1)]).T[..., None]
    z = jnp.asarray(low + (high - low) * rng.random((2, 6000)))
    noise, other = rng.standard_normal((2, 2, 6000))

    @jax.jit
    @jax.value_and_grad
    def loss(theta):
        color = theta[0] + theta[1] * z + 0.1 * noise
        scatter = theta[2] if free_scatter else photoz.expected.scatter
        weight = photoz.membership(PhotozParams(scatter), z)
        return -kernels.log_likelihood(jnp.stack([color, jnp.asarray(other)], axis=-1), weight)

    start = [1.2, 1.5, 0.03][: 3 if free_scatter else 2]
    bounds = [(0, 3), (0, 5), (0.005, 0.09)][: len(start)]
    return minimize(
        lambda t: [np.asarray(v, float) for v in loss(jnp.asarray(t))], start, jac=True, bounds=bounds
    ).x


def test_ignoring_the_scatter_biases_modelling_it_does_not_and_it_can_be_found():
    kernels = toy_counts()
    ignored = toy_fit(kernels, False, Photoz(TOY.slices, PhotozParams(0.0005)))
    modelled = toy_fit(kernels, False, TOY)
    free = toy_fit(kernels, True, TOY)
    assert ignored[1] - TRUTH[1] > 0.3  # galaxies from beyond the slice pass for a steep relation
    np.testing.assert_allclose(modelled, TRUTH, atol=0.15)
    assert modelled @ [1, 0.4] == pytest.approx(TRUTH @ [1, 0.4], abs=0.01)
    assert free[2] == pytest.approx(0.04, abs=0.004)
    np.testing.assert_allclose(free[:2], TRUTH, atol=0.2)
