"""Recent fluctuations of star formation: their size, their memory, and what they leave unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from population_samples import galaxy

from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_filters, load_ssp
from popinfer.population.burstiness import Burstiness, BurstinessParams
from popinfer.sps import BandTable, lgmet_weights, smooth_sfh_fluxes

LOOKBACK = jnp.linspace(0.0, 5.0, 51)


def factor(normal, scatter=0.3, lg_timescale=-0.7, lookback=LOOKBACK):
    return Burstiness()(
        BurstinessParams(scatter, lg_timescale), galaxy(), lookback, jnp.full(1, float(normal))
    )


def test_scatter_now_is_the_parameter():
    np.testing.assert_allclose(np.log10(factor(1.0)[0] / factor(0.0)[0]), 0.3, rtol=1e-12)


def test_fluctuations_fade_over_their_timescale():
    timescale = np.log10(0.5)
    relative = np.log10(factor(1.0, lg_timescale=timescale) / factor(0.0, lg_timescale=timescale))
    np.testing.assert_allclose(relative[5] / relative[0], np.exp(-1), rtol=1e-10)
    np.testing.assert_allclose(factor(2.0)[-1], 1.0, atol=1e-9)


def test_mean_star_formation_stays_the_same_at_every_time():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    mean = sum(w * np.asarray(factor(x, scatter=0.5)) for x, w in zip(nodes, weights, strict=True))
    np.testing.assert_allclose(mean / weights.sum(), 1.0, rtol=1e-10)


def test_no_scatter_leaves_the_history_alone():
    np.testing.assert_array_equal(factor(3.0, scatter=0.0), 1.0)


def test_gradients_match_finite_differences():
    def total(x):
        return jnp.sum(factor(0.7, x[0], x[1]) ** 2)

    x, step = jnp.array([0.3, -0.7]), 1e-6
    gradient = jax.grad(total)(x)
    for i in range(2):
        shift = step * jnp.eye(2)[i]
        numeric = (total(x + shift) - total(x - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-6)


@pytest.mark.parametrize("normal", [-2.0, 1.0, 2.0])
def test_lookback_nodes_resolve_the_fluctuations(normal):
    """Magnitudes on the forward model's nodes against a dense grid, for a constant smooth history."""
    bands = BandTable.build(load_ssp(), load_filters(["sdss_u0", "sdss_g0", "sdss_r0"]), np.array([0.1]))
    t_obs = float(age(PLANCK15, jnp.asarray(0.1)))

    def mags(n_nodes):
        table = bands.for_smooth_sfh(PLANCK15, n_nodes)
        sfr = factor(normal, lookback=jnp.asarray(table.fractions) * t_obs)[None]
        shares = lgmet_weights(jnp.array(-1.9), 0.2, table.ssp_lgmet)[None]
        return -2.5 * np.log10(table.to_bands(smooth_sfh_fluxes(table, sfr, shares, jnp.array(0.1))))[0]

    assert np.abs(mags(64) - mags(1024)).max() < 0.02
