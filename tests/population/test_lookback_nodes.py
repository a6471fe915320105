"""How well the forward model's lookback nodes resolve the histories that diffstarpop draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_filters, load_ssp
from popinfer.halos.lightcone import LightconeSpec, draw_halos
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import fiducial_params
from popinfer.random import root_key
from popinfer.sps import BandTable, lgmet_weights, smooth_sfh_fluxes

BANDS = ["galex_FUV", "galex_NUV", "sdss_u0", "sdss_g0", "sdss_r0", "sdss_z0"]


@pytest.mark.parametrize("z", [0.08, 0.5])
def test_lookback_nodes_resolve_drawn_histories(z):
    """Magnitudes against a dense grid: percentiles over the halos of main-sequence and quenched galaxies."""
    halos = draw_halos(root_key(3), LightconeSpec(z - 0.01, z + 0.01, n_halo=512, flatten=0.5))
    bands = BandTable.build(load_ssp(), load_filters(BANDS), np.array([z]), n_sub=1)
    t_obs, model = jnp.full(512, float(age(PLANCK15, jnp.asarray(z)))), ForwardModel()
    halos = dataclasses.replace(jax.tree.map(jnp.asarray, halos), t_obs=t_obs)
    params = fiducial_params(model.components)

    def mags(n_nodes):
        table = bands.for_smooth_sfh(PLANCK15, n_nodes)
        sfr = model.histories(params, halos, 1 - jnp.asarray(table.fractions)).sfr.reshape(-1, n_nodes)
        shares = jnp.broadcast_to(lgmet_weights(jnp.array(-1.9), 0.2, table.ssp_lgmet), (len(sfr), 6))
        flux = table.to_bands(smooth_sfh_fluxes(table, sfr, shares, jnp.array(z)))
        return -2.5 * np.log10(np.asarray(flux)).reshape(-1, 2, len(BANDS))

    error = mags(64) - mags(1024)
    color = np.abs(np.diff(error, axis=-1))
    assert np.percentile(np.abs(error[:, 0]), 98, axis=0).max() < 0.0015
    assert np.percentile(np.abs(error[:, 1]), 98, axis=0).max() < 0.015
    assert np.percentile(color[:, 1, :2], 98, axis=0).max() < 0.01
    assert np.percentile(color[:, 1, 2:], 98, axis=0).max() < 0.003
